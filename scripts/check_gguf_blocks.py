#!/usr/bin/env python3
"""Asks whether the Python package `gguf` reads lathe's blocks as lathe does, number for number and bit for bit.

    scripts/check_gguf_blocks.py LATHE [FILE.gguf]...      (LATHE: the program; needs gguf, safetensors, bitsandbytes)

Without files it makes one: random blocks of every type (those of goldens_lattices.py, whose hashes the tests hold).
`lathe convert FILE out.safetensors` and gguf's dequantize are then compared tensor by tensor. By hand: after
a new type, a new version of gguf, or with files that lathe has exported. The exit status is 1 when a number differs."""
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from goldens_lattices import BLOCKS, TYPES, blocks_of


def make_file(path):
    writer = gguf.GGUFWriter(path, "none")
    for name, (size, scales) in TYPES.items():
        kind = getattr(gguf.GGMLQuantizationType, name.upper(), None)
        if kind is None:  # NF4 and FP4 are no types of GGUF
            continue
        blocks = blocks_of(size, scales)
        if name == "mxfp4":  # all exponents are numbers, but not all products
            blocks[:, 0] = 100 + blocks[:, 0] % 50
        writer.add_tensor(name, blocks.reshape(BLOCKS // 4, 4 * size), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def differing(lathe, path, scratch):
    out = scratch / "out.safetensors"
    subprocess.run([lathe, "convert", str(path), str(out), "--quiet"], check=True)
    ours, different = load_file(out), 0
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            continue
        want = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(-1)
        got = ours[tensor.name].astype(np.float32).reshape(-1)
        count = got.size != want.size or int((got.view(np.uint32) != want.view(np.uint32)).sum())
        different += count
        print("%-40s %-8s %9d numbers, %d differ" % (tensor.name, tensor.tensor_type.name, want.size, count))
    return different


def main():
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = [Path(file) for file in sys.argv[2:]]
        if not files:
            files = [scratch / "blocks.gguf"]
            make_file(files[0])
        return 1 if sum(differing(sys.argv[1], file, scratch) for file in files) else 0


if __name__ == "__main__":
    sys.exit(main())
