#!/usr/bin/env python3
"""The network, batches and steps of examples/neural_ode.c in PyTorch, to stand beside it.

usage: python examples/neural_ode_torch.py [--epochs 30]      needs: torch"""
import argparse
import csv
import gzip
import math
import os
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH = 32


class Network(nn.Module):
    def __init__(self, state=32, width=64, steps=4):
        super().__init__()
        self.steps = steps
        self.enter, self.f1, self.f2, self.out = (nn.Linear(64, state), nn.Linear(state, width), nn.Linear(width, state),
                                                  nn.Linear(state, 10))

    def slope(self, x):
        return self.f2(torch.tanh(self.f1(x)))

    def forward(self, x):
        x, h = self.enter(x), 1 / self.steps
        for _ in range(self.steps):
            k1 = self.slope(x)
            k2 = self.slope(x + k1 * (h / 2))
            k3 = self.slope(x + k2 * (h / 2))
            k4 = self.slope(x + k3 * h)
            x = x + (k1 + 2 * k2 + 2 * k3 + k4) * (h / 6)
        return self.out(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--data", default="examples/data/digits.csv.gz")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    torch.manual_seed(o.seed)
    torch.set_num_threads(o.threads)
    with gzip.open(o.data, "rt") as f:
        rows = torch.tensor([[float(v) for v in row] for row in csv.reader(f) if row and row[0][0].isdigit()])
    rows = rows[torch.randperm(len(rows))]
    x, y = rows[:, :-1] / 16, rows[:, -1].long()
    test = round(len(x) * 0.2)
    x, y, tx, ty = x[test:], y[test:], x[:test], y[:test]
    net = Network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    batches = math.ceil(len(x) / BATCH)
    total, warmup, step, start = o.epochs * batches, round(0.05 * o.epochs * batches), 0, time.perf_counter()
    for epoch in range(o.epochs):
        order, loss_sum = torch.randperm(len(x)), 0.0
        for i in range(0, len(x), BATCH):
            step += 1
            lr = 3e-3 * (step / (warmup + 1) if step <= warmup else
                         0.5 * (1 + math.cos(math.pi * (step - warmup - 1) / (total - warmup))))
            for group in optimizer.param_groups:
                group["lr"] = lr
            rows = order[i:i + BATCH]
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(rows)
        if (epoch + 1) % 5 == 0:
            print(f"epoch {epoch + 1:3}  loss {loss_sum / len(x):.4f}")
    print(f"{o.epochs * len(x) / (time.perf_counter() - start):.0f} images/s")
    with torch.no_grad():
        right = (net(tx).argmax(1) == ty).sum().item()
    print(f"test accuracy {100 * right / len(tx):.1f} % ({right} of {len(tx)})")


if __name__ == "__main__":
    main()
