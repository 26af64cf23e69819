#!/usr/bin/env python3
"""The network, batches and steps of examples/fashion_cnn.c in PyTorch, to stand beside it.

usage: python examples/fashion_cnn_torch.py [--epochs 3] [--data /usr/share/datasets/fashion-mnist] [--channels-last]
needs: torch, numpy"""
import argparse
import gzip
import math
import os
import struct
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def idx(path):
    with gzip.open(path, "rb") as f:
        rank = struct.unpack(">I", f.read(4))[0] & 255
        shape = struct.unpack(">" + "I" * rank, f.read(4 * rank))
        return np.frombuffer(f.read(), np.uint8).reshape(shape)


class Block(nn.Module):
    def __init__(self, c_in, c, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.skip = None
        if stride != 1 or c_in != c:
            self.skip = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.skip is None else self.skip(x)))


class Network(nn.Module):
    def __init__(self, filters=16, stages=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters))
        blocks, c = [], filters
        for stage in range(stages):
            blocks.append(Block(c, filters << stage, 1 if stage == 0 else 2))
            c = filters << stage
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(c, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(x.mean((2, 3)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    o = parser.parse_args()
    torch.manual_seed(o.seed)
    torch.set_num_threads(o.threads)
    x, y, tx, ty = (torch.from_numpy(idx(f"{o.data}/{name}-ubyte.gz").astype(kind)) for name, kind in
                    (("train-images-idx3", np.float32), ("train-labels-idx1", np.int64),
                     ("t10k-images-idx3", np.float32), ("t10k-labels-idx1", np.int64)))
    x, tx = x[:, None] / 255, tx[:, None] / 255
    net = Network()
    if o.channels_last:
        net, x, tx = (v.to(memory_format=torch.channels_last) for v in (net, x, tx))
    optimizer = torch.optim.AdamW(net.parameters(), lr=o.lr, weight_decay=o.weight_decay)
    batches = math.ceil(len(x) / o.batch)
    total, warmup, step = o.epochs * batches, round(0.05 * o.epochs * batches), 0
    for epoch in range(o.epochs):
        net.train()
        order, start, loss_sum = torch.randperm(len(x)), time.perf_counter(), 0.0
        for i in range(batches):
            step += 1
            lr = o.lr * step / (warmup + 1) if step <= warmup else \
                o.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup - 1) / (total - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = lr
            rows = order[i * o.batch:(i + 1) * o.batch]
            loss = F.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        seconds = time.perf_counter() - start
        net.eval()
        with torch.no_grad():
            right = sum((net(tx[i:i + 500]).argmax(1) == ty[i:i + 500]).sum().item() for i in range(0, len(tx), 500))
        print(f"epoch {epoch + 1}  loss {loss_sum / batches:.4f}  test accuracy {100 * right / len(tx):.2f} %  "
              f"{len(x) / seconds:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
