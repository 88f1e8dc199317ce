"""Makes the golden tensors beside this file with PyTorch.

    python make.py [folder]

Each case is a program, NAME.loco, and a NAME.safetensors with what training it
must give. Only plain torch operations and autograd are used: a unit's input is
detached, a stage that several units hold is simply run once for each of them,
with the same weights. Everything is computed in float64 from inputs and first
weights that float32 holds exactly, and stored as float32; the same run in
float32 is made beside it, to print how far float32 alone may stray.

Tensors of a case (convolutions as torch has them: out, in, kh, kw):

    images           [2*batch, h, w, 3], rows in the order (image, view)
    init/NAME        weights and running statistics before the first step
    grad/NAME        gradients of the first step
    stats/NAME       running statistics after the first step
    loss/UNIT        [10], the loss of each of ten steps on the same images
    final/NAME       weights and running statistics after ten steps
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

STEPS, LR, MOMENTUM, TEMPERATURE = 10, 0.05, 0.9, 0.5
BATCH = 8


# --- Encoder stages: each is a list of layers over a dict of tensors by name. ---


class Net:
    """Weights by name, and the layers that use them."""

    def __init__(self, seed):
        self.draw = torch.Generator().manual_seed(seed)
        self.weights, self.statistics = {}, {}

    def normal(self, *shape, std):
        # Rounded to float32, so that the stored value is the one used.
        x = torch.randn(*shape, generator=self.draw, dtype=torch.float64) * std
        return x.float().double()

    def conv(self, name, out, inp, k):
        self.weights[name + ".weight"] = self.normal(out, inp, k, k, std=(2 / (out * k * k)) ** 0.5)

    def norm(self, name, c):
        # Not 1 and 0: a scale or shift that is ignored must show.
        self.weights[name + ".weight"] = 1 + self.normal(c, std=0.1)
        self.weights[name + ".weight"] = self.weights[name + ".weight"].float().double()
        self.weights[name + ".bias"] = self.normal(c, std=0.1)
        self.statistics[name + ".running_mean"] = torch.zeros(c, dtype=torch.float64)
        self.statistics[name + ".running_var"] = torch.ones(c, dtype=torch.float64)

    def dense(self, name, out, inp):
        self.weights[name + ".weight"] = self.normal(out, inp, std=inp**-0.5)
        self.weights[name + ".bias"] = self.normal(out, std=0.1)

    def cast(self, dtype):
        self.weights = {k: v.to(dtype) for k, v in self.weights.items()}
        self.statistics = {k: v.to(dtype) for k, v in self.statistics.items()}


class Pass:
    """One run through a stage or decoder.

    counts: whether running statistics move (once per stage and step).
    frozen: whether the weights are constants (tie=upper, seen from below).
    """

    def __init__(self, net, counts, frozen=False):
        self.net, self.counts, self.frozen = net, counts, frozen

    def weight(self, name):
        w = self.net.weights[name]
        return w.detach() if self.frozen else w

    def conv(self, x, name, stride=1):
        w = self.weight(name + ".weight")
        return F.conv2d(x, w, stride=stride, padding=(w.shape[2] - 1) // 2)

    def norm(self, x, name):
        mean = variance = None
        if self.counts:
            mean = self.net.statistics[name + ".running_mean"]
            variance = self.net.statistics[name + ".running_var"]
        return F.batch_norm(
            x, mean, variance, self.weight(name + ".weight"), self.weight(name + ".bias"),
            training=True, momentum=0.1, eps=1e-5,
        )

    def dense(self, x, name):
        return F.linear(x, self.weight(name + ".weight"), self.weight(name + ".bias"))

    def stem(self, x, stage, stride=1):
        return F.relu(self.norm(self.conv(x, stage + ".conv1", stride), stage + ".bn1"))

    def basic(self, x, block, stride=1):
        y = F.relu(self.norm(self.conv(x, block + ".conv1", stride), block + ".bn1"))
        y = self.norm(self.conv(y, block + ".conv2"), block + ".bn2")
        if block + ".downsample.0.weight" in self.net.weights:
            x = self.norm(self.conv(x, block + ".downsample.0", stride), block + ".downsample.1")
        return F.relu(y + x)

    def proj(self, x, unit):
        x = x.mean(dim=(2, 3))
        x = F.relu(self.dense(x, unit + "/proj.fc1"))
        return self.dense(x, unit + "/proj.fc2")


def add_basic(net, block, out, inp, stride):
    net.conv(block + ".conv1", out, inp, 3)
    net.norm(block + ".bn1", out)
    net.conv(block + ".conv2", out, out, 3)
    net.norm(block + ".bn2", out)
    if stride != 1 or out != inp:
        net.conv(block + ".downsample.0", out, inp, 1)
        net.norm(block + ".downsample.1", out)


def add_proj(net, unit, inp):
    net.dense(unit + "/proj.fc1", 32, inp)
    net.dense(unit + "/proj.fc2", 16, 32)


# --- The loss. Row 2i's partner is row 2i+1. ---


def ntxent(e, temperature):
    z = F.normalize(e, dim=1, eps=1e-12)
    s = z @ z.T / temperature
    s = s.masked_fill(torch.eye(len(e), dtype=torch.bool), float("-inf"))
    partner = torch.arange(len(e)) ^ 1
    return F.cross_entropy(s, partner)


# --- The cases: stages, units, which stages a unit runs frozen. ---


def overlap_net(seed):
    net = Net(seed)
    net.conv("s1.conv1", 8, 3, 3)
    net.norm("s1.bn1", 8)
    add_basic(net, "s1.0", 8, 8, 1)
    add_basic(net, "s2.0", 16, 8, 2)
    add_basic(net, "s3.0", 32, 16, 2)
    add_proj(net, "low", 16)
    add_proj(net, "mid", 32)
    stages = {
        "s1": lambda p, x: p.basic(p.stem(x, "s1"), "s1.0"),
        "s2": lambda p, x: p.basic(x, "s2.0", 2),
        "s3": lambda p, x: p.basic(x, "s3.0", 2),
    }
    return net, stages, [("low", ["s1", "s2"]), ("mid", ["s2", "s3"])]


def chain_net(seed):
    net = Net(seed)
    widths, strides = [3, 8, 16, 16, 24, 24], [1, 2, 1, 2, 1]
    stages = {}
    for i, stride in enumerate(strides):
        name = f"s{i + 1}"
        net.conv(name + ".conv1", widths[i + 1], widths[i], 3)
        net.norm(name + ".bn1", widths[i + 1])
        stages[name] = lambda p, x, name=name, stride=stride: p.stem(x, name, stride)
    units = [("a", ["s1", "s2", "s3"]), ("b", ["s2", "s3", "s4"]), ("c", ["s3", "s4", "s5"])]
    for unit, held in units:
        add_proj(net, unit, widths[int(held[-1][1:])])
    return net, stages, units


CASES = {
    # name: net, seed, side of a picture, stages whose upper unit alone trains them
    "overlap": (overlap_net, 1, 12, []),
    "chain": (chain_net, 2, 16, []),
    "upper": (overlap_net, 1, 12, ["s2"]),
}


def losses(net, stages, units, upper, images):
    """The loss of each unit, each with its input detached."""
    outputs, top_of = {}, {}
    for i, (_, held) in enumerate(units):
        for s in held:
            top_of[s] = i
    found = []
    for i, (unit, held) in enumerate(units):
        below = f"s{int(held[0][1:]) - 1}"
        x = outputs.get(below, images).detach()
        for s in held:
            frozen = s in upper and top_of[s] != i
            x = stages[s](Pass(net, counts=s not in outputs, frozen=frozen), x)
            outputs.setdefault(s, x)
        found.append(ntxent(Pass(net, counts=False).proj(x, unit), TEMPERATURE))
    return found


def train(make, seed, images, upper, dtype):
    """Ten steps of SGD with momentum, the sum of all losses at once: what
    reaches what is decided by the detached inputs alone."""
    net, stages, units = make(seed)
    net.cast(dtype)
    images = images.to(dtype)
    out = {"init/" + k: v.clone() for k, v in (net.weights | net.statistics).items()}
    for w in net.weights.values():
        w.requires_grad_(True)
    motion = {k: torch.zeros_like(w) for k, w in net.weights.items()}
    history = []
    for step in range(STEPS):
        found = losses(net, stages, units, upper, images)
        history.append(torch.stack(found).detach())
        gradients = dict(zip(net.weights, torch.autograd.grad(sum(found), list(net.weights.values()))))
        if step == 0:
            out |= {"grad/" + k: g for k, g in gradients.items()}
            out |= {"stats/" + k: v.clone() for k, v in net.statistics.items()}
        with torch.no_grad():
            for k, w in net.weights.items():
                motion[k] = MOMENTUM * motion[k] + gradients[k]
                w -= LR * motion[k]
    for i, (unit, _) in enumerate(units):
        out["loss/" + unit] = torch.stack(history)[:, i]
    out |= {"final/" + k: v.detach().clone() for k, v in (net.weights | net.statistics).items()}
    return out


def pictures(seed, side):
    """Rows (image, view): two views of an image share what is in it."""
    g = torch.Generator().manual_seed(100 + seed)
    content = torch.randn(BATCH, 1, 3, side, side, generator=g, dtype=torch.float64)
    change = torch.randn(BATCH, 2, 3, side, side, generator=g, dtype=torch.float64)
    return (content + 0.5 * change).reshape(2 * BATCH, 3, side, side).float().double()


def distance(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30)).item()


def make_case(folder, name):
    make, seed, side, upper = CASES[name]
    images = pictures(seed, side)
    exact = train(make, seed, images, upper, torch.float64)
    single = train(make, seed, images, upper, torch.float32)
    tensors = {"images": images.permute(0, 2, 3, 1)} | exact
    tensors = {k: v.float().contiguous() for k, v in tensors.items()}
    save_file(tensors, folder / f"{name}.safetensors")
    print(f"{name}: losses {[round(exact[k][0].item(), 6) for k in exact if k.startswith('loss/')]}", end="; ")
    for kind in ("grad", "stats", "loss", "final"):
        worst = max((distance(single[k], exact[k]), k) for k in exact if k.startswith(kind + "/"))
        print(f"float32 strays at most {worst[0]:.1e} in {worst[1]}", end="; " if kind != "final" else "\n")


# --- NT-Xent by itself, on awkward embeddings, in float64. ---


def ntxent_cases():
    g = torch.Generator().manual_seed(3)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64).float().double()
    pairs = draw(4, 1, 6).repeat(1, 2, 1).reshape(8, 6)
    with_zero = draw(6, 4)
    with_zero[2] = 0
    return [
        ("ordinary", draw(8, 5), 0.5),
        ("one image", draw(2, 3), 0.5),
        ("one number", draw(6, 1), 0.5),
        ("all identical", draw(1, 4).repeat(8, 1), 0.5),
        ("all identical, cold", draw(1, 4).repeat(8, 1), 1e-3),
        ("views identical", pairs, 0.1),
        ("views identical, cold", pairs, 1e-3),
        ("views opposite, cold", torch.cat([pairs[::2], -pairs[::2]], dim=1).reshape(8, 6), 1e-3),
        ("hot", draw(8, 5), 100.0),
        ("cold", draw(8, 5), 1e-3),
        ("long rows", draw(8, 5) * 2.0**40, 0.5),
        ("short rows", draw(8, 5) * 2.0**-30, 0.5),
        ("lengths apart", draw(8, 5) * (4.0 ** torch.arange(-4, 4, dtype=torch.float64))[:, None], 0.5),
        ("a row of zeros", with_zero, 0.5),
        ("nearly identical", (draw(1, 6) + 2.0**-12 * draw(8, 6)).float().double(), 0.05),
        ("many rows", draw(150, 9), 0.2),
    ]


def make_ntxent(folder):
    cases = []
    for name, e, temperature in ntxent_cases():
        e = e.clone().requires_grad_(True)
        loss = ntxent(e, temperature)
        (gradient,) = torch.autograd.grad(loss, e)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all(), name
        cases.append({
            "name": name, "temperature": temperature, "rows": e.shape[0], "dim": e.shape[1],
            "embeddings": e.detach().flatten().tolist(),
            "loss": loss.item(), "gradient": gradient.flatten().tolist(),
        })
    lines = ",\n".join(json.dumps(c) for c in cases)
    (folder / "ntxent.json").write_text(f"[\n{lines}\n]\n")
    print(f"ntxent: {len(cases)} cases")


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"torch {torch.__version__}")
    for name in CASES:
        make_case(folder, name)
    make_ntxent(folder)


main()
