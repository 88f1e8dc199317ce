"""Numbers and tables of the comparison: medians, ratios, intervals, text."""

import math
import statistics


def median_interval(values, coverage=0.95):
    """The narrowest interval between order statistics that holds the median
    with at least the coverage asked for, whatever the distribution; where there
    are too few values, the whole range. Gives low, high and its real coverage."""
    ordered, n = sorted(values), len(values)
    if n < 2:
        return ordered[0], ordered[-1], 0.0

    def held(k):
        # The median lies outside [k-th, (n-1-k)-th] if at most k fall on a side.
        return 1 - 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n

    k = max((k for k in range(n // 2) if held(k) >= coverage), default=0)
    return ordered[k], ordered[n - 1 - k], held(k)


def ratio(numerators, denominators):
    """Ratios round by round: their median and its interval."""
    rounds = [a / b for a, b in zip(numerators, denominators)]
    low, high, held = median_interval(rounds)
    return {"median": statistics.median(rounds), "low": low, "high": high,
            "coverage": held, "rounds": rounds}


def label(way, mode, shares):
    return f"{mode}, {way}" if shares else mode


def summarise(case):
    """What the rounds of one network and method say. case holds `locorun`, the
    results of its rounds, and `torch`, those of the finalists by name."""
    ours = [r["median_seconds"] for r in case["locorun"]]
    theirs = {n: [r["median_seconds"] for r in rs] for n, rs in case["torch"].items()}
    best = [min(at) for at in zip(*theirs.values())]
    fastest = min(theirs, key=lambda n: statistics.median(theirs[n]))
    steps = [s for rs in case["torch"].values() for r in rs for s in r["step_seconds"]]
    last = case["locorun"][-1]
    return {
        "network": case["network"], "method": case["method"], "tier": last["tier"],
        "locorun_seconds": statistics.median(ours), "torch_seconds": statistics.median(best),
        "torch_fastest": fastest, "speed": ratio(best, ours),
        "speed_of_best_steps": min(steps) / min(s for r in case["locorun"] for s in r["step_seconds"]),
        "conv_gflops": last["conv_flops_per_step"] / statistics.median(ours) / 1e9,
        "share_of_peak": statistics.median(r["share_of_peak"] for r in case["locorun"]),
        "peak_gflops": statistics.median(r["peak_gflops"] for r in case["locorun"]),
        "memory": memory(case, fastest),
    }


def memory(case, fastest):
    """Resident bytes: those above the start of locorun and above the import of
    PyTorch, and the whole; of the fastest configuration and of the leanest."""
    our_peak = statistics.median(r["resident_peak_bytes"] for r in case["locorun"])
    our_start = statistics.median(r["resident_start_bytes"] for r in case["locorun"])
    of = {}
    for name, results in case["seen"].items():
        peak = statistics.median(r["resident_steady_peak_bytes"] for r in results)
        start = statistics.median(r["resident_import_bytes"] for r in results)
        of[name] = {"above": peak - start, "whole": peak}
    leanest = min(of, key=lambda n: of[n]["above"])
    return {
        "locorun_above": our_peak - our_start, "locorun_whole": our_peak,
        "locorun_plan": case["locorun"][-1]["plan_bytes"],
        "torch_above": of[fastest]["above"], "torch_whole": of[fastest]["whole"],
        "torch_leanest": leanest, "torch_leanest_above": of[leanest]["above"],
        "torch_leanest_whole": of[leanest]["whole"],
    }


def methods_against(cases, rows, network):
    """The step of loco over the same network's e2e, of both programs, round by
    round, beside the ratio of their arithmetic; None where one was not run."""
    found = {c["method"]: c for c in cases if c["network"] == network}
    if not {"e2e", "loco"} <= found.keys():
        return None
    ours = {m: [r["median_seconds"] for r in found[m]["locorun"]] for m in found}
    theirs = {m: [min(r["median_seconds"] for r in at) for at in zip(*found[m]["torch"].values())]
              for m in found}
    planned = {m: found[m]["plan"]["flops_per_batch"] for m in found}
    above = {r["method"]: r["memory"]["locorun_above"] for r in rows if r["network"] == network}
    return {
        "network": network, "planned": planned["loco"] / planned["e2e"],
        "locorun": ratio(ours["loco"], ours["e2e"]), "torch": ratio(theirs["loco"], theirs["e2e"]),
        "memory": above["loco"] / above["e2e"],
    }


def table(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def span(r):
    return f"{r['median']:.2f} ({r['low']:.2f}..{r['high']:.2f})"


def mib(n):
    return f"{n / 2**20:.0f}"


def text(report):
    """The report as Markdown."""
    rows = report["rows"]
    parts = [table(
        ["network", "method", "tier", "locorun s", "PyTorch s", "PyTorch is", "times faster", "best steps", "GF/s", "of peak"],
        [[r["network"], r["method"], r["tier"], f"{r['locorun_seconds']:.3f}", f"{r['torch_seconds']:.3f}",
          r["torch_fastest"], span(r["speed"]), f"{r['speed_of_best_steps']:.2f}",
          f"{r['conv_gflops']:.0f} of {r['peak_gflops']:.0f}", f"{100 * r['share_of_peak']:.0f} %"]
         for r in rows])]
    parts.append(table(
        ["network", "method", "MiB above start", "PyTorch above import", "ratio", "its leanest", "ratio",
         "whole", "PyTorch whole", "planned"],
        [[r["network"], r["method"], mib(m["locorun_above"]), mib(m["torch_above"]),
          f"{m['locorun_above'] / m['torch_above']:.2f}",
          f"{mib(m['torch_leanest_above'])} ({m['torch_leanest']})",
          f"{m['locorun_above'] / m['torch_leanest_above']:.2f}",
          mib(m["locorun_whole"]), mib(m["torch_whole"]), mib(m["locorun_plan"])]
         for r in rows for m in [r["memory"]]]))
    if report["methods"]:
        parts.append(table(
            ["network", "loco over e2e: planned", "locorun", "PyTorch", "locorun's memory"],
            [[m["network"], f"{m['planned']:.3f}", span(m["locorun"]), span(m["torch"]), f"{m['memory']:.2f}"]
             for m in report["methods"]]))
    return "\n\n".join(parts)
