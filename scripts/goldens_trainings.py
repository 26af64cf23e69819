#!/usr/bin/env python3
"""Writes tests/golden/trainings.json: ten steps of small convolutional and recurrent networks with each optimizer, by
PyTorch in float64, for tests/test_training_goldens.c to reproduce.

usage: goldens_trainings.py [--out tests/golden]
needs: torch >= 2.9 (torch.optim.Muon), numpy, safetensors

No weights are stored. Tensor i of a case's list comes from stream i of the generator that goldens.py describes. Steps
take two batches in turn; of batch b, with n tensors, come from stream n + 4 b the input, + 1 the targets, + 2 a mask
(a target is -1 where its draw below mask_bound is 0), + 3 the last step of each text.

Networks are torch.nn's modules, recurrent ones of several layers in one module. Who updates:
  adamw, sgd  torch.optim, for layer_decay with a group a tensor (rates: the comment of include/lathe/optim.h)
  lion, muon  as goldens_optimizers.py has them; filters [O, I, KH, KW] are given to Muon as [O, I KH KW]
  averages    ema_decay a + (1 - ema_decay) w after each step, from a copy of the first weights
A case holds the losses of its steps and the norms of their gradients; then, with running statistics and plain labels,
the loss of batch 0, and that of the averages; and what became of each tensor.
"""
import argparse
import json
import math
import os
import re

import torch
import torch.nn.functional as F
from torch import nn

from goldens import integers, reals, tensor
from goldens_networks import Cnn
from goldens_optimizers import Lion

STEPS = 10


# ---- Networks ------------------------------------------------------------------------------------------------------
class Recurrent(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.classes = c["classes"]
        if c["vocab"]:
            self.token_embd = nn.Embedding(c["vocab"], c["dim"])
        kind = nn.GRU if c["gru"] else nn.LSTM
        self.rnn = kind(c["dim"] if c["vocab"] else c["inputs"], c["hidden"], c["layers"], batch_first=True)
        setattr(self, "head" if self.classes else "output", nn.Linear(c["hidden"], self.classes or c["vocab"]))

    def forward(self, x, last=None):  # [B, T] or [B, T, inputs]
        h = self.rnn(self.token_embd(x) if hasattr(self, "token_embd") else x)[0]  # [B, T, H]
        if not self.classes:
            return self.output(h)
        return self.head(h[:, -1] if last is None else h[torch.arange(len(h)), last])


def our_name(name):
    return re.sub(r"^rnn\.(\w+)_l(\d+)$", r"rnn.\2.\1", name)


def fill(model):
    """Gives every tensor its numbers; returns {our name: tensor} and the list for C."""
    named, listed = {}, []
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            if not value.is_floating_point():
                continue
            norm = value.dim() == 1 and "bn." in name or re.search(r"\.bn\d\.", name)
            gain = bool(norm) and name.endswith(("weight", "running_var"))
            scale = 0.2 if value.dim() == 1 else 0.5
            listed.append(tensor(our_name(name), list(value.shape), scale, gain))
            value.copy_(reals(len(listed) - 1, value.shape, scale, gain))
            named[our_name(name)] = value
    return named, listed


# ---- Data ----------------------------------------------------------------------------------------------------------
def batches(case, streams):
    out = []
    for b in range(2):
        s, x, y = streams + 4 * b, case["input"], case["targets"]
        inputs = [integers(s, x["shape"], x["bound"]) if "bound" in x else reals(s, x["shape"], 1.0)]
        targets = integers(s + 1, y["shape"], y["bound"])
        if "mask_bound" in y:
            targets[integers(s + 2, y["shape"], y["mask_bound"]) == 0] = -1
        if case["ends"]:
            inputs.append(integers(s + 3, x["shape"][:1], x["shape"][1]))
        out.append((inputs, targets))
    return out


# ---- Updates -------------------------------------------------------------------------------------------------------
class Matrices:
    """torch.optim.Muon over filters seen as matrices: the same memory in another shape."""

    def __init__(self, weights, **settings):
        self.weights = list(weights)
        self.flat = [w.detach().flatten(1) for w in self.weights]
        self.muon = torch.optim.Muon(self.flat, adjust_lr_fn="match_rms_adamw", **settings)

    def step(self):
        for w, flat in zip(self.weights, self.flat):
            flat.grad = w.grad.flatten(1)
        self.muon.step()


def layer_rate(name, layers, decay):
    if layer := re.match(r"(?:stage|rnn)\.(\d+)\.", name):
        return decay ** (layers - int(layer[1]))
    return decay ** (layers + 1) if name.startswith(("stem.", "token_embd.")) else 1.0


def optimizers(run, weights, layers):
    lr, decay = run["lr"], run["weight_decay"]
    if run["optimizer"] == "lion":
        return [Lion(weights.values(), lr, 0.9, 0.99, decay)]
    if run["optimizer"] == "sgd":
        return [torch.optim.SGD(weights.values(), lr, momentum=run["momentum"], nesterov=run["nesterov"],
                                weight_decay=decay)]
    muon = {n for n, w in weights.items()
            if run["optimizer"] == "muon" and w.dim() > 1 and not re.match("head|output|token_embd", n)}
    groups = [{"params": [w], "lr": lr * layer_rate(n, layers, run["layer_decay"])}
              for n, w in weights.items() if n not in muon]
    out = [torch.optim.AdamW(groups, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)]
    if muon:
        out.append(Matrices([weights[n] for n in muon], lr=lr, weight_decay=decay, momentum=0.95, nesterov=True))
    return out


def evaluate(model, batch):
    model.eval()
    loss = F.cross_entropy(model(*batch[0]).flatten(0, -2), batch[1].flatten(), ignore_index=-1).item()
    model.train()
    return loss


def sums(value):
    value = value.detach()
    return [value.sum().item(), (value * value).sum().item()]


def train(case):
    run, config = case["run"], case["config"]
    model = (Cnn if case["network"] == "cnn" else Recurrent)(config)
    named, listed = fill(model)
    weights = {n: w for n, w in named.items() if w.requires_grad}
    average = {n: w.detach().clone() for n, w in weights.items()}
    data = batches(case, len(listed))
    steppers = optimizers(run, weights, config["stages" if case["network"] == "cnn" else "layers"])
    run["losses"], run["norms"] = [], []
    for step in range(STEPS):
        inputs, targets = data[step % 2]
        loss = F.cross_entropy(model(*inputs).flatten(0, -2), targets.flatten(), ignore_index=-1,
                               label_smoothing=run["smoothing"])
        model.zero_grad()
        loss.backward()
        run["losses"].append(loss.item())
        run["norms"].append(nn.utils.clip_grad_norm_(weights.values(), run["clip_norm"] or math.inf).item())
        for stepper in steppers:
            stepper.step()
        for n, w in weights.items():
            average[n] = run["ema_decay"] * average[n] + (1 - run["ema_decay"]) * w.detach()
    run["evaluated"] = evaluate(model, data[0])
    for entry in listed:
        entry["final"] = sums(named[entry["name"]])
    if run["ema_decay"]:
        with torch.no_grad():
            for n, w in weights.items():
                w.copy_(average[n])
        run["evaluated_average"] = evaluate(model, data[0])
        for entry in listed:
            if entry["name"] in average:
                entry["average"] = sums(average[entry["name"]])
    case["tensors"] = listed
    return case


# ---- Cases ---------------------------------------------------------------------------------------------------------
def cnn(depthwise=False):
    return {"depthwise": depthwise, "filters": 4, "stages": 2, "blocks": 1, "height": 8, "width": 8, "channels": 2,
            "classes": 5, "norm_eps": 1e-5, "norm_momentum": 0.1}


def rnn(gru=False, vocab=0, inputs=0, classes=0):
    return {"gru": gru, "vocab": vocab, "inputs": inputs, "dim": 6, "hidden": 7, "layers": 2, "classes": classes}


def optimizer(kind, lr, weight_decay=0.1, clip_norm=0.0, smoothing=0.0, momentum=0.0, layer_decay=1.0, ema_decay=0.0):
    return {"optimizer": kind, "lr": lr, "weight_decay": weight_decay, "clip_norm": clip_norm, "smoothing": smoothing,
            "momentum": momentum, "nesterov": momentum > 0, "layer_decay": layer_decay, "ema_decay": ema_decay}


def case(name, network, config, shape, run, ends=False):
    x = {"shape": shape, "bound": config["vocab"]} if config.get("vocab") else {"shape": shape}
    y = {"shape": shape[:1], "bound": config["classes"]}
    if not config["classes"]:
        y = {"shape": shape, "bound": config["vocab"], "mask_bound": 4}
    return {"name": name, "network": network, "config": config, "input": x, "targets": y, "ends": ends, "run": run}


IMAGES, TEXTS, SERIES = [6, 8, 8, 2], [4, 9], [5, 8, 3]
CASES = [
    case("residual cnn", "cnn", cnn(), IMAGES, optimizer("adamw", 1e-2, smoothing=0.1)),
    case("depthwise cnn", "cnn", cnn(True), IMAGES, optimizer("sgd", 0.05, 1e-3, momentum=0.9)),
    case("averaged cnn", "cnn", cnn(), IMAGES, optimizer("adamw", 2e-2, layer_decay=0.8, ema_decay=0.8)),
    case("orthogonal cnn", "cnn", cnn(), IMAGES, optimizer("muon", 2e-2)),
    case("lstm language model", "rnn", rnn(vocab=11), TEXTS, optimizer("adamw", 2e-2, clip_norm=0.165)),
    case("lstm of texts", "rnn", rnn(vocab=11, classes=3), TEXTS, optimizer("muon", 2e-2), ends=True),
    case("gru of series", "rnn", rnn(True, inputs=3, classes=4), SERIES, optimizer("lion", 3e-3)),
]


def text_of(done):
    """A line a tensor."""
    tensors = ",\n  ".join(json.dumps(t) for t in done["tensors"])
    rest = json.dumps({k: v for k, v in done.items() if k != "tensors"})
    return f' {rest[:-1]},\n  "tensors": [\n  {tensors}]}}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/golden")
    with open(os.path.join(parser.parse_args().out, "trainings.json"), "w") as file:
        file.write('{"cases": [\n' + ",\n".join(text_of(train(c)) for c in CASES) + "\n]}\n")


if __name__ == "__main__":
    main()
