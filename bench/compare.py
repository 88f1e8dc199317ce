#!/usr/bin/env python3
"""Compares a training step of locorun with the same step in PyTorch.

    python3 compare.py --locorun ./locorun --python python3 --json result.json

Both run as processes of their own, in turn, so that what disturbs the machine
disturbs both; every figure is a ratio of runs of one round. First the networks
are held to each other, by parameters and multiply-adds. Then every way to write
the step in PyTorch runs once, and the fastest go into the rounds. This script
needs the standard library only; PyTorch is whatever --python has.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import report as reporting
from report import label

HERE = pathlib.Path(__file__).resolve().parent

# The .loco file of each network, and the batch that it has unless told.
FILES = {"resnet-small": "resnet-small.loco", "resnet18": "resnet18.loco", "resnet50": "resnet50.loco"}
BATCHES = {"resnet-small": 128, "resnet18": 128, "resnet50": 16}

# No mmap for a tensor, nothing handed back: without these PyTorch takes a page
# fault for every 4 KiB of every activation, every step.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


class Failed(Exception):
    """A command that failed, or two networks that differ."""


def call(command, environment=None):
    """Runs a command; gives the last line of its output, or all of it, as JSON."""
    done = subprocess.run(command, env={**os.environ, **(environment or {})},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise Failed(f"{shlex.join(command)} ended with {done.returncode}:\n{tail}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"{shlex.join(command)} printed no JSON:\n{done.stdout[-1000:]}") from None


class Locorun:
    """The program of this project."""

    def __init__(self, options):
        self.options = options

    def file(self, network):
        return str(HERE / FILES[network])

    def command(self, verb, network, method):
        return [*shlex.split(self.options.locorun), *verb, self.file(network), "--method", method,
                "-D", f"batch_images={self.options.batch or BATCHES[network]}", "--json"]

    def plan(self, network, method):
        return call(self.command(["plan"], network, method))

    def step(self, network, method):
        tier = {"native": [], "avx2": ["--tier", "avx2"]}[self.options.isa]
        return call(self.command(["bench", "step"], network, method) + tier + [
            "--workers", str(self.options.threads),
            "--steps", str(self.options.steps), "--warmup", str(self.options.warmup)])


class Torch:
    """The same step in PyTorch."""

    def __init__(self, options):
        self.options = options
        self.environment = dict(MALLOC) if options.malloc == "tuned" else {}
        self.environment.update(AVX2 if options.isa == "avx2" else {})
        self.environment["OMP_NUM_THREADS"] = str(options.threads)
        self.environment.update(pair.split("=", 1) for pair in options.torch_env)

    def command(self, network, method, *more):
        return [*shlex.split(self.options.python), str(HERE / "torch_step.py"), network,
                "--method", method, *more]

    def describe(self, network, method):
        return call(self.command(network, method, "--describe"))

    def candidates(self, method):
        """Way and mode of all that can be run."""
        ways = ("once", "summed", "twice") if method == "loco" else ("twice",)
        pairs = itertools.product(ways, self.options.modes)
        return [(way, mode) for way, mode in pairs if (way, mode) != ("summed", "compile")]

    def step(self, network, method, way, mode):
        return call(self.command(
            network, method, "--way", way, "--mode", mode, "--threads", str(self.options.threads),
            "--batch", str(self.options.batch or BATCHES[network]),
            "--steps", str(self.options.steps), "--warmup", str(self.options.warmup)), self.environment)


def same_network(network, method, plan, described, batch):
    """Refuses a comparison of two different networks."""
    pairs = [("batch", plan["batch"], batch), ("microbatch", plan["microbatch"], batch),
             ("stages", len(plan["stages"]), len(described["stages"])),
             ("units", len(plan["units"]), len(described["decoders"]))]
    for ours, theirs in zip(plan["stages"], described["stages"]):
        for key in ("parameters", "multiply_adds"):
            pairs.append((f"{key} of {ours['name']}", ours[key], theirs[key]))
    for ours, theirs in zip(plan["units"], described["decoders"]):
        for key in ("parameters", "multiply_adds"):
            pairs.append((f"{key} of {ours['name']}'s decoder", ours[f"decoder_{key}"], theirs[key]))
    wrong = [f"{what}: locorun {a}, PyTorch {b}" for what, a, b in pairs if a != b]
    if wrong:
        raise Failed(f"{network}, {method}: the networks differ: " + "; ".join(wrong))
    say(f"{network}, {method}: same network, {sum(s['parameters'] for s in plan['stages'])} parameters and "
        f"{sum(s['multiply_adds'] for s in plan['stages'])} multiply-adds a picture in the encoder")


def say(line):
    print(line, file=sys.stderr, flush=True)


def said(name, result):
    say(f"  {name}: median {result['median_seconds']:.3f} s, best {min(result['step_seconds']):.3f} s, "
        f"peak {result['resident_peak_bytes'] >> 20} MiB")
    return result


def prepare(options, ours, theirs, network, method):
    """Checks a case, runs every candidate once, and keeps the fastest."""
    plan = ours.plan(network, method)
    batch = options.batch or BATCHES[network]
    same_network(network, method, plan, theirs.describe(network, method), batch)
    seen, skipped = {}, {}
    for way, mode in theirs.candidates(method):
        name = label(way, mode, method == "loco")
        result = theirs.step(network, method, way, mode)
        if "skipped" in result:
            skipped[name] = result["skipped"]
            say(f"  PyTorch {name}: skipped, {result['skipped']}")
            continue
        seen[name] = [dict(said(f"PyTorch {name}", result), way=way, mode=mode)]
    if not seen:
        raise Failed(f"{network}, {method}: no way of PyTorch could be run: {skipped}")
    order = sorted(seen, key=lambda n: seen[n][0]["best_seconds"])[:options.finalists]
    return {"network": network, "method": method, "plan": plan, "seen": seen, "skipped": skipped,
            "finalists": {n: (seen[n][0]["way"], seen[n][0]["mode"]) for n in order},
            "locorun": [], "torch": {n: [] for n in order}}


def runs_of(case, ours, theirs):
    """The runs of one round of a case, each a function without arguments."""
    network, method = case["network"], case["method"]

    def locorun():
        case["locorun"].append(said(f"{method} locorun", ours.step(network, method)))

    def torch(name, way, mode):
        result = said(f"{method} PyTorch {name}", theirs.step(network, method, way, mode))
        case["torch"][name].append(result)
        case["seen"][name].append(result)

    return [locorun] + [lambda n=n, p=p: torch(n, *p) for n, p in case["finalists"].items()]


def compare(options, network):
    """All rounds of one network. Its methods alternate as well, so that the
    ratio of loco to e2e is one of neighbours too; every second round runs
    backwards, so that a drift of the machine favours none."""
    ours, theirs = Locorun(options), Torch(options)
    cases = [prepare(options, ours, theirs, network, m) for m in options.methods]
    for r in range(options.rounds):
        say(f"{network}: round {r + 1} of {options.rounds}")
        runs = [run for case in cases for run in runs_of(case, ours, theirs)]
        for run in runs if r % 2 == 0 else reversed(runs):
            run()
    for case in cases:
        workers = {result.get("workers") for result in case["locorun"]}
        if workers != {options.threads}:
            say(f"warning: locorun had {workers} workers, PyTorch {options.threads} threads")
    return cases


def machine():
    """What the figures were made on."""
    model = "unknown"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()), "load_before": os.getloadavg()[0],
            "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes")}


def words(allowed):
    def split(text):
        chosen = text.split(",")
        for word in chosen:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(allowed)}")
        return chosen
    return split


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--locorun", default="go run .", help="command of locorun (default: go run .)")
    parser.add_argument("--python", default=sys.executable, help="command of a Python that has PyTorch")
    parser.add_argument("--networks", type=words(FILES), default=["resnet-small"],
                        help="names with commas between: " + ", ".join(FILES))
    parser.add_argument("--methods", type=words(("e2e", "loco", "gim")), default=["e2e", "loco"])
    parser.add_argument("--modes", type=words(("eager", "compile")), default=["eager", "compile"])
    parser.add_argument("--rounds", type=int, default=6, help="6 give an interval of 97 %% coverage")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--batch", type=int, help="images of a batch; default: that of the file")
    parser.add_argument("--finalists", type=int, default=2, help="ways of PyTorch that enter the rounds")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", choices=("native", "avx2"), default="native", help="avx2 holds both to AVX2")
    parser.add_argument("--malloc", choices=("tuned", "stock"), default="tuned")
    parser.add_argument("--torch-env", action="append", default=[], metavar="NAME=VALUE",
                        help="a further setting for PyTorch's processes")
    parser.add_argument("--json", type=pathlib.Path, help="file for all that was measured")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    about = machine()
    try:
        cases = [case for network in options.networks for case in compare(options, network)]
    except Failed as error:
        say(f"error: {error}")
        return 1
    rows = [reporting.summarise(case) for case in cases]
    against = [reporting.methods_against(cases, rows, n) for n in options.networks]
    result = {"machine": about, "command": shlex.join([sys.argv[0], *arguments]), "isa": options.isa,
              "malloc": options.malloc, "torch": next(iter(cases[0]["seen"].values()))[0]["torch"],
              "rows": rows, "methods": [a for a in against if a], "cases": cases}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{about['date']}, {about['processor']}, {options.threads} threads, PyTorch {result['torch']}, "
          f"{options.isa}, malloc {options.malloc}\n")
    print(reporting.text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
