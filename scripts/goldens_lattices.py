#!/usr/bin/env python3
"""Makes tests/golden/lattices.json: random blocks of every lattice type, decoded by the Python package `gguf`, those of
NF4 and FP4 by the tables of `bitsandbytes`.

    scripts/goldens_lattices.py [tests/golden/lattices.json]      (needs both and numpy; the tests read the result)

Blocks come from a generator that test_lattices.c repeats, so the file holds no bytes: s = s * 1664525 + 1013904223 (32
bits), one byte s >> 24 a step, s = 1 at first. Then the scales are made finite: of each half-precision scale the bit
0x40 of its upper byte is cleared (so its magnitude stays below 2), and so of NF4's and FP4's float scales. Of every type there are 64 blocks; the first has all
bytes 0x00 and the second all 0xFF, before that. MXFP4's exponents stay as they are, all 256 of them being numbers.

For each type: FNV-1a64 of the decoded floats, and eight of them at steps of a prime, for whoever looks for a fault. For
those that gguf has an encoder of, also FNV-1a64 of the bytes it makes of 65,536 numbers (u u u 0.1 in float, left to right,
with u = int32(s) 2^-31), and of the floats these decode to."""
import json
import sys

import numpy as np
from bitsandbytes.functional import get_4bit_type
from gguf import GGMLQuantizationType, quants

BLOCKS, SPACING, SHOWN = 64, 401, 8
ENCODED, ENCODERS = 65536, ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4", "tq1_0", "tq2_0")
# type: bytes a block, where its half-precision scales are, or the upper half of a float scale
TYPES = {
    "q4_0": (18, [0]), "q4_1": (20, [0, 2]), "q5_0": (22, [0]), "q5_1": (24, [0, 2]), "q8_0": (34, [0]),
    "q2_k": (84, [80, 82]), "q3_k": (110, [108]), "q4_k": (144, [0, 2]), "q5_k": (176, [0, 2]), "q6_k": (210, [208]),
    "iq4_nl": (18, [0]), "mxfp4": (17, []), "tq1_0": (54, [52]), "tq2_0": (66, [64]),
    "nf4": (36, [2]), "fp4": (36, [2]),
}


def stream(count):
    s, out = 1, np.empty(count, np.uint8)
    for i in range(count):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = s >> 24
    return out


def blocks_of(size, scales):
    blocks = stream(BLOCKS * size).reshape(BLOCKS, size)
    blocks[0], blocks[1] = 0x00, 0xFF
    for at in scales:
        blocks[:, at + 1] &= 0xBF
    return blocks


def fnv(data):
    h = 14695981039346656037
    for byte in data:
        h = ((h ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return h


def numbers_to_encode():
    s, out = 1, np.empty(ENCODED, np.int64)
    for i in range(ENCODED):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = s
    u = out.astype(np.uint32).view(np.int32).astype(np.float32) * np.float32(2.0**-31)
    return u * u * u * np.float32(0.1)


def decode(name, blocks):
    if name not in ("nf4", "fp4"):
        return quants.dequantize(blocks, GGMLQuantizationType[name.upper()]).astype(np.float32).reshape(-1)
    codes = np.stack([blocks[:, 4:] >> 4, blocks[:, 4:] & 15], -1).reshape(BLOCKS, 64)
    values = get_4bit_type(name, device="cpu").numpy()
    return (values[codes] * blocks[:, :4].copy().view(np.float32)).reshape(-1)


def main():
    golden = {}
    encoded = numbers_to_encode()
    for name, (size, scales) in TYPES.items():
        blocks = blocks_of(size, scales)
        with np.errstate(all="ignore"):
            numbers = decode(name, blocks)
        assert not np.isnan(numbers).any()
        where = [i * SPACING % numbers.size for i in range(1, SHOWN + 1)]
        golden[name] = {"blocks": "%016x" % fnv(blocks.tobytes()), "numbers": "%016x" % fnv(numbers.tobytes()),
                        "some": [[i, float(numbers[i])] for i in where]}
        if name in ENCODERS:
            kind = GGMLQuantizationType[name.upper()]
            made = quants.quantize(encoded, kind)
            golden[name]["encoded"] = "%016x" % fnv(made.tobytes())
            golden[name]["decoded"] = "%016x" % fnv(quants.dequantize(made, kind).astype(np.float32).tobytes())
    with open(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/lattices.json", "w") as file:
        lines = ['"%s": %s' % (name, json.dumps(golden[name])) for name in golden]
        file.write("{" + ",\n ".join(lines) + "}\n")


if __name__ == "__main__":
    main()
