"""Loads exported weights into a torchvision-style ResNet and compares features.

    python load_resnet.py weights.safetensors pictures.npy features.npy [options]

weights.safetensors  what `locorun export` wrote of a program whose stages are
                     written `as layer1` and so on
pictures.npy         [n, 3, h, w] float32, as the encoder sees them (normalised)
features.npy         [n, d] float32: ours, the mean-pooled map of the last stage

--own                use the class below even where torchvision is installed
--stem-stride N      stride of conv1 (default: 2 for a 7x7 one, else 1)
--max-pool yes|no    3x3 max-pool of stride 2 after conv1 (default: with 7x7)
--tolerance X        largest difference allowed, relative to the largest feature
                     where that is above 1 (default 1e-4)

The weights load with strict=False. Missing keys other than fc.*, keys that the
network does not have, and features that differ end the script with status 1.
What the network looks like (blocks, widths, depth) is read off the weights.
"""

import argparse
import json
import re
import struct
import sys

import numpy as np
import torch
from torch import nn

try:
    import torchvision
except ImportError:
    torchvision = None


# --- Reading, without the safetensors package where it is missing. ---


def read_safetensors(path):
    try:
        from safetensors.torch import load_file
    except ImportError:
        return read_by_hand(path)
    return load_file(path)


def read_by_hand(path):
    raw = open(path, "rb").read()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        if t["dtype"] != "F32":
            raise SystemExit(f"{path}: {name} is {t['dtype']}, not F32")
        begin, end = (8 + length + o for o in t["data_offsets"])
        values = np.frombuffer(raw[begin:end], dtype="<f4").reshape(t["shape"])
        tensors[name] = torch.from_numpy(values.copy())
    return tensors


# --- A ResNet with torchvision's names, for any widths and number of stages. ---


class Block(nn.Module):
    """A basic block (convolutions 3x3, 3x3) or a bottleneck (1x1, 3x3, 1x1),
    with the shapes of the weights it will hold. The stride is in the 3x3 that
    comes first."""

    def __init__(self, weights, prefix, stride):
        super().__init__()
        self.n = 3 if prefix + "conv3.weight" in weights else 2
        strided = 2 if self.n == 3 else 1
        channels = None
        for i in range(1, self.n + 1):
            w = weights[f"{prefix}conv{i}.weight"]
            channels = channels or w.shape[1]
            conv = nn.Conv2d(
                channels, w.shape[0], w.shape[2], stride if i == strided else 1,
                padding=w.shape[2] // 2, groups=channels // w.shape[1], bias=False,
            )
            channels = w.shape[0]
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
        self.downsample = None
        if prefix + "downsample.0.weight" in weights:
            w = weights[prefix + "downsample.0.weight"]
            self.downsample = nn.Sequential(
                nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], stride, bias=False),
                nn.BatchNorm2d(w.shape[0]),
            )

    def forward(self, x):
        y = x
        for i in range(1, self.n + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.n:
                y = torch.relu(y)
        if self.downsample is not None:
            x = self.downsample(x)
        return torch.relu(y + x)


class OwnResNet(nn.Module):
    def __init__(self, weights):
        super().__init__()
        w = weights["conv1.weight"]
        self.conv1 = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2], 2, padding=w.shape[2] // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(w.shape[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layers = []
        for stage, blocks in enumerate(depths(weights), 1):
            strides = [1 if stage == 1 else 2] + [1] * (blocks - 1)
            layer = nn.Sequential(*(Block(weights, f"layer{stage}.{i}.", s) for i, s in enumerate(strides)))
            setattr(self, f"layer{stage}", layer)
            self.layers.append(f"layer{stage}")
        self.fc = nn.Linear(width(weights), 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.fc(x.mean(dim=(2, 3)))


def depths(weights):
    """The number of blocks of layer1, layer2, ..."""
    found = {}
    for name in weights:
        if m := re.match(r"layer(\d+)\.(\d+)\.", name):
            stage, block = int(m[1]), int(m[2])
            found[stage] = max(found.get(stage, 0), block + 1)
    if not found or sorted(found) != list(range(1, len(found) + 1)):
        raise SystemExit(f"the weights hold no layer1, layer2, ...: {sorted(weights)[:5]} ...")
    return [found[s] for s in sorted(found)]


def width(weights):
    """The channels of the last stage's output."""
    last = len(depths(weights))
    kind = 3 if f"layer{last}.0.conv3.weight" in weights else 2
    return weights[f"layer{last}.0.conv{kind}.weight"].shape[0]


def build(weights, own):
    """torchvision's class where it can hold the weights' shapes, else our own."""
    counts = depths(weights)
    bottleneck = "layer1.0.conv3.weight" in weights
    standard = len(counts) == 4 and width(weights) == (2048 if bottleneck else 512)
    if own or torchvision is None or not standard:
        return OwnResNet(weights), "own class with torchvision's names"
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    net = ResNet(Bottleneck if bottleneck else BasicBlock, counts)
    return net, f"torchvision {torchvision.__version__} ResNet({'Bottleneck' if bottleneck else 'BasicBlock'}, {counts})"


def set_stem(net, weights, stride, pool):
    """Small pictures are often read by a 3x3 stem without a pool."""
    w = weights["conv1.weight"]
    k = w.shape[2]
    stride = stride or (2 if k == 7 else 1)
    net.conv1 = nn.Conv2d(w.shape[1], w.shape[0], k, stride, padding=k // 2, bias=False)
    if pool == "no" or pool is None and k != 7:
        net.maxpool = nn.Identity()
    return f"{k}x{k} stem of stride {stride}, {'no ' if isinstance(net.maxpool, nn.Identity) else ''}max-pool"


# --- The comparison. ---


def check_keys(net, weights):
    missing, unexpected = net.load_state_dict(weights, strict=False)
    strange = [k for k in missing if not k.startswith("fc.")]
    print(f"keys        {len(weights)} loaded; missing {missing}; unexpected {unexpected}")
    return not strange and not unexpected


def check_features(net, pictures, ours, tolerance):
    net.eval()
    net.fc = nn.Identity()
    with torch.no_grad():
        theirs = torch.cat([net(x) for x in torch.from_numpy(pictures).split(32)]).numpy()
    if theirs.shape != ours.shape:
        print(f"features    shape {ours.shape}, torch has {theirs.shape}")
        return False
    largest = float(np.abs(theirs).max())
    difference = float(np.abs(ours - theirs).max())
    relative = float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-30))
    print(f"features    {ours.shape[0]} pictures x {ours.shape[1]}; largest value {largest:.4g}")
    print(f"difference  largest {difference:.3g}, relative norm {relative:.3g}; allowed {tolerance:g}")
    return difference <= tolerance * max(1, largest)


def main():
    p = argparse.ArgumentParser(description="load exported weights into a ResNet and compare features")
    p.add_argument("weights")
    p.add_argument("pictures")
    p.add_argument("features")
    p.add_argument("--own", action="store_true")
    p.add_argument("--stem-stride", type=int)
    p.add_argument("--max-pool", choices=["yes", "no"])
    p.add_argument("--tolerance", type=float, default=1e-4)
    a = p.parse_args()

    torch.manual_seed(0)
    weights = read_safetensors(a.weights)
    net, what = build(weights, a.own)
    stem = set_stem(net, weights, a.stem_stride, a.max_pool)
    print(f"torch       {torch.__version__}; {what}; {stem}")
    keys = check_keys(net, weights)
    pictures = np.load(a.pictures, allow_pickle=False)
    features = np.load(a.features, allow_pickle=False)
    same = check_features(net, pictures, features, a.tolerance)
    print("result      " + ("ok" if keys and same else "FAILED"))
    return 0 if keys and same else 1


sys.exit(main())
