"""One training step of local contrastive learning in PyTorch, in each of the
ways in which one can write it.

A unit is a run of stages with a decoder and a loss on its last stage. Its loss
reaches its own stages and nothing below. Where two units share a stage:

- twice: every unit runs its own stages on the detached output of the stage
  below, so a shared stage runs forward in both. The usual way: no care needed.
- once: a shared stage runs forward once, and backward once for every unit that
  holds it: for the lower unit to its weights and its input, for the upper one
  to its weights, and to its input only where the unit goes on below.
- summed: as once, but the weight gradient is made once, of the sum of the
  gradients that reach the stage's output. Least arithmetic; eager only, since
  a compiled stage's backward makes every gradient whether it is asked for or not.

All three give the same gradients; selftest.py holds them to that.
"""

import torch

WAYS = ("once", "summed", "twice")


def twice(model, views, compiled):
    """A step that runs every unit by itself; gives the units' losses."""
    units = model.units
    # The output that the next unit reads lies within this unit, or is its input.
    following = [start for start, _ in units[1:]] + [None]

    def run(unit, x):
        given = None
        first, last = units[unit]
        for k in range(first, last + 1):
            if k == following[unit]:
                given = x.detach()
            x = model.stages[k](x)
        if following[unit] == last + 1:
            given = x.detach()
        return model.score(unit, x), given

    if compiled:
        run = torch.compile(run, fullgraph=True, dynamic=False)

    def step():
        losses, x = [], views
        for unit in range(len(units)):
            loss, x = run(unit, x)
            loss.backward()
            losses.append(loss.detach())
        return losses

    return step


class Once:
    """A step that runs every stage forward once. Each unit's loss is sent back
    as soon as it is known, so that what no later unit needs is freed."""

    def __init__(self, model, views, compiled, summed):
        self.model, self.views, self.summed = model, views, summed
        self.stages = list(model.stages)
        self.scores = [lambda y, u=u: model.score(u, y) for u in range(len(model.units))]
        self.weights = [list(s.parameters()) for s in self.stages]
        self.decoders = [list(d.parameters()) for d in model.decoders]
        if compiled:
            # A compiled graph that is sent back twice must keep its buffers.
            import torch._functorch.config as functorch
            functorch.donated_buffer = False
            self.stages = [torch.compile(s, fullgraph=True, dynamic=False) for s in self.stages]
            self.scores = [torch.compile(s, fullgraph=True, dynamic=False) for s in self.scores]

    def holders(self, stage):
        return [u for u, (first, last) in enumerate(self.model.units) if first <= stage <= last]

    def goes_below(self, unit, stage):
        return self.model.units[unit][0] < stage

    def __call__(self):
        self.inputs, self.outputs = [], []
        self.pending = [None] * len(self.stages)
        return [self.unit(u) for u in range(len(self.model.units))]

    def unit(self, u):
        first, last = self.model.units[u]
        for k in range(len(self.outputs), last + 1):
            self.forward(k)
        y = self.outputs[last].detach().requires_grad_()
        loss = self.scores[u](y)
        torch.autograd.backward(loss, inputs=[y] + self.decoders[u])
        gradient = y.grad
        for k in range(last, first - 1, -1):
            gradient = self.backward(u, k, gradient)
        return loss.detach()

    def forward(self, k):
        x = self.outputs[k - 1].detach() if k else self.views
        x.requires_grad_(any(self.goes_below(u, k) for u in self.holders(k)))
        self.inputs.append(x)
        self.outputs.append(self.stages[k](x))

    def backward(self, u, k, gradient):
        """Sends a unit's gradient through stage k; gives that of its input."""
        x, y = self.inputs[k], self.outputs[k]
        below, is_last = self.goes_below(u, k), u == self.holders(k)[-1]
        wanted = [x] if below else []
        if self.summed and not is_last:
            self.add(k, gradient)
        elif self.pending[k] is None:
            wanted = wanted + self.weights[k]
        else:
            # The sum makes the weights' gradient, this unit's alone goes below.
            self.add(k, gradient)
            torch.autograd.backward(y, self.pending[k], inputs=self.weights[k], retain_graph=below)
        if wanted:
            torch.autograd.backward(y, gradient, inputs=wanted, retain_graph=not is_last)
        if is_last:
            self.let_go(k)
        gradient, x.grad = x.grad, None
        return gradient

    def let_go(self, k):
        """Frees what stage k kept; its output stays while none has read it."""
        read = k + 1 < len(self.outputs)
        self.inputs[k] = None
        self.outputs[k] = None if read else self.outputs[k].detach()

    def add(self, k, gradient):
        before = self.pending[k]
        self.pending[k] = gradient if before is None else before + gradient


def make_step(model, views, way, compiled=False):
    """A function that sends one batch forward and back and gives the losses.
    It adds to the gradients, and leaves the update to the caller."""
    if way == "twice" or not shares(model):
        return twice(model, views, compiled)
    if way == "summed" and compiled:
        raise ValueError("summed has no compiled form")
    return Once(model, views, compiled, way == "summed")


def shares(model):
    """Whether any two units share a stage."""
    units = model.units
    return any(a[1] >= b[0] for a, b in zip(units, units[1:]))
