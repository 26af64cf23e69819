#!/usr/bin/env python3
"""Writes tests/golden/optimizers.json: ten steps of a small perceptron with each optimizer, in float64, for
tests/test_optim_goldens.c to reproduce.

usage: goldens_optimizers.py [--out tests/golden]
needs: torch >= 2.9 (torch.optim.Muon), numpy

The perceptron and what goes in are those of goldens.py, whose first comment has the generator; the first layer has more
than 4,096 weights and no whole number of blocks of 256. Who computes what:
  muon        torch.optim.Muon, adjust_lr_fn "match_rms_adamw", with its Newton-Schulz iteration (which rounds to bf16)
              replaced by the same in float64; biases by torch.optim.AdamW
  lion        written here from algorithm 2 of Chen et al. 2023
  adamw_8bit  written here in numpy from the text of kernels/update.h, element by element: for small tensors
              torch.optim.AdamW
  averages    decay a + (1 - decay) w after each step, from a copy of the first weights
"""
import argparse
import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
import torch.optim._muon as muon

from goldens import integers, make, reals, summary, tensor


def newton_schulz(x, coefficients, steps, eps):
    p, q, r = coefficients
    x = x / max(x.norm().item(), eps)
    for _ in range(steps):
        if x.shape[0] <= x.shape[1]:
            a = x @ x.T
            x = p * x + (q * a + r * (a @ a)) @ x
        else:
            a = x.T @ x
            x = p * x + x @ (q * a + r * (a @ a))
    return x


muon._zeropower_via_newtonschulz = newton_schulz


class Lion:
    def __init__(self, params, lr, beta1, beta2, weight_decay):
        self.params, self.lr, self.beta1, self.beta2, self.decay = list(params), lr, beta1, beta2, weight_decay
        self.m = [torch.zeros_like(p) for p in self.params]

    def step(self):
        with torch.no_grad():
            for p, m in zip(self.params, self.m):
                direction = torch.sign(self.beta1 * m + (1 - self.beta1) * p.grad)
                p -= self.lr * (direction + self.decay * p)
                m.copy_(self.beta2 * m + (1 - self.beta2) * p.grad)


class CodedMoments:
    """AdamW whose m and sqrt(v) are kept as squares of 8-bit codes, rounded up or down by a threshold u(i, t)."""
    BLOCK, ALPHA, BETA = 256, 0xC13FA9A9, 0x9E3779B9

    def __init__(self, params, lr, betas, eps, weight_decay):
        self.params, self.lr, self.betas, self.eps, self.decay = list(params), lr, betas, eps, weight_decay
        self.t = 0
        n = [p.numel() for p in self.params]
        self.codes = [(np.zeros(k, int), np.zeros(k, int)) for k in n]
        self.scales = [np.zeros((-(-k // self.BLOCK), 2)) for k in n]

    @staticmethod
    def between(value, lower, power, u):
        low, high = float(lower) ** power, float(lower + 1) ** power
        return lower + 1 if value - low > u * (high - low) else lower

    def encode(self, m, r, top_m, top_r, u):
        size = abs(m) * (127 ** 2 / top_m) if top_m > 0 else 0.0
        code = self.between(size, min(int(math.sqrt(size)), 126), 2, u)
        far = r * (255 ** 2 / top_r) if top_r > 0 else 0.0
        root = self.between(far * far, min(int(math.sqrt(far)), 254), 4, u)
        return -code if m < 0 else code, max(root, 1) if far > 0 else root

    def step_param(self, w, g, codes, scales):
        b1, b2 = self.betas
        for block in range(len(scales)):
            span = range(block * self.BLOCK, min((block + 1) * self.BLOCK, len(w)))
            moments = {}
            for i in span:
                m = int(codes[0][i]) * abs(int(codes[0][i])) * (scales[block, 0] / 127 ** 2)
                r = int(codes[1][i]) ** 2 * (scales[block, 1] / 255 ** 2)
                m = b1 * m + (1 - b1) * g[i]
                r = math.sqrt(b2 * r * r + (1 - b2) * g[i] ** 2)
                mean, root = m / (1 - b1 ** self.t), r / math.sqrt(1 - b2 ** self.t)
                w[i] -= self.lr * (self.decay * w[i] + mean / (root + self.eps))
                moments[i] = m, r
            top = [max(abs(x[k]) for x in moments.values()) for k in range(2)]
            for i in span:
                u = (((i * self.ALPHA + self.t * self.BETA) & 0xFFFFFFFF) >> 8) * 2.0 ** -24
                codes[0][i], codes[1][i] = self.encode(*moments[i], *top, u)
            scales[block] = top

    def step(self):
        self.t += 1
        with torch.no_grad():
            for p, codes, scales in zip(self.params, self.codes, self.scales):
                self.step_param(p.view(-1).numpy(), p.grad.view(-1).numpy(), codes, scales)


def optimizers(run, p):
    """What steps the parameters of a run; weights are what has two axes."""
    kind, lr, decay, betas = run["optimizer"], run["lr"], run["weight_decay"], (run["beta1"], run["beta2"])
    chosen = {"lion": lambda w: True, "muon": lambda w: w.dim() == 2, "adamw_8bit": lambda w: w.numel() >= 4096}[kind]
    own, rest = [w for w in p.values() if chosen(w)], [w for w in p.values() if not chosen(w)]
    if kind == "lion":
        return [Lion(own, lr, *betas, decay)]
    others = torch.optim.AdamW(rest, lr, betas=betas, eps=1e-8, weight_decay=decay)
    if kind == "adamw_8bit":
        return [CodedMoments(own, lr, betas, 1e-8, decay), others]
    return [torch.optim.Muon(own, lr, weight_decay=decay, momentum=0.95, nesterov=True,
                             adjust_lr_fn="match_rms_adamw"), others]


def train(tensors, x, y, run):
    p = make(tensors)
    average = {n: w.detach().clone() for n, w in p.items()}
    steppers = optimizers(run, p)
    run["losses"], run["norms"] = [], []
    for _ in range(run["steps"]):
        z = F.relu(x @ p["fc1.weight"].T + p["fc1.bias"]) @ p["fc2.weight"].T + p["fc2.bias"]
        loss = F.cross_entropy(z, y)
        for w in p.values():
            w.grad = None
        loss.backward()
        run["losses"].append(loss.item())
        run["norms"].append(torch.nn.utils.clip_grad_norm_(p.values(), run["clip_norm"] or math.inf).item())
        for stepper in steppers:
            stepper.step()
        for n, w in p.items():
            average[n] = run["ema_decay"] * average[n] + (1 - run["ema_decay"]) * w.detach()
    run["final"] = {n: summary(w) for n, w in p.items()}
    run["averages"] = {n: summary(w) for n, w in average.items()}
    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="tests/golden")
    out = parser.parse_args().out
    tensors = [tensor("fc1.weight", [67, 64], 0.2), tensor("fc1.bias", [67], 0.1),
               tensor("fc2.weight", [10, 67], 0.3), tensor("fc2.bias", [10], 0.1)]
    x, y = reals(4, [16, 64], 1.0), integers(5, [16], 10)
    runs = [{"optimizer": kind, "lr": lr, "beta1": 0.9, "beta2": beta2, "weight_decay": 0.1, "clip_norm": clip,
             "ema_decay": 0.8, "steps": 10}
            for kind, lr, beta2 in [("lion", 2e-3, 0.99), ("muon", 2e-2, 0.999), ("adamw_8bit", 1e-2, 0.999)]
            for clip in [0.0, 0.5]]
    golden = {"tensors": tensors, "x": {"stream": 4, "shape": [16, 64], "scale": 1.0},
              "target": {"stream": 5, "shape": [16], "bound": 10}, "runs": [train(tensors, x, y, run) for run in runs]}
    with open(os.path.join(out, "optimizers.json"), "w") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
