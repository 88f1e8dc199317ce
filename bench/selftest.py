"""Checks that the steps compute what they should, on a small network in float64.

- The loss equals one written out term by term.
- For loco, gim and longer overlaps, every way gives the same losses and the
  same gradients as one plain backward of the sum of all losses, in a graph of
  its own that cuts each unit off from the stages below it.
- An update keeps everything finite, and lowers the loss after some steps.
"""

import math

import torch

from networks import NETWORKS, Model, NTXent
from steps import WAYS, make_step
from torch_step import make_optimizer, make_views, why_not_compiled

TOLERANCE = 1e-9  # relative to the largest gradient; float64 gives about 1e-14


def new_model(method, units=None):
    torch.manual_seed(7)
    model = Model(NETWORKS["tiny"], method, NETWORKS["tiny"].batch)
    if units is not None:
        model.units = units
    return model.double()


def new_views():
    torch.manual_seed(8)
    network = NETWORKS["tiny"]
    return make_views(network.size, 2 * network.batch, torch.float64)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain_loss(embeddings, temperature):
    """NT-Xent written out, a term for each pair."""
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in embeddings.tolist()]
    total = 0.0
    for i, a in enumerate(unit):
        near = [sum(x * y for x, y in zip(a, b)) / temperature for b in unit]
        others = sum(math.exp(s) for j, s in enumerate(near) if j != i)
        total += math.log(others) - near[i ^ 1]
    return total / len(unit)


def check_loss():
    torch.manual_seed(9)
    embeddings = torch.randn(8, 5, dtype=torch.float64)
    got, want = float(NTXent(8, 0.5)(embeddings)), plain_loss(embeddings, 0.5)
    assert abs(got - want) < 1e-12, f"NT-Xent gives {got}, want {want}"
    print(f"loss: {got:.12f} as written out")


def reference(model, views):
    """Losses and gradients by one backward of the sum of all losses."""
    losses = []
    for unit, (first, last) in enumerate(model.units):
        x = views
        for k in range(last + 1):
            x = model.stages[k](x.detach() if k == first else x)
        losses.append(model.score(unit, x))
    torch.stack(losses).sum().backward()
    return [float(x.detach()) for x in losses], gradients(model)


def check_ways(title, method, units=None, ways=WAYS, compiled=False):
    views = new_views()
    model = new_model(method, units)
    want_losses, want = reference(model, views)
    scale = max(float(g.abs().max()) for g in want.values())
    for way in ways:
        model = new_model(method, units)
        losses = [float(x) for x in make_step(model, views, way, compiled)()]
        got = gradients(model)
        assert got.keys() == want.keys(), f"{title}, {way}: gradients of {sorted(got.keys() ^ want.keys())}"
        worst, name = max((float((got[n] - want[n]).abs().max()) / scale, n) for n in want)
        far = max(abs(a - b) for a, b in zip(losses, want_losses))
        assert len(losses) == len(want_losses) and far < TOLERANCE, f"{title}, {way}: losses {losses}, want {want_losses}"
        assert worst < TOLERANCE, f"{title}, {way}: the gradient of {name} is {worst:.1e} off"
        print(f"{title}, {way}: losses {far:.0e} off, gradients {worst:.0e} of the largest")


def check_reach():
    """Unit A's loss alone leaves what only B holds without gradient, and the
    other way round: the reference itself must cut where it says."""
    for unit in range(3):
        model, views = new_model("loco"), new_views()
        first, last = model.units[unit]
        x = views
        for k in range(last + 1):
            x = model.stages[k](x.detach() if k == first else x)
        model.score(unit, x).backward()
        for k, stage in enumerate(model.stages):
            reached = any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in stage.parameters())
            assert reached == (first <= k <= last), f"unit {unit} and stage {k}"
    print("reach: every loss trains its own stages only")


def check_training(method, way):
    model, views = new_model(method), new_views()
    optimizer, _ = make_optimizer(model)
    step, seen = make_step(model, views, way), []
    for _ in range(30):
        optimizer.zero_grad(set_to_none=True)
        losses = step()
        optimizer.step()
        seen.append(sum(float(x) for x in losses))
    assert all(math.isfinite(x) for x in seen), f"{method}, {way}: {seen}"
    assert seen[-1] < seen[0], f"{method}, {way}: the loss went from {seen[0]} to {seen[-1]}"
    print(f"training {method}, {way}: {seen[0]:.3f} -> {seen[-1]:.3f}")


def check_compiled():
    """The compiled steps too, where there is a compiler."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2))
    except Exception as error:
        return print(f"compiled steps: skipped, {why_not_compiled(error)}")
    check_ways("e2e compiled", "e2e", ways=("twice",), compiled=True)
    check_ways("loco compiled", "loco", ways=("once", "twice"), compiled=True)


def main(compiled):
    """All checks; those of the compiled steps, which take minutes, if asked."""
    check_loss()
    check_reach()
    check_ways("e2e", "e2e")
    check_ways("gim", "gim")
    check_ways("loco", "loco")
    check_ways("two stages shared", "loco", [(0, 2), (1, 3)])
    check_ways("one start", "loco", [(0, 1), (0, 2), (2, 3)])
    check_ways("three on a stage", "loco", [(0, 2), (1, 2), (2, 3)])
    for way in WAYS:
        check_training("loco", way)
    check_training("e2e", "twice")
    if compiled:
        check_compiled()
    print("all is well")
    return 0
