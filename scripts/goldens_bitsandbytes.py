#!/usr/bin/env python3
"""Makes tests/golden/bitsandbytes.json: NF4 and FP4 blocks with single and double scales by the Python package
bitsandbytes (0.50), 8-bit floats by torch.

    scripts/goldens_bitsandbytes.py [tests/golden/bitsandbytes.json]      (the tests read the result)

Numbers are the plain stream of tests/lattice_streams.h. The package's own library is kept from being loaded, so that its
portable implementation runs: the library's 8-bit quantizer overwrites the first value of the map with -1, which is no
part of the format. All hashes are FNV-1a64.

For nf4 and fp4: codes (as bytes, the even number in the high half), scales, numbers they decode to; of double
quantization the 8-bit codes, the scales of groups, the offset (exact as a float), numbers. map: the 256 values. For e4m3
and e5m2: the floats of all 256 codes, NaN made 0x7FC00000, and the codes of the stream times 100, of which none is too
large: there torch does not saturate."""
import ctypes
import json
import sys

import numpy as np
import torch


def no_library(*_):
    raise OSError("the portable implementation is wanted")


ctypes.cdll.LoadLibrary = no_library
import bitsandbytes.functional as F  # noqa: E402

N = 65536


def stream():
    s, out = 1, np.empty(N, np.uint32)
    for i in range(N):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = s
    u = out.view(np.int32).astype(np.float32) * np.float32(2.0**-31)
    return u * u * u * np.float32(0.1)


def fnv(array):
    h = 14695981039346656037
    for byte in np.ascontiguousarray(array).tobytes():
        h = ((h ^ byte) * 1099511628211) & 0xFFFFFFFFFFFFFFFF
    return "%016x" % h


def blocks(x, kind):
    codes, state = F.quantize_4bit(x, blocksize=64, quant_type=kind)
    nested_codes, nested = F.quantize_4bit(x, blocksize=64, quant_type=kind, compress_statistics=True)
    assert torch.equal(codes, nested_codes)
    assert float(nested.offset) == float(np.float32(state.absmax.double().mean())), "the mean depends on its summation"
    return {"codes": fnv(codes.numpy()), "scales": fnv(state.absmax.numpy()),
            "numbers": fnv(F.dequantize_4bit(codes, state).numpy()),
            "scale_codes": fnv(nested.absmax.numpy()), "groups": [float(v) for v in nested.state2.absmax],
            "offset": float(nested.offset), "double_numbers": fnv(F.dequantize_4bit(codes, nested).numpy())}


def float8(x, dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype).float().numpy()
    every = np.where(np.isnan(every), np.float32("nan"), every).astype(np.float32)
    every.view(np.uint32)[np.isnan(every)] = 0x7FC00000
    return {"numbers": fnv(every), "codes": fnv((x * 100).to(dtype).view(torch.uint8).numpy())}


def main():
    x = torch.from_numpy(stream())
    golden = {"stream": fnv(x.numpy()), "map": fnv(F.create_dynamic_map().numpy())}
    golden.update({kind: blocks(x, kind) for kind in ("nf4", "fp4")})
    golden["e4m3"], golden["e5m2"] = float8(x, torch.float8_e4m3fn), float8(x, torch.float8_e5m2)
    with open(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/bitsandbytes.json", "w") as file:
        lines = ['"%s": %s' % (name, json.dumps(golden[name])) for name in golden]
        file.write("{" + ",\n ".join(lines) + "}\n")


if __name__ == "__main__":
    main()
