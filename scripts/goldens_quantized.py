#!/usr/bin/env python3
"""Makes tests/golden/quantized/: one weight [32, 64] as the packages pack it, with the numbers they read from it.

    scripts/goldens_quantized.py [tests/golden/quantized]      (the tests read the result)

needs: torch, safetensors, numpy, bitsandbytes (0.50), compressed-tensors (0.20), gptqmodel (7.7), transformers (5).

Each file holds the parts of "w.weight" and "expected", f32. The packages multiply in the type of the scales: those that
are f16 are widened first, so that products are exact. bitsandbytes' library overwrites the first value of the 8-bit map:
its portable implementation is used (see goldens_bitsandbytes.py)."""
import ctypes
import os
import sys
import types

import torch
from safetensors.torch import save_file

OUT, IN, GROUP = 32, 64, 32


def bitsandbytes_files(folder, w):
    def no_library(*_):
        raise OSError("the portable implementation is wanted")

    load = ctypes.cdll.LoadLibrary
    ctypes.cdll.LoadLibrary = no_library
    import bitsandbytes.functional as F
    ctypes.cdll.LoadLibrary = load
    for name, kind, block, nested in (("bnb_nf4", "nf4", 64, False), ("bnb_nf4_double", "nf4", 64, True),
                                      ("bnb_fp4_128", "fp4", 128, False)):
        codes, state = F.quantize_4bit(w, blocksize=block, quant_type=kind, compress_statistics=nested)
        parts = {"w.weight." + k: v.contiguous() for k, v in state.as_dict(packed=True).items()}
        parts["w.weight"] = codes
        parts["expected"] = F.dequantize_4bit(codes, state)
        save_file(parts, os.path.join(folder, name + ".safetensors"))


def compressed_file(folder, w):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=8, strategy="channel"))
    scale = w.abs().amax(1, keepdim=True) / 127.5
    compressor = BaseCompressor.get_value_from_registry("int-quantized")
    packed = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
    read = compressor.decompress(dict(packed), scheme)
    parts = {"w." + k: v.contiguous() for k, v in packed.items()}
    parts["expected"] = read["weight"].float()
    save_file(parts, os.path.join(folder, "compressed.safetensors"))


def grids(w, symmetric, g_idx):
    """Scales and zero points [out, groups], in f16 and whole numbers."""
    scales, zeros = [], []
    for g in range(IN // GROUP):
        part = w[:, g_idx == g]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        scale = (part.abs().amax(1) / 7.5 if symmetric else (high - low) / 15).half()
        scales.append(scale)
        zeros.append(torch.full_like(low, 8) if symmetric else (-low / scale.float()).round().clamp(0, 15))
    return torch.stack(scales, 1), torch.stack(zeros, 1)


def on_grid(w, scales, zeros, g_idx):
    """gptqmodel packs numbers that are on the grid already."""
    s, z = scales.float()[:, g_idx], zeros[:, g_idx]
    return ((w / s + z).round().clamp(0, 15) - z) * s


def linear_of(w):
    linear = torch.nn.Linear(IN, OUT, bias=False)
    linear.weight.data = w.clone()
    return linear


def gptq_file(folder, w, name, symmetric, g_idx):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
    scales, zeros = grids(w, symmetric, g_idx)
    layer = TorchLinear(bits=4, group_size=GROUP, sym=symmetric, desc_act=bool((g_idx[1:] < g_idx[:-1]).any()),
                        in_features=IN, out_features=OUT, bias=False, pack_dtype=torch.int32, register_buffers=True)
    layer.pack(linear_of(on_grid(w, scales, zeros, g_idx)), scales.float(), zeros, g_idx=g_idx.int())
    layer.post_init()
    half = layer.scales
    layer.scales = half.float()
    parts = {"expected": layer.dequantize_weight().T.contiguous().float()}
    layer.scales = half
    assert torch.equal(parts["expected"], on_grid(w, scales, zeros, g_idx))
    if symmetric:
        convert_gptq_v2_to_v1_format_module(layer, types.SimpleNamespace(bits=4, pack_dtype=torch.int32))
    for part in ("qweight", "qzeros", "scales", "g_idx"):
        parts["w." + part] = getattr(layer, part).contiguous().clone()
    save_file(parts, os.path.join(folder, name + ".safetensors"))


def awq_file(folder, w):
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
    g_idx = torch.arange(IN) // GROUP
    scales, zeros = grids(w, False, g_idx)
    layer = AwqTorchLinear(bits=4, group_size=GROUP, sym=False, desc_act=False, in_features=IN, out_features=OUT,
                           bias=False, register_buffers=True)
    layer.pack(linear_of(on_grid(w, scales, zeros, g_idx)), scales.float(), zeros)
    expected = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), 4, GROUP).T.contiguous()
    assert torch.equal(expected, on_grid(w, scales, zeros, g_idx))
    parts = {"w." + part: getattr(layer, part).contiguous().clone() for part in ("qweight", "qzeros", "scales")}
    parts["expected"] = expected
    save_file(parts, os.path.join(folder, "awq.safetensors"))


def ternary_files(folder, w):
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    from transformers.integrations.bitnet import pack_weights, unpack_weights
    mean = w.abs().mean()
    codes = (w / mean).round().clamp(-1, 1)
    packed = pack_weights(codes.clone())
    assert torch.equal(unpack_weights(packed, torch.float32), codes)
    for name, scale in (("bitlinear", 1 / mean), ("autobitlinear", mean)):
        scale = scale.bfloat16().reshape(1)
        read = codes / scale.float() if name == "bitlinear" else codes * scale.float()
        save_file({"w.weight": packed, "w.weight_scale": scale, "expected": read.contiguous()},
                  os.path.join(folder, name + ".safetensors"))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden/quantized"
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(1)
    w = torch.randn(OUT, IN) * 0.05
    w[3] = 0.01 * torch.rand(IN)  # one-sided
    bitsandbytes_files(folder, w)
    compressed_file(folder, w)
    gptq_file(folder, w, "gptq", True, torch.arange(IN) // GROUP)
    gptq_file(folder, w, "gptq_v2_act_order", False, torch.randperm(IN) % 2)
    awq_file(folder, w)
    ternary_files(folder, w)


if __name__ == "__main__":
    main()
