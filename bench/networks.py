"""The networks of the comparison, as PyTorch modules.

Each is the network of the .loco file beside it: the same stages, the same
decoders, the same units. compare.py holds both to that by comparing parameters
and multiply-adds, stage by stage, with what `locorun plan --json` prints.
Modules are written the way a PyTorch user in a hurry for speed writes them:
activations and residual sums in place.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


def conv_norm(inputs, outputs, window, stride=1):
    """A convolution without bias, then batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, window, stride, window // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Residual(nn.Module):
    """A body of conv_norm layers with relu between them, a shortcut, a relu."""

    def __init__(self, inputs, body, outputs, stride):
        super().__init__()
        self.body = nn.ModuleList(body)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x):
        y = self.body[0](x)
        for layer in self.body[1:]:
            y = layer(F.relu(y, inplace=True))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


def basic(inputs, width, stride=1):
    """Two 3x3 convolutions; gives the module and its output channels."""
    body = [conv_norm(inputs, width, 3, stride), conv_norm(width, width, 3)]
    return Residual(inputs, body, width, stride), width


def bottleneck(inputs, width, stride=1):
    """1x1, 3x3, 1x1 with four times the width at its end."""
    body = [
        conv_norm(inputs, width, 1),
        conv_norm(width, width, 3, stride),
        conv_norm(width, 4 * width, 1),
    ]
    return Residual(inputs, body, 4 * width, stride), 4 * width


def small_stem(width):
    return [conv_norm(3, width, 3), nn.ReLU(inplace=True)]


def imagenet_stem(width):
    return [conv_norm(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]


class Decoder(nn.Module):
    """SimCLR's two dense layers on the pooled map, with LoCo's residual block
    with down-sampling before them where convolutional is true."""

    def __init__(self, channels, hidden, convolutional, out=128):
        super().__init__()
        self.block = bottleneck(channels, channels // 4, 2)[0] if convolutional else nn.Identity()
        self.dense1 = nn.Linear(channels, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dense2 = nn.Linear(hidden, out)

    def forward(self, x):
        pooled = self.block(x).mean((2, 3))
        return self.dense2(F.relu(self.norm(self.dense1(pooled)), inplace=True))


class NTXent(nn.Module):
    """The loss of SimCLR; rows 2i and 2i+1 are the views of one picture."""

    def __init__(self, rows, temperature):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("itself", torch.eye(rows, dtype=torch.bool))
        self.register_buffer("partner", torch.arange(rows) ^ 1)

    def forward(self, embeddings):
        z = F.normalize(embeddings, dim=1)
        s = z @ z.t() / self.temperature
        return F.cross_entropy(s.masked_fill(self.itself, float("-inf")), self.partner)


@dataclass(frozen=True)
class Network:
    """What is fixed about a network; stages are lists of (width, stride)."""

    file: str  # the .loco file of the same network
    size: int  # side of the pictures
    batch: int  # pictures of a batch, each with two views, unless told
    stem: object
    stem_width: int
    block: object
    stages: tuple
    hidden: int
    convolutional: bool  # of the decoders
    temperature: float = 0.5


NETWORKS = {
    "resnet-small": Network(
        "resnet-small.loco", 32, 128, small_stem, 32, basic,
        (((32, 1), (32, 1)), ((64, 2), (64, 1)), ((128, 2), (128, 1))), 256, False),
    "resnet18": Network(
        "resnet18.loco", 32, 128, small_stem, 64, basic,
        tuple(((w, s), (w, 1)) for w, s in ((64, 1), (128, 2), (256, 2), (512, 2))), 512, True),
    "resnet50": Network(
        "resnet50.loco", 224, 16, imagenet_stem, 64, bottleneck,
        tuple(((w, s),) + ((w, 1),) * (n - 1)
              for w, s, n in ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3))), 2048, True),
    # Only for the self-test, which runs it in float64.
    "tiny": Network(
        "", 8, 4, small_stem, 4, basic, (((4, 1),), ((8, 2),), ((8, 1),), ((8, 2),)), 8, True),
}


def build_stages(network):
    """The stages of the encoder, and the channels that each gives."""
    stages, channels, width = [], [], network.stem_width
    for i, blocks in enumerate(network.stages):
        layers = network.stem(width) if i == 0 else []
        for block_width, stride in blocks:
            layer, width = network.block(width, block_width, stride)
            layers.append(layer)
        stages.append(nn.Sequential(*layers))
        channels.append(width)
    return stages, channels


def units_of(method, stages):
    """First and last stage of every unit: neighbours share a stage in loco."""
    if method == "e2e":
        return [(0, stages - 1)]
    if method == "gim":
        return [(i, i) for i in range(stages)]
    return [(i, i + 1) for i in range(stages - 1)]


class Model(nn.Module):
    """Encoder, one decoder and one loss for every unit."""

    def __init__(self, network, method, batch):
        super().__init__()
        stages, channels = build_stages(network)
        self.units = units_of(method, len(stages))
        self.stages = nn.ModuleList(stages)
        self.decoders = nn.ModuleList(
            Decoder(channels[last], network.hidden, network.convolutional) for _, last in self.units)
        self.losses = nn.ModuleList(NTXent(2 * batch, network.temperature) for _ in self.units)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def score(self, unit, y):
        """The loss of a unit, of the map of its last stage."""
        return self.losses[unit](self.decoders[unit](y))


def parameters_of(module):
    return sum(p.numel() for p in module.parameters())


def describe(model, views):
    """Parameters and multiply-adds for each picture, of stages and decoders.

    Counts convolutions and dense products, as the plan of locorun does."""
    counted = {}

    def count(module, _, output):
        if isinstance(module, nn.Conv2d):
            counted[module] = output[0].numel() * module.weight[0].numel()
        else:
            counted[module] = module.weight.numel()

    def total(module):
        return sum(counted.get(m, 0) for m in module.modules())

    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [m.register_forward_hook(count) for m in layers]
    maps = [views]
    with torch.no_grad():
        for stage in model.stages:
            maps.append(stage(maps[-1]))
        for unit, (_, last) in enumerate(model.units):
            model.decoders[unit](maps[last + 1])
    for hook in hooks:
        hook.remove()
    rows = [(m, {"parameters": parameters_of(m), "multiply_adds": total(m)})
            for m in [*model.stages, *model.decoders]]
    n = len(model.stages)
    return {"stages": [r for _, r in rows[:n]], "decoders": [r for _, r in rows[n:]]}
