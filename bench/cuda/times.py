#!/usr/bin/env python3
"""Times ResNet-50's step on a card, of locorun and of PyTorch, run in turn.

    python3 times.py --locorun ./locorun --json times.json --seconds 240

Every configuration is a process of its own. The networks are first held to each
other as on a processor. What comes first matters most: where --seconds run out,
the rest is left out and said so. Memory is what nvidia-smi tells of the card,
for both, at the most above what was in use before; a sample is taken every 100
ms. PyTorch's own count of what it allocated stands beside it.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import compare  # noqa: E402


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


def measured(command, seconds):
    """Runs a command that prints JSON; gives that with the card's memory."""
    sampler = Sampler()
    sampler.start()
    time.sleep(0.5)  # for samples from before
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds)
        if done.returncode:
            return {"failed": " | ".join(done.stderr.strip().splitlines()[-3:]) or f"ended with {done.returncode}"}
        result = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"skipped": f"took more than the {seconds:.0f} s that were left"}
    except ValueError:
        return {"failed": f"printed no JSON: {done.stdout[-200:]}"}
    finally:
        memory = sampler.end()
    result["card_used_bytes"] = memory
    return result


def jobs(options):
    """What is run: program, method, precision, way and mode, by importance."""
    found = []
    for mode in options.modes:
        for precision in ("bf16", "f32", "tf32"):
            for method in options.methods:
                if mode == "eager" and precision == "bf16":
                    found.append(("locorun", method, "f32", "", ""))
                for way in (("once", "summed", "twice") if method == "loco" else ("twice",)):
                    if (way, mode) != ("summed", "compile"):
                        found.append(("PyTorch", method, precision, way, mode))
    return found


def command_of(job, options):
    program, method, precision, way, mode = job
    counts = ["--steps", str(options.steps), "--warmup", str(options.warmup)]
    if program == "locorun":
        return [*shlex.split(options.locorun), "bench", "step", str(HERE.parent / "resnet50.loco"), "--json",
                "--method", method, "--device", options.device, "-D", f"batch_images={options.batch}", *counts]
    return [*shlex.split(options.python), str(HERE.parent / "torch_step.py"), "resnet50", "--device", options.device.split(":")[0],
            "--method", method, "--precision", precision, "--way", way, "--mode", mode,
            "--batch", str(options.batch), *counts]


def name_of(job):
    program, method, precision, way, mode = job
    return " ".join(w for w in (program, method, precision, mode, way if method == "loco" else "") if w)


def hold(options):
    """Holds the networks to each other."""
    given = argparse.Namespace(**vars(options), isa="native", malloc="stock", torch_env=[], threads=4)
    ours, theirs = compare.Locorun(given), compare.Torch(given)
    for method in options.methods:
        plan = ours.plan("resnet50", method)
        compare.same_network("resnet50", method, plan, theirs.describe("resnet50", method), options.batch)


def gib(n):
    return "-" if n is None else f"{n / 2**30:.2f}"


def table(rows, batch):
    """The rows as text: images a second counts pictures, not views."""
    lines = [f"{'':<36} {'ms':>9} {'images/s':>9} {'GiB used':>9} {'its count':>9}"]
    for r in rows:
        if "median_seconds" not in r:
            lines.append(f"{r['name']:<36} {'failed: ' + r['failed'] if 'failed' in r else 'skipped: ' + r['skipped']}")
            continue
        count = r.get("card_peak_bytes", r.get("plan_bytes"))
        lines.append(f"{r['name']:<36} {1e3 * r['median_seconds']:>9.1f} {batch / r['median_seconds']:>9.0f} "
                     f"{gib(r['card_used_bytes']):>9} {gib(count):>9}")
    return "\n".join(lines)


def ratios(rows, methods):
    """PyTorch's fastest of each precision over locorun."""
    found, timed = [], [r for r in rows if "median_seconds" in r]
    for method in methods:
        ours = [r for r in timed if r["program"] == "locorun" and r["method"] == method]
        for precision in ("f32", "tf32", "bf16"):
            theirs = [r for r in timed if r["program"] == "PyTorch" and r["method"] == method and r["precision"] == precision]
            if ours and theirs:
                best = min(theirs, key=lambda r: r["median_seconds"])
                found.append(f"{method}: locorun in {ours[0]['precision']} runs at "
                             f"{best['median_seconds'] / ours[0]['median_seconds']:.2f} x PyTorch in {precision} ({best['name']})")
    return found


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--locorun", default="locorun")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--methods", type=lambda s: s.split(","), default=["e2e", "loco"])
    parser.add_argument("--modes", type=lambda s: s.split(","), default=["eager", "compile"])
    parser.add_argument("--batch", type=int, default=64, help="images of a batch, two views each")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=240, help="when to stop")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--list", action="store_true", help="print the commands only")
    return parser.parse_args(arguments)


def main(arguments):
    options, began, rows = parse(arguments), time.monotonic(), []
    if options.list:
        for job in jobs(options):
            print(shlex.join(command_of(job, options)))
        return 0
    differs = None
    try:
        hold(options)
    except compare.Failed as error:
        differs = str(error)
        print(f"the networks were not held to each other: {differs}", flush=True)
    for job in jobs(options):
        left = options.seconds - (time.monotonic() - began)
        result = measured(command_of(job, options), left) if left > 10 else {"skipped": "no time was left"}
        result.update(zip(("program", "method", "precision"), job))
        rows.append({**result, "name": name_of(job)})
        print(table(rows[-1:], options.batch).splitlines()[-1], flush=True)
        if options.json:  # after each: the time may run out
            options.json.write_text(json.dumps({"batch": options.batch, "differs": differs, "rows": rows}, indent=1) + "\n")
    print(f"\nResNet-50 at 224x224, {options.batch} images of two views a batch")
    print(table(rows, options.batch))
    print("\n".join(ratios(rows, options.methods)))
    ran = sum("median_seconds" in r for r in rows)
    failed = [r["name"] for r in rows if "failed" in r]
    print(f"= {ran} of {len(rows)} configurations timed" + (f", failed: {', '.join(failed)}" if failed else ""))
    ours = {r["method"] for r in rows if r["program"] == "locorun" and "median_seconds" in r}
    return 0 if not failed and differs is None and ours == set(options.methods) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
