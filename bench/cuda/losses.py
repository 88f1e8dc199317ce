#!/usr/bin/env python3
"""Puts the losses of two runs beside each other, epoch by epoch.

    python3 losses.py CPU_RUN CARD_RUN

Each is a run directory. A line holds the mean loss of a unit over an epoch in
both; the last line, which begins with "= ", holds the largest difference. It is
a failure if an epoch's mean differs by more than --tolerance of itself, or if
the runs have not the same units and batches. Sums of another order round
otherwise and training magnifies that, so that means are compared, not batches;
--first holds the losses of the first batch, before any update.

    --precision f32   the first within 1e-4, means within 5 %
    --precision bf16  the first within 1e-2, means within 10 %: the card rounds every
                      element of a map to 2^-9 of itself, the processor does not, and
                      a loss sees the differences of embeddings over a temperature
"""

import argparse
import collections
import json
import math
import pathlib
import sys


# How far the first losses and the means of epochs may be off, by the card's precision.
ALLOWED = {"f32": (1e-4, 0.05), "bf16": (1e-2, 0.10)}


def losses(run):
    """Losses by unit and epoch, in the order of the batches."""
    found = collections.defaultdict(list)
    with open(pathlib.Path(run) / "metrics.jsonl") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("kind") == "batch":
                found[row["unit"], row["epoch"]].append(row["loss"])
    return found


def off(a, b):
    """The difference relative to a; infinite where either is no number."""
    if a is None or b is None or not math.isfinite(a) or not math.isfinite(b):
        return math.inf
    return abs(b - a) / max(abs(a), 1e-12)


def mean(values):
    return sum(values) / len(values) if None not in values else None


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cpu")
    parser.add_argument("card")
    parser.add_argument("--precision", choices=sorted(ALLOWED), default="f32")
    parser.add_argument("--tolerance", type=float, help="default: by the precision")
    parser.add_argument("--first", type=float, help="default: by the precision")
    options = parser.parse_args(arguments)
    first_off, mean_off = ALLOWED[options.precision]
    first_off = first_off if options.first is None else options.first
    mean_off = mean_off if options.tolerance is None else options.tolerance
    cpu, card = losses(options.cpu), losses(options.card)
    if not cpu or {k: len(v) for k, v in cpu.items()} != {k: len(v) for k, v in card.items()}:
        print("= the runs have not the same units and batches")
        return 1
    worst, first = 0.0, 0.0
    print(f"{'unit':<12} {'epoch':>5} {'cpu':>10} {'card':>10} {'off':>9}")
    for unit, epoch in sorted(cpu, key=lambda k: (k[1], k[0])):
        a, b = cpu[unit, epoch], card[unit, epoch]
        if epoch == 1:
            first = max(first, off(a[0], b[0]))
        mine, theirs = mean(a), mean(b)
        worst = max(worst, off(mine, theirs))
        print(f"{unit:<12} {epoch:>5} {mine or math.nan:>10.5f} {theirs or math.nan:>10.5f} {off(mine, theirs):>9.1e}")
    print(f"= first losses {first:.0e} off, means of epochs at most {worst:.0e}")
    return 0 if worst <= mean_off and first <= first_off else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
