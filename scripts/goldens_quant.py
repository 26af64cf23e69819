#!/usr/bin/env python3
"""Writes tests/golden/quant.json: fake quantization and its gradients, as PyTorch computes them in float32, for
tests/test_fake_quant.c to reproduce.

usage: goldens_quant.py [--out tests/golden]
needs: torch, numpy

What goes in comes from the generator of goldens.py (streams are listed with each case). Who computes what:
  affine   torch.fake_quantize_per_channel_affine and torch's gradient of it: its mask asks the rounded code
  lsq      the formula of Esser et al. 2020 in torch operations, gradients by torch's autograd: the code is clipped, then
           rounded with a gradient of 1, and the scale enters with its gradient multiplied by 1/sqrt(N Q)
  pact     clamp to a learned bound, then rounded likewise; autograd
  mse      a search over 24 shares of the largest scale, as in the quality measurements of the integer grids
"""
import argparse
import json
import math
import os

import numpy as np
import torch

from goldens import reals

ROWS, COLUMNS = 4, 44


def data(stream, scale=1.0, shape=(ROWS, COLUMNS)):
    return reals(stream, shape, scale).float()


def pass_round(v):
    return v + (v.detach().round() - v.detach())


def grouped(x, size):
    pad = -x.shape[1] % size
    return torch.nn.functional.pad(x, (0, pad)).reshape(x.shape[0], -1, size)


def whole(g, columns):
    return g.reshape(g.shape[0], -1)[:, :columns]


def affine(bits, stream):
    x = data(stream).requires_grad_()
    scale = (data(stream + 1, 0.02, (ROWS,)).abs() + 0.01) * 2.0 ** (4 - bits)
    zero = torch.tensor([(3 * i + 1) % (2 ** bits) for i in range(ROWS)], dtype=torch.int32)
    y = torch.fake_quantize_per_channel_affine(x, scale, zero, 0, 0, 2 ** bits - 1)
    dy = data(stream + 2)
    y.backward(dy)
    return {"bits": bits, "stream": stream, "scale": scale.tolist(), "zero": zero.tolist(), "y": y.detach().flatten().tolist(),
            "dx": x.grad.flatten().tolist()}


def lsq(bits, size, stream):
    q = 2 ** (bits - 1) - 1
    x = data(stream).requires_grad_()
    groups = -(-COLUMNS // size)
    s = ((data(stream + 1, 0.02, (ROWS, groups, 1)).abs() + 0.01) * 2.0 ** (5 - bits)).requires_grad_()
    factor = 1 / math.sqrt(size * q)
    sc = s * factor + (s - s * factor).detach()
    v = pass_round((grouped(x, size) / sc).clamp(-q, q))
    y = whole(v * sc, COLUMNS)
    y.backward(data(stream + 2))
    return {"bits": bits, "group": size, "stream": stream, "scale": s.detach().flatten().tolist(),
            "y": y.detach().flatten().tolist(), "dx": x.grad.flatten().tolist(), "ds": s.grad.flatten().tolist()}


def pact(bits, stream):
    x = data(stream).requires_grad_()
    bound = torch.tensor([0.6]).requires_grad_()
    step = (bound / (2 ** bits - 1)).detach()
    y = x.clamp(min=0)
    y = torch.minimum(y, bound)
    y = y + ((y / step).round() * step - y).detach()
    y.backward(data(stream + 2))
    return {"bits": bits, "stream": stream, "bound": bound.item(), "y": y.detach().flatten().tolist(),
            "dx": x.grad.flatten().tolist(), "da": bound.grad.item()}


def mse(bits, size, stream):
    q = 2 ** (bits - 1) - 1
    g = grouped(data(stream), size)
    most = g.abs().amax(-1, keepdim=True)
    best = error = None
    for share in np.linspace(1, 0.3, 24):
        s = most * share / q
        e = ((g / s).round().clamp(-q, q) * s - g).square().sum(-1, keepdim=True)
        error, best = (e, s) if best is None else (torch.minimum(e, error), torch.where(e < error, s, best))
    y = whole((g / best).round().clamp(-q, q) * best, COLUMNS)
    return {"bits": bits, "group": size, "stream": stream, "y": y.flatten().tolist()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="tests/golden")
    a = p.parse_args()
    torch.set_default_dtype(torch.float32)
    out = {"torch": torch.__version__, "rows": ROWS, "columns": COLUMNS, "affine": [affine(4, 0), affine(8, 10)],
           "lsq": [lsq(4, 32, 20), lsq(3, 11, 30), lsq(2, 44, 40)], "pact": [pact(4, 50)],
           "mse": [mse(4, 32, 60), mse(3, 16, 70), mse(2, 44, 80)]}
    rounded = json.loads(json.dumps(out), parse_float=lambda t: float(f"{float(t):.9g}"))
    with open(os.path.join(a.out, "quant.json"), "w") as f:
        json.dump(rounded, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
