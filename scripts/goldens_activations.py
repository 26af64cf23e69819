#!/usr/bin/env python3
"""Makes tests/golden/activations.json: activations as int8 and their products with blocks of weights, by llama.cpp.

    scripts/goldens_activations.py [tests/golden/activations.json]      (needs llama_cpp and numpy)

The functions are those of the package's own libggml-cpu, on x86 with AVX2. 65,536 numbers (u u u 0.1 in float, left to
right, u = int32(s) 2^-31, s = s * 1664525 + 1013904223 of 32 bits, s = 1 at first) become Q8_0, Q8_1 and Q8_K: FNV-1a64
of the bytes. The second half of them are whole and half numbers instead, so that there are ties: s >> 23 less 256,
halved, cut to -127 .. 127, with 127 in front of each 32. The first 1,024 are multiplied with a row of each lattice, whose
bytes are s >> 24 of the same generator with the bit 0x40 cleared in the upper byte of each half-precision scale (MXFP4:
the exponent e becomes 116 + e % 12)."""
import ctypes
import glob
import json
import os
import sys

import llama_cpp
import numpy as np
from goldens_lattices import TYPES, fnv, numbers_to_encode, stream

K = 1024
ACTIVATIONS = {"q8_0": (32, 34, "quantize_row_q8_0"), "q8_1": (32, 36, "quantize_row_q8_1"),
               "q8_k": (256, 292, "quantize_row_q8_K")}
PAIRS = {"q4_0": "q8_0", "q4_1": "q8_1", "q5_0": "q8_0", "q5_1": "q8_1", "q8_0": "q8_0", "q2_k": "q8_k",
         "q3_k": "q8_k", "q4_k": "q8_k", "q5_k": "q8_k", "q6_k": "q8_k", "iq4_nl": "q8_0", "mxfp4": "q8_0",
         "tq1_0": "q8_k", "tq2_0": "q8_k"}


def library():
    folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
    cpu = ctypes.CDLL(glob.glob(os.path.join(folder, "libggml-cpu.so*"))[0])
    cpu.ggml_cpu_init()
    return cpu


def numbers():
    x, s = numbers_to_encode(), 1
    for i in range(len(x)):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        if i >= len(x) // 2:
            x[i] = 127 if i % 32 == 0 else min(max(((s >> 23) - 256) * 0.5, -127), 127)
    return x


def quantized(cpu, name, x):
    block, size, function = ACTIVATIONS[name]
    out = (ctypes.c_uint8 * (len(x) // block * size))()
    getattr(cpu, function)(x.ctypes.data_as(ctypes.c_void_p), out, ctypes.c_int64(len(x)))
    return out


def row_of(name):
    size, scales = TYPES[name]
    blocks = stream(K // (32 if size < 40 else 256) * size).reshape(-1, size)
    for at in scales:
        blocks[:, at + 1] &= 0xBF
    if name == "mxfp4":
        blocks[:, 0] = 116 + blocks[:, 0] % 12
    return np.ascontiguousarray(blocks)


def product(cpu, name, x):
    pair, row = PAIRS[name], row_of(name)
    letters = {"k": "K"}
    spell = lambda t: "_".join(letters.get(p, p) for p in t.split("_"))
    dot = getattr(cpu, f"ggml_vec_dot_{spell(name)}_{spell(pair)}")
    result = ctypes.c_float()
    zero = ctypes.c_size_t(0)
    dot(ctypes.c_int(K), ctypes.byref(result), zero, row.ctypes.data_as(ctypes.c_void_p), zero,
        quantized(cpu, pair, x), zero, ctypes.c_int(1))
    return float(result.value)


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "tests/golden/activations.json"
    cpu, x = library(), numbers()
    golden = {"blocks": {name: f"{fnv(bytes(quantized(cpu, name, x))):016x}" for name in ACTIVATIONS},
              "products": {name: product(cpu, name, np.ascontiguousarray(x[:K])) for name in PAIRS}}
    with open(path, "w") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
