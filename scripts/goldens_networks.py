#!/usr/bin/env python3
"""Writes tests/golden/networks/*: small networks of every kind, and what PyTorch computes with them in float64.

usage: goldens_networks.py [--out tests/golden/networks]
needs: torch, safetensors.

Run by hand and never in CI: tests/test_network_goldens.c reads what is committed. A directory a network: config.json
and model.safetensors as lathe's, the latter being the state_dict of the torch.nn.Module below in F32, so that the test
also shows that names and shapes are PyTorch's; and

    golden.safetensors   x, targets; logits in evaluation; in training the loss with labels smoothed by 0.1, its
                         gradient "grad.<name>" by each parameter, and the averages afterwards, "after.<name>"
"""
import argparse
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)
CLASSES, ROWS = 3, 4


class Pair(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride != 1 or inputs != outputs:
            self.shortcut = Pair(inputs, outputs, stride)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.shortcut(x) if hasattr(self, "shortcut") else x))


class Depthwise(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Cnn(nn.Module):
    def __init__(self, c):
        super().__init__()
        block, filters = Depthwise if c["depthwise"] else Residual, c["filters"]
        self.stem = nn.ModuleDict({"conv": nn.Conv2d(c["channels"], filters, 3, 1, 1, bias=False),
                                   "bn": nn.BatchNorm2d(filters)})
        stages, inputs = [], filters
        for s in range(c["stages"]):
            blocks, outputs = [], filters * 2 ** s
            for b in range(c["blocks"]):
                blocks.append(block(inputs, outputs, 2 if s > 0 and b == 0 else 1))
                inputs = outputs
            stages.append(nn.ModuleList(blocks))
        self.stage = nn.ModuleList(stages)
        self.head = nn.Linear(inputs, c["classes"])
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eps, m.momentum = c["norm_eps"], c["norm_momentum"]

    def forward(self, x):  # [B, H, W, C]
        x = x.movedim(-1, 1)
        x = F.relu(self.stem["bn"](self.stem["conv"](x)))
        for blocks in self.stage:
            for block in blocks:
                x = block(x)
        return self.head(x.mean((2, 3)))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths = [c["inputs"], *c["hidden"], c["classes"]]
        self.n = len(widths) - 1
        for i in range(self.n):
            setattr(self, f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.n):
            x = F.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.n}")(x)


class Cell(nn.Module):
    """torch.nn.LSTM or GRU of one layer, its parameters without the l0."""

    def __init__(self, kind, inputs, hidden):
        super().__init__()
        layer = kind(inputs, hidden, batch_first=True)
        self.layer = [layer]  # a list: its own names are not registered
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(self, name, getattr(layer, name + "_l0"))

    def forward(self, x):
        own = {name + "_l0": value for name, value in self.named_parameters()}
        return torch.func.functional_call(self.layer[0], own, (x,))[0]


class Rnn(nn.Module):
    def __init__(self, c, kind):
        super().__init__()
        self.rnn = nn.ModuleList(Cell(kind, c["hidden"] if i else c["inputs"], c["hidden"])
                                 for i in range(c["layers"]))
        self.head = nn.Linear(c["hidden"], c["classes"])

    def forward(self, x):
        for layer in self.rnn:
            x = layer(x)
        return self.head(x[:, -1])


CNN = dict(filters=4, stages=2, blocks=2, depthwise=False, height=6, width=5, channels=2, classes=CLASSES,
           norm_eps=1e-3, norm_momentum=0.3)
RNN = dict(vocab=0, inputs=3, dim=64, hidden=5, layers=2, tied=False, classes=CLASSES, context=512)
CASES = {
    "residual": ("lathe-cnn", CNN, Cnn, (6, 5, 2)),
    "depthwise": ("lathe-cnn", {**CNN, "depthwise": True, "stages": 3, "blocks": 1}, Cnn, (6, 5, 2)),
    "mlp": ("lathe-mlp", dict(hidden=[7, 4], inputs=12, classes=CLASSES), Mlp, (3, 4)),
    "lstm": ("lathe-lstm", RNN, lambda c: Rnn(c, nn.LSTM), (6, 3)),
    "gru": ("lathe-gru", {**RNN, "layers": 1}, lambda c: Rnn(c, nn.GRU), (6, 3)),
}


def save(tensors, directory, name):
    path = os.path.join(directory, name)
    save_file(tensors, path)
    os.chmod(path, 0o644)


def write(directory, model_type, config, make, shape):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump({"model_type": model_type, "dtype": "float32", **config}, file, indent=1)
    model = make(config)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn_like(value) * 0.5
                value.copy_(noise.abs() + 0.5 if "running_var" in name else noise)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    save(state, directory, "model.safetensors")
    model.double()
    x = torch.randn(ROWS, *shape).double()
    targets = torch.tensor([0, 2, 1, 2])
    golden = {"x": x, "targets": targets.int()}
    model.eval()
    golden["logits"] = model(x).detach()
    model.train()
    loss = F.cross_entropy(model(x), targets, label_smoothing=0.1)
    loss.backward()
    golden["loss"] = loss.detach().reshape(1)
    for name, parameter in model.named_parameters():
        golden["grad." + name] = parameter.grad
    for name, value in model.named_buffers():
        if "running_" in name:
            golden["after." + name] = value
    save({name: value.contiguous() for name, value in golden.items()}, directory, "golden.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/golden/networks")
    out = parser.parse_args().out
    for name, case in CASES.items():
        torch.manual_seed(7)
        write(os.path.join(out, name), *case)


if __name__ == "__main__":
    main()
