#!/usr/bin/env python3
"""Runs one configuration of a training step in PyTorch and prints one JSON line.

    python torch_step.py resnet-small --method loco --way once --mode eager

A step is forward, backward and update of one batch on views that were made
before: random pictures, channels last, f32. With --device cuda it runs on a card
and CUDA's events are the clock; --precision bf16 casts automatically, with
weights, statistics and losses in f32. On a processor, give malloc its settings in the
environment, as compare.py does; without them PyTorch loses much of its time to
page faults. --describe prints what the network is; --selftest checks the steps,
with --mode compile the compiled ones too.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import sys
import time

import torch

from networks import NETWORKS, Model, describe, parameters_of
from steps import WAYS, make_step


def resident():
    """Resident bytes of this process, and their highest mark."""
    found = {}
    with open("/proc/self/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]


def forget_peak():
    """Sets the highest mark of resident memory back to what is resident now.
    Says whether the system let us."""
    try:
        with open("/proc/self/clear_refs", "w") as marks:
            marks.write("5")
        return True
    except OSError:
        return False


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def make_optimizer(model):
    """SGD with momentum; weight decay skips biases and norms. Fused where this
    PyTorch can: an update is one pass over the weights."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
    for extra in ({"fused": True}, {"foreach": True}, {}):
        try:
            return torch.optim.SGD(groups, lr=0.05, momentum=0.9, **extra), ([*extra] or ["plain"])[0]
        except (TypeError, RuntimeError):
            continue
    raise RuntimeError("no form of SGD can be made")


def make_views(size, pictures, dtype=torch.float32):
    views = torch.randn(pictures, 3, size, size, dtype=dtype)
    return views.to(memory_format=torch.channels_last)


def why_not_compiled(error):
    """One line of a failure of the compiler."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


class Cast(torch.nn.Module):
    """A module that computes in bfloat16 where that is safe."""

    def __init__(self, inner, device):
        super().__init__()
        self.inner, self.device = inner, device

    def forward(self, x):
        with torch.autocast(self.device, torch.bfloat16):
            return self.inner(x)


class Half(Model):
    """A model in bfloat16, with weights, statistics and losses in float32."""

    def __init__(self, network, method, batch, device):
        super().__init__(network, method, batch)
        self.stages = torch.nn.ModuleList(Cast(s, device) for s in self.stages)
        self.decoders = torch.nn.ModuleList(Cast(d, device) for d in self.decoders)

    def score(self, unit, y):
        return self.losses[unit](self.decoders[unit](y).float())


def new_model(options, network, batch):
    if options.precision == "bf16":
        return Half(network, options.method, batch, options.device)
    return Model(network, options.method, batch)


def set_precision(precision):
    """Says what a product of float32 may do with its factors; PyTorch lets
    convolutions on a card round them unless told."""
    torch.set_float32_matmul_precision("highest" if precision == "f32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "f32"
    torch.backends.cudnn.benchmark = True


class Run:
    """One configuration; what it says about itself, and its measured steps."""

    def __init__(self, options, imported):
        network = NETWORKS[options.network]
        self.options, self.batch = options, options.batch or network.batch
        torch.manual_seed(1)
        self.model = new_model(options, network, self.batch).to(options.device, memory_format=torch.channels_last)
        self.optimizer, self.kind = make_optimizer(self.model)
        views = make_views(network.size, 2 * self.batch).to(options.device)
        if options.precision == "bf16":
            views = views.bfloat16()  # else every step would begin with that
        self.backward = make_step(self.model, views, options.way, options.mode == "compile")
        self.imported, self.started = imported, resident()[0]

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.backward()
        self.optimizer.step()
        return losses

    def measure(self):
        begin = time.perf_counter()
        losses = [self.step()]
        first = time.perf_counter() - begin
        losses += [self.step() for _ in range(self.options.warmup)]
        _, peak = resident()
        forgot, seconds, faults = forget_peak(), [], page_faults()
        for _ in range(self.options.steps):
            begin = time.perf_counter()
            losses.append(self.step())
            seconds.append(time.perf_counter() - begin)
        faults = (page_faults() - faults) / self.options.steps
        now, steady = resident()
        return {
            **self.report(seconds, first, losses),
            "page_faults_per_step": faults,
            "resident_bytes": now, "resident_peak_bytes": max(peak, steady),
            # After the warm-up: without what the compiler needed.
            "resident_steady_peak_bytes": steady if forgot else max(peak, steady),
        }

    def measure_on_card(self):
        """Steps follow one another without a wait; events tell when each began."""
        begin = time.perf_counter()
        losses = [self.step()]
        torch.cuda.synchronize()
        first = time.perf_counter() - begin
        losses += [self.step() for _ in range(self.options.warmup)]
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(self.options.steps + 1)]
        marks[0].record()
        for mark in marks[1:]:
            losses.append(self.step())
            mark.record()
        torch.cuda.synchronize()
        seconds = [a.elapsed_time(b) / 1e3 for a, b in zip(marks, marks[1:])]
        return {
            **self.report(seconds, first, losses),
            "card": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda,
            "card_peak_bytes": torch.cuda.max_memory_allocated(), "card_reserved_bytes": torch.cuda.memory_reserved(),
        }

    def report(self, seconds, first, losses):
        losses = [[float(x) for x in row] for row in losses]
        if not all(math.isfinite(x) for row in losses for x in row):
            raise RuntimeError(f"a loss is not finite: {losses}")
        return {
            **settings(self.options),
            "batch": self.batch, "pictures": 2 * self.batch,
            "parameters": parameters_of(self.model), "optimizer": self.kind,
            "step_seconds": seconds, "median_seconds": statistics.median(seconds),
            "best_seconds": min(seconds), "first_step_seconds": first,
            "first_losses": losses[0], "last_losses": losses[-1],
            "resident_import_bytes": self.imported, "resident_start_bytes": self.started,
        }


def settings(options):
    """What was run, and with what."""
    capability = getattr(torch.backends, "cpu", None)
    held = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "LD_PRELOAD")
    return {
        "network": options.network, "method": options.method, "way": options.way,
        "mode": options.mode, "device": options.device, "precision": options.precision, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(),
        "capability": capability.get_cpu_capability() if hasattr(capability, "get_cpu_capability") else "unknown",
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("MALLOC_") or k in held},
    }


def run(options, imported):
    if options.mode == "compile" and not hasattr(torch, "compile"):
        return {**settings(options), "skipped": "this PyTorch has no torch.compile"}
    if options.mode == "compile" and options.way == "summed":
        return {**settings(options), "skipped": "summed has no compiled form"}
    try:
        tried = Run(options, imported)
        return tried.measure_on_card() if options.device == "cuda" else tried.measure()
    except Exception as error:
        if options.mode != "compile" or "not finite" in str(error):
            raise
        return {**settings(options), "skipped": why_not_compiled(error)}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", choices=sorted(NETWORKS), default="resnet-small")
    parser.add_argument("--method", choices=("e2e", "loco", "gim"), default="e2e")
    parser.add_argument("--way", choices=WAYS, default="twice", help="where units share a stage")
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    parser.add_argument("--batch", type=int, help="images of a batch, two views each")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=3, help="steps after the first, before the clock")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--describe", action="store_true", help="print parameters and multiply-adds")
    parser.add_argument("--selftest", action="store_true", help="check losses and gradients")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    forget_peak()
    imported = resident()[0]
    torch.set_num_threads(options.threads)
    if hasattr(torch, "set_float32_matmul_precision"):
        set_precision(options.precision)
    if options.selftest:
        import selftest
        return selftest.main(options.mode == "compile")
    if options.describe:
        network = NETWORKS[options.network]
        model = Model(network, options.method, 1)
        print(json.dumps(describe(model, make_views(network.size, 2))))
        return 0
    print(json.dumps(run(options, imported)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
