#!/usr/bin/env python3
"""Times ResNet-50's step on a card, of locorun and of PyTorch, run in turn.

    python3 times.py --locorun ./locorun --json times.json --seconds 240

Every configuration is a process of its own. The networks are first held to each
other as on a processor. Both compute in the same precision; in bf16 both keep
weights, statistics and losses in float32. A batch is the largest of --batches
that both have memory for. What comes first matters most: where --seconds run
out, the rest is left out and said so. Memory is what nvidia-smi tells of the
card, for both, at the most above what was in use before; a sample is taken every
100 ms. Each program's own count stands beside it.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import compare  # noqa: E402
import variant  # noqa: E402

PRECISIONS = ("bf16", "f32", "tf32")

# How much faster than PyTorch in bf16 each method is to be.
WANTED = {"e2e": 1.0, "loco": 1.3}

# What programs say where memory is too small: the driver, PyTorch, and locorun
# before it begins.
NO_MEMORY = ("out of memory", "out_of_memory", "of the card's memory")


class Sampler(threading.Thread):
    """The card's memory in use, by nvidia-smi; nothing where there is none."""

    def __init__(self):
        super().__init__(daemon=True)
        self.least, self.most = None, None
        try:
            self.source = subprocess.Popen(
                ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "100"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self.source = None

    def run(self):
        for line in self.source.stdout if self.source else ():
            if line.strip().isdigit():
                now = int(line) << 20
                self.least = now if self.least is None else min(self.least, now)
                self.most = now if self.most is None else max(self.most, now)

    def end(self):
        """What was in use at the most above the least, in bytes."""
        if self.source:
            self.source.terminate()
            self.source.wait()
        self.join()
        return None if self.most is None else self.most - self.least


def failure(code, stderr):
    """The result of a command that failed."""
    lines = stderr.strip().splitlines()
    why = " | ".join(lines[-3:])[-600:] or f"ended with {code}"
    short = next((line for line in lines if any(w in line.lower() for w in NO_MEMORY)), None)
    return {"failed": why} if short is None else {"no_memory": short[:300]}


def measured(command, seconds):
    """Runs a command that prints JSON; gives that with the card's memory."""
    sampler = Sampler()
    sampler.start()
    time.sleep(0.5 if sampler.source else 0)  # for samples from before
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds)
        if done.returncode:
            return failure(done.returncode, done.stderr)
        result = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"skipped": f"took more than the {seconds:.0f} s that were left"}
    except ValueError:
        return {"failed": f"printed no JSON: {done.stdout[-200:]}"}
    finally:
        memory = sampler.end()
    if any(w in str(result.get("skipped", "")).lower() for w in NO_MEMORY):
        return {"no_memory": result["skipped"]}
    result["card_used_bytes"] = memory
    return result


def jobs(options, precision, mode):
    """What is run in a precision: program, method, precision, way and mode."""
    found = []
    for method in options.methods:
        if mode == options.modes[0]:
            found.append(("locorun", method, precision, "", ""))
            if method == "loco":  # units beside each other
                found.append(("locorun", method, precision, "depth 2", ""))
        for way in (("once", "summed", "twice") if method == "loco" else ("twice",)):
            if (way, mode) != ("summed", "compile"):
                found.append(("PyTorch", method, precision, way, mode))
    return found


def command_of(job, batch, options, folder):
    """A job's command; the .loco files of other precisions lie in a folder."""
    program, method, precision, way, mode = job
    counts = ["--steps", str(options.steps), "--warmup", str(options.warmup)]
    if program == "locorun":
        depth = ["--depth", way.split()[1]] if way else []
        return [*shlex.split(options.locorun), "bench", "step", str(loco_file(options.network, precision, folder)), "--json",
                "--method", method, "--device", options.device, "-D", f"batch_images={batch}", *depth, *counts]
    return [*shlex.split(options.python), str(HERE.parent / "torch_step.py"), options.network,
            "--device", options.device.split(":")[0],
            "--method", method, "--precision", precision, "--way", way, "--mode", mode,
            "--batch", str(batch), *counts]


def loco_file(network, precision, folder):
    """The network's program in a precision."""
    source = HERE.parent / compare.FILES[network]
    if precision == "f32":
        return source
    copy = pathlib.Path(folder) / f"{network}-{precision}.loco"
    copy.write_text(variant.variant(source.read_text(), {"precision": precision}))
    return copy


def name_of(job):
    program, method, precision, way, mode = job
    return " ".join(w for w in (program, method, precision, mode, way if method == "loco" else "") if w)


class Rows:
    """What has been measured, in order; kept in a file after each."""

    def __init__(self, options, run):
        self.options, self.run, self.rows, self.differs = options, run, [], None
        self.began = time.monotonic()

    def left(self):
        return self.options.seconds - (time.monotonic() - self.began)

    def add(self, job, batch):
        result = self.run(job, batch, self.left()) if self.left() > 10 else {"skipped": "no time was left"}
        row = {**result, **dict(zip(("program", "method", "precision", "way", "mode"), job)), "batch": batch, "name": name_of(job)}
        self.rows.append(row)
        print(line(row), flush=True)
        if self.options.json:  # after each: the time may run out
            self.options.json.write_text(json.dumps({"differs": self.differs, "rows": self.rows}, indent=1) + "\n")
        return row


def is_lean(row):
    return row["program"] == "locorun" and not row["way"]


def fits(rows):
    """Whether a batch is one that both programs have memory for: locorun in its
    lean order, PyTorch in some way of each method. What failed otherwise, or was
    left out, does not speak against it."""
    for method in {r["method"] for r in rows}:
        ours = [r for r in rows if r["method"] == method and is_lean(r)]
        theirs = [r for r in rows if r["method"] == method and r["program"] == "PyTorch"]
        if any("no_memory" in r for r in ours) or theirs and all("no_memory" in r for r in theirs):
            return False
    return True


def measure(rows, options):
    """Every precision in the largest batch that fits, in all modes."""
    for precision in options.precisions:
        batch = options.batches[-1]
        for batch in options.batches:
            tried = []
            for job in jobs(options, precision, options.modes[0]):
                tried.append(rows.add(job, batch))
                if is_lean(tried[-1]) and "no_memory" in tried[-1]:
                    break
            if fits(tried):
                break
        for mode in options.modes[1:]:
            for job in jobs(options, precision, mode):
                rows.add(job, batch)


def hold(options):
    """Holds the networks to each other."""
    given = argparse.Namespace(**{**vars(options), "batch": options.batches[0]}, isa="native", malloc="stock", torch_env=[], threads=4)
    ours, theirs = compare.Locorun(given), compare.Torch(given)
    for method in options.methods:
        plan = ours.plan(options.network, method)
        compare.same_network(options.network, method, plan, theirs.describe(options.network, method), given.batch)


def gib(n):
    return "-" if not n else f"{n / 2**30:.2f}"


def line(r):
    """A row as text: images a second counts pictures, not views."""
    head = f"{r['name']:<34} {r['batch']:>5}"
    if "median_seconds" not in r:
        why = next((f"{w}: {r[k]}" for k, w in (("failed", "failed"), ("no_memory", "no memory")) if k in r), f"skipped: {r.get('skipped')}")
        return f"{head}  {why}"
    count = r.get("card_peak_bytes") or r.get("card_bytes") or r.get("plan_bytes")
    return (f"{head} {1e3 * r['median_seconds']:>9.1f} {r['batch'] / r['median_seconds']:>9.0f} "
            f"{gib(r.get('card_used_bytes')):>9} {gib(count):>9}")


def table(rows):
    head = f"{'':<34} {'batch':>5} {'ms':>9} {'images/s':>9} {'GiB used':>9} {'its count':>9}"
    return "\n".join([head, *map(line, rows)])


def timed(rows, **wanted):
    return [r for r in rows if "median_seconds" in r and all(r[k] == v for k, v in wanted.items())]


def fastest(rows):
    return min(rows, key=lambda r: r["median_seconds"], default=None)


def settings(rows):
    """The precisions and batches in which anything was timed, in order."""
    return list(dict.fromkeys((r["precision"], r["batch"]) for r in timed(rows)))


def ratios(rows):
    """The fastest of PyTorch over the fastest of locorun, by precision, batch and
    method: (precision, batch, method, ratio, names)."""
    found = []
    for precision, batch in settings(rows):
        for method in dict.fromkeys(r["method"] for r in rows):
            same = {"precision": precision, "batch": batch, "method": method}
            ours, theirs = (fastest(timed(rows, program=p, **same)) for p in ("locorun", "PyTorch"))
            if ours and theirs:
                found.append((precision, batch, method, theirs["median_seconds"] / ours["median_seconds"], ours["name"], theirs["name"]))
    return found


def memories(rows):
    """LoCo's memory over the end-to-end training's of the same program, precision
    and batch: locorun's lean order, PyTorch's way of least memory."""
    found = []
    for precision, batch in settings(rows):
        for program, key in (("locorun", "plan_bytes"), ("locorun", "card_bytes"), ("locorun", "card_used_bytes"),
                             ("PyTorch", "card_peak_bytes"), ("PyTorch", "card_used_bytes")):
            least = {}
            for method in ("e2e", "loco"):
                same = timed(rows, program=program, precision=precision, batch=batch, method=method)
                held = [r[key] for r in same if r.get(key) and (program == "PyTorch" or is_lean(r))]
                least[method] = min(held, default=None)
            if all(least.values()):
                found.append((precision, batch, program, key, least["loco"] / least["e2e"]))
    return found


def report(rows):
    """The ratios as text, and the most important ones in one line."""
    lines, short = [], []
    for precision, batch, method, ratio, ours, theirs in ratios(rows):
        bar = WANTED.get(method) if precision == "bf16" else None
        verdict = "" if bar is None else f", {'as wanted' if ratio >= bar else 'NOT'} at least {bar:.1f}"
        lines.append(f"{method}, batch {batch}: {ours} runs at {ratio:.2f} x {theirs}{verdict}")
        if precision == rows[0]["precision"]:
            short.append(f"{method} {ratio:.2f} x PyTorch")
    names = {"plan_bytes": "planned", "card_bytes": "by its own count", "card_used_bytes": "by nvidia-smi", "card_peak_bytes": "by its own count"}
    for precision, batch, program, key, ratio in memories(rows):
        lines.append(f"memory, {precision}, batch {batch}: {program}'s LoCo takes {ratio:.2f} of its e2e, {names[key]}")
        if (precision, program, key) == (rows[0]["precision"], "locorun", "plan_bytes"):
            short.append(f"memory {ratio:.2f} of own e2e")
    return lines, short


def words(allowed):
    def split(text):
        chosen = text.split(",")
        for word in chosen:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(allowed)}")
        return chosen
    return split


def numbers(text):
    chosen = [int(n) for n in text.split(",")]
    if min(chosen) < 2 or sorted(chosen, reverse=True) != chosen:
        raise argparse.ArgumentTypeError("batches of 2 and more, the largest first")
    return chosen


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--locorun", default="locorun")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--network", choices=sorted(compare.FILES), default="resnet50")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--methods", type=words(("e2e", "loco")), default=["e2e", "loco"])
    parser.add_argument("--modes", type=words(("eager", "compile")), default=["eager", "compile"])
    parser.add_argument("--precisions", type=words(PRECISIONS), help="default: bf16,f32,tf32 on a card, f32 on a processor")
    parser.add_argument("--batches", type=numbers, default=[256, 128, 64, 32], help="images of a batch, two views each; the first that fits")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=240, help="when to stop")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="print the commands only")
    options = parser.parse_args(arguments)
    if options.precisions is None:
        options.precisions = ["f32"] if options.device == "cpu" else list(PRECISIONS)
    return options


def listing(options, folder):
    for precision in options.precisions:
        for mode in options.modes:
            for job in jobs(options, precision, mode):
                print(shlex.join(command_of(job, options.batches[0], options, folder)))


def main(arguments):
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.list:
            listing(options, folder)
            return 0
        rows = Rows(options, lambda job, batch, left: measured(command_of(job, batch, options, folder), left))
        try:
            hold(options)
        except compare.Failed as error:
            rows.differs = str(error)
            print(f"the networks were not held to each other: {rows.differs}", flush=True)
        measure(rows, options)
    return ending(rows, options)


def ending(rows, options):
    """Prints all, and gives the exit status: 0 where nothing failed and locorun
    ran every method in the first precision."""
    lines, short = report(rows.rows)
    print(f"\n{options.network}, two views an image")
    print(table(rows.rows))
    print("\n".join(lines))
    failed = [r["name"] for r in rows.rows if "failed" in r]
    short.append(f"{len(timed(rows.rows))} of {len(rows.rows)} configurations timed" + (f", failed: {', '.join(failed)}" if failed else ""))
    print(f"= {options.precisions[0]}: {'; '.join(short)}")
    ours = {r["method"] for r in timed(rows.rows, program="locorun", precision=options.precisions[0])}
    return 0 if not failed and rows.differs is None and ours == set(options.methods) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
