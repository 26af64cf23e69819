#!/usr/bin/env python3
"""Prints what PyTorch's HistogramObserver makes of the stream that tests/test_observers.c uses: the ranges in its table.

    python scripts/goldens_observers.py      # wants torch; 2.x
"""
import warnings

import numpy
import torch
from torch.ao.quantization.observer import HistogramObserver

warnings.filterwarnings("ignore")


def stream(count):
    """u^3 / (1.01 - |u|) of a linear congruential generator: long tails."""
    state, out = 1, numpy.empty(count, numpy.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        u = ((state ^ 0x80000000) - 0x80000000) / 2.0**31
        out[i] = u * u * u / (1.01 - abs(u))
    return out


x = stream(20000)
for name, data in (("signed", x), ("positive", numpy.abs(x)), ("squares", x * x)):
    observer = HistogramObserver(bins=2048, dtype=torch.quint8, qscheme=torch.per_tensor_affine)
    observer(torch.from_numpy(data.astype(numpy.float32)))
    low, high = observer._non_linear_param_search()
    print("%-10s %.9g %.9g" % (name, float(low), float(high)))
