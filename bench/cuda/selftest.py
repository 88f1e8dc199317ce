#!/usr/bin/env python3
"""Checks the scripts of this folder on made-up results: no card, no PyTorch.

    python3 selftest.py

- A batch that one of the programs has no memory for is halved, for both.
- Ratios are of equal precisions and batches; what is missed is called so.
- Losses that differ by more than is allowed are a failure; so are other batches.
- A variant of a program differs in its settings only.
"""

import contextlib
import io
import json
import pathlib
import tempfile

import losses
import times
import variant


def options(*arguments):
    return times.parse(["--device", "cuda", "--batches", "256,128,64", "--modes", "eager,compile", "--precisions", "bf16,f32", *arguments])


def quietly(function, *arguments):
    """What a function gives, and what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        given = function(*arguments)
    return given, out.getvalue()


def machine(room, seconds):
    """A card that holds so many images, by program, precision and method, on
    which a configuration takes so many seconds for 256."""
    def run(job, batch, left):
        program, method, precision, way, mode = job
        if batch > room(program, precision, method, way):
            return {"no_memory": "CUDA out of memory"}
        took = seconds(program, precision, method, way, mode)
        if took is None:
            return {"failed": "no kernel"}
        return {"median_seconds": took * batch / 256, "plan_bytes": {"e2e": 100, "loco": 86}[method] << 20,
                "card_used_bytes": {"e2e": 120, "loco": 108}[method] << 20}
    return run


def measured(opt, room=lambda *_: 256, seconds=lambda *_: 1.0):
    rows = times.Rows(opt, machine(room, seconds))
    _, said = quietly(times.measure, rows, opt)
    return rows, said


def check_batches():
    opt = options()
    rows, _ = measured(opt, lambda program, precision, method, way: 256 if precision == "bf16" else 100)
    tried = {(r["precision"], r["batch"]) for r in times.timed(rows.rows)}
    assert tried == {("bf16", 256), ("f32", 64)}, tried
    assert not any(r["mode"] == "compile" and r["precision"] == "f32" and r["batch"] != 64 for r in rows.rows)
    # A way of PyTorch that does not fit is left out; if none does, all go down.
    rows, _ = measured(opt, lambda program, precision, method, way: 128 if way == "once" else 256)
    assert times.settings(rows.rows) == [("bf16", 256), ("f32", 256)], times.settings(rows.rows)
    rows, _ = measured(opt, lambda program, precision, method, way: 128 if (program, method) == ("PyTorch", "loco") else 256)
    done = {(r["batch"]) for r in times.timed(rows.rows, program="locorun", method="loco", precision="bf16")}
    assert done == {256, 128} and times.ratios(rows.rows)[-1][1] == 128, done
    # Our own pipelined order is no reason to go down.
    rows, _ = measured(opt, lambda program, precision, method, way: 64 if way == "depth 2" else 256)
    assert times.settings(rows.rows) == [("bf16", 256), ("f32", 256)]
    rows, said = measured(opt, lambda *_: 0)
    assert not times.timed(rows.rows) and "no memory: CUDA out of memory" in said
    print("batches: the largest that both have memory for")


def check_ratios():
    def seconds(program, precision, method, way, mode):
        if program == "locorun":
            return 0.9 if way == "depth 2" else 1.0
        return {"once": 1.3, "summed": 1.2, "twice": 1.08}[way] - (0.1 if mode == "compile" else 0)
    opt = options("--precisions", "bf16")
    rows, _ = measured(opt, seconds=seconds)
    ratios = {method: (round(ratio, 3), ours, theirs) for _, _, method, ratio, ours, theirs in times.ratios(rows.rows)}
    assert ratios["e2e"] == (0.98, "locorun e2e bf16", "PyTorch e2e bf16 compile"), ratios
    assert ratios["loco"] == (1.089, "locorun loco bf16 depth 2", "PyTorch loco bf16 compile twice"), ratios
    lines, short = times.report(rows.rows)
    assert sum("NOT at least" in line for line in lines) == 2, lines
    assert short == ["e2e 0.98 x PyTorch", "loco 1.09 x PyTorch", "memory 0.86 of own e2e"], short
    assert ("bf16", 256, "locorun", "card_used_bytes", 0.9) in times.memories(rows.rows), times.memories(rows.rows)
    rows, _ = measured(opt, seconds=lambda program, *_: 0.5 if program == "locorun" else 1.0)
    assert sum("as wanted at least" in line for line in times.report(rows.rows)[0]) == 2
    print("ratios: fastest against fastest, in one precision and batch")


def check_ending():
    opt = options("--precisions", "bf16")
    for what, seconds, status in (
            ("all", lambda *_: 1.0, 0),
            ("PyTorch fails", lambda program, *_: None if program == "PyTorch" else 1.0, 1),
            ("locorun fails", lambda program, precision, method, way, mode: None if (program, method) == ("locorun", "loco") else 1.0, 1)):
        rows, _ = measured(opt, seconds=seconds)
        got, said = quietly(times.ending, rows, opt)
        assert got == status, f"{what}: {got}\n{said}"
        assert said.splitlines()[-1].startswith("= bf16: "), said
    rows, _ = measured(opt)
    rows.differs = "other networks"
    assert quietly(times.ending, rows, opt)[0] == 1
    rows, _ = measured(options("--precisions", "bf16", "--seconds", "0"))
    assert all(r["skipped"] == "no time was left" for r in rows.rows) and quietly(times.ending, rows, opt)[0] == 1
    print("ending: what failed is told")


def check_commands():
    with tempfile.TemporaryDirectory() as folder:
        for job in times.jobs(options(), "bf16", "eager"):
            command = times.command_of(job, 64, options("--locorun", "locorun", "--python", "py"), folder)
            if job[0] == "locorun":
                text = pathlib.Path(command[3]).read_text()
                assert "precision bf16" in text and ("--depth" in command) == (job[3] == "depth 2"), command
                assert command[:3] == ["locorun", "bench", "step"] and "batch_images=64" in command, command
            else:
                assert command[command.index("--precision") + 1] == "bf16" and command[command.index("--batch") + 1] == "64", command
        assert times.loco_file("resnet50", "f32", folder).name == "resnet50.loco"
    for text, kind in (("RuntimeError: CUDA error: out of memory", "no_memory"), ("cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY", "no_memory"),
                       ("locorun: the run needs 90 GiB of the card's memory (", "no_memory"), ("no kernel", "failed"), ("", "failed")):
        assert list(times.failure(1, text)) == [kind], text
    print("commands: precision, batch and depth arrive")


def check_variant():
    text = 'import "std/simclr.loco"\nparam epochs = 3\ntrain {\n  batch 32; epochs epochs; seed 1 // as ever\n  loss ntxent(temperature=0.5)\n}\n'
    got = variant.variant(text, {"epochs": "2", "precision": "bf16"})
    assert got == text.replace("epochs epochs", "epochs 2").replace(")\n}", ")\n  precision bf16\n}"), got
    assert variant.variant(text, {}) == text
    assert variant.variant(variant.variant(text, {"precision": "bf16"}), {"precision": "tf32"}) == variant.variant(text, {"precision": "tf32"})
    for bad, why in ((text.replace("std/", "my/"), "imports my/simclr.loco"), ("stage a {}", "no train block"),
                     (text.replace("seed 1", "epochs 4"), "stands 2 times")):
        try:
            variant.variant(bad, {"epochs": "2"})
            raise AssertionError(f"took {bad}")
        except variant.Refused as error:
            assert why in str(error), error
    print("variants: settings change, nothing else")


def check_losses():
    def run(folder, name, change=lambda epoch, batch: 0.0, batches=4):
        at = pathlib.Path(folder) / name
        at.mkdir()
        with open(at / "metrics.jsonl", "w") as out:
            for epoch in (1, 2):
                for batch in range(batches):
                    print(json.dumps({"kind": "batch", "unit": "low", "epoch": epoch, "loss": 3 + change(epoch, batch)}), file=out)
        return str(at)
    with tempfile.TemporaryDirectory() as folder:
        cpu = run(folder, "cpu")
        for name, other, arguments, status in (
                ("the same", run(folder, "same"), [], 0),
                ("a first loss a little off", run(folder, "first", lambda e, b: 0.05 if (e, b) == (1, 0) else 0), [], 1),
                ("which is said to be fine", folder + "/first", ["--first", "0.02"], 0),
                ("more than bf16 explains", folder + "/first", ["--precision", "bf16"], 1),
                ("as bf16 may", run(folder, "narrow", lambda e, b: 0.02 + 0.2 * (e - 1)), ["--precision", "bf16"], 0),
                ("which f32 may not", folder + "/narrow", [], 1),
                ("an epoch far off", run(folder, "far", lambda e, b: 0.6 if e == 2 else 0), ["--tolerance", "0.1"], 1),
                ("not a number", run(folder, "nan", lambda e, b: float("nan") if (e, b) == (2, 1) else 0), ["--tolerance", "9"], 1),
                ("fewer batches", run(folder, "fewer", batches=3), [], 1)):
            got, said = quietly(losses.main, [cpu, other, *arguments])
            assert got == status, f"{name}: {got}\n{said}"
    print("losses: told apart")


def main():
    check_batches()
    check_ratios()
    check_ending()
    check_commands()
    check_variant()
    check_losses()
    print("all is well")


if __name__ == "__main__":
    main()
