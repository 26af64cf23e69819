#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_packed.c and fuzz_clusters.c: small whole files, and some with one thing wrong.

usage: make_packed_seeds.py [DIRECTORY]      (tests/fuzz/corpus; needs nothing but Python)
"""
import json
import os
import random
import struct
import sys

SIZES = {"F32": 4, "F16": 2, "I32": 4, "I8": 1, "U8": 1}
MATRICES = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
            "self_attn.o_proj": (32, 32), "mlp.gate_proj": (32, 32), "mlp.up_proj": (32, 32), "mlp.down_proj": (32, 32)}


def safetensors(tensors, metadata=None):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def draw(dtype, *shape, low=None, high=None):
    count = 1
    for n in shape:
        count *= n
    if dtype[0] == "F":
        code = {"F32": "f", "F16": "e"}[dtype]
        return dtype, list(shape), struct.pack("<%d%s" % (count, code),
                                               *(random.uniform(low or 0.01, high or 0.1) for _ in range(count)))
    if low is None:
        return dtype, list(shape), bytes(random.randrange(256) for _ in range(count * SIZES[dtype]))
    code = {"I32": "i", "I8": "b", "U8": "B"}[dtype]
    return dtype, list(shape), struct.pack("<%d%s" % (count, code), *(random.randint(low, high) for _ in range(count)))


def gptq(name, out, rows, group, bits, act_order, zero):
    groups, per = rows // group, 32 // bits
    parts = {name + ".qweight": draw("I32", rows // per, out), name + ".scales": draw("F16", groups, out),
             name + ".qzeros": ("I32", [groups, out // per], struct.pack("<I", zero) * (groups * out // per))}
    if act_order:
        parts[name + ".g_idx"] = draw("I32", rows, low=0, high=groups - 1)
    return parts


def awq(name, out, rows, group):
    return {name + ".qweight": draw("I32", rows, out // 8), name + ".qzeros": draw("I32", rows // group, out // 8),
            name + ".scales": draw("F16", rows // group, out)}


def bnb(name, out, rows, nested):
    blocks, n = out * rows // 64, name + ".weight"
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [out, rows]}
    parts = {n: draw("U8", out * rows // 2, 1), n + ".quant_map": draw("F32", 16)}
    if nested:
        state.update(nested_blocksize=256, nested_dtype="float32", nested_offset=0.05)
        parts.update({n + ".absmax": draw("U8", blocks), n + ".nested_absmax": draw("F32", 1),
                      n + ".nested_quant_map": draw("F16", 256)})
    else:
        parts[n + ".absmax"] = draw("F32", blocks)
    text = json.dumps(state).encode()
    parts[n + ".quant_state.bitsandbytes__nf4"] = ("U8", [len(text)], text)
    return parts


def compressed(name, out, rows, dtype, zeros):
    parts = {name + ".weight": draw("I8", out, rows), name + ".weight_scale": draw(dtype, out, 1)}
    if zeros:
        parts[name + ".weight_zero_point"] = draw("I8", out, 1, low=-4, high=4)
    return parts


def ternary(name, out, rows):
    return {name + ".weight": ("U8", [out // 4, rows],
                               bytes(sum(random.randrange(3) << 2 * k for k in range(4))
                                     for _ in range(out * rows // 4))),
            name + ".weight_scale": draw("F32", 1)}


def directory(config, make, drop=None, change=None):
    tensors = {"model.embed_tokens.weight": draw("F16", 4, 32), "model.norm.weight": draw("F16", 32)}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors["model.layers.0.%s.weight" % norm] = draw("F16", 32)
    for name, (out, rows) in MATRICES.items():
        tensors.update(make("model.layers.0." + name, out, rows))
    if drop:
        del tensors["model.layers.0." + drop]
    if change:
        tensors["model.layers.0." + change[0]] = change[1]
    return json.dumps(config).encode() + b"\n" + safetensors(tensors)


def packed_seeds():
    q = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
    made = {
        "ok-gptq": directory(q, lambda *a: gptq(*a, 32, 4, False, 0x77777777)),
        "ok-gptq-order": directory(dict(q, group_size=16, desc_act=True), lambda *a: gptq(*a, 16, 4, True, 0x12345678)),
        "ok-gptq8": directory(dict(q, bits=8), lambda *a: gptq(*a, 32, 8, False, 0x7F7F7F7F)),
        "ok-gptq2": directory(dict(q, bits=2, checkpoint_format="gptq_v2"), lambda *a: gptq(*a, 32, 2, False, 0xAAAAAAAA)),
        "ok-awq": directory({"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"},
                            lambda *a: awq(*a, 16)),
        "ok-bnb": directory({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda *a: bnb(*a, False)),
        "ok-bnb-nested": directory({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda *a: bnb(*a, True)),
        "ok-compressed": directory({"quant_method": "compressed-tensors", "format": "int-quantized"},
                                   lambda *a: compressed(*a, "F16", False)),
        "ok-compressed-zeros": directory({"quant_method": "compressed-tensors", "format": "int-quantized"},
                                         lambda *a: compressed(*a, "F32", True)),
        "ok-ternary": directory({"quant_method": "bitnet", "quantization_mode": "offline"}, ternary),
        "ok-nothing-packed": directory(None, lambda name, out, rows: {name + ".weight": draw("F16", out, rows)}),
        "bad-no-zeros": directory(q, lambda *a: gptq(*a, 32, 4, False, 0), drop="mlp.up_proj.qzeros"),
        "bad-index": directory(q, lambda *a: gptq(*a, 32, 4, False, 0),
                               change=("mlp.up_proj.g_idx", draw("I32", 32, low=1, high=9))),
        "bad-scales": directory(q, lambda *a: gptq(*a, 32, 4, False, 0),
                                change=("mlp.up_proj.scales", draw("F16", 1, 31))),
        "bad-bits": directory(dict(q, bits=3), lambda *a: gptq(*a, 32, 4, False, 0)),
        "bad-group": directory(dict(q, group_size=0), lambda *a: gptq(*a, 32, 4, False, 0)),
        "bad-method": directory({"quant_method": "aqlm"}, lambda *a: awq(*a, 16)),
        "bad-state": directory({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda *a: bnb(*a, False),
                               change=("mlp.up_proj.weight.quant_state.bitsandbytes__nf4",
                                       ("U8", [18], b'{"blocksize": 2e9}'))),
        "bad-few-bytes": directory(q, lambda *a: gptq(*a, 32, 4, False, 0),
                                   change=("mlp.up_proj.qweight", draw("I32", 1, 1))),
    }
    return made


def clusters(bits=2, books=1, values=4, rows=5, columns=3, **other):
    count = rows * columns
    packed = 0
    for i in range(count):
        packed |= random.randrange(values) << i * bits
    raw = packed.to_bytes((count * bits + 7) // 8, "little")
    tensors = {"a.weight:codebook": draw("F32", books, values), "a.weight:indices": ("U8", [len(raw)], raw),
               "norm.weight": draw("F32", 7)}
    metadata = {"clusters:a.weight": "%d:%dx%d" % (bits, rows, columns)}
    metadata.update(other.pop("metadata", {}))
    tensors.update(other.pop("tensors", {}))
    for name in other.pop("drop", ()):
        (metadata if name in metadata else tensors).pop(name)
    return safetensors(tensors, metadata)


def cluster_seeds():
    text = "clusters:a.weight"
    return {
        "ok-tensor": clusters(),
        "ok-channels": clusters(books=5),
        "ok-3-of-4": clusters(values=3),
        "ok-8-bits": clusters(bits=8, values=256, rows=2, columns=4),
        "ok-1-bit": clusters(bits=1, values=2, rows=3, columns=3),
        "ok-plain-alone": safetensors({"norm.weight": draw("F32", 7)}),
        "ok-rank-4": clusters(metadata={text: "2:5x1x1x3"}),
        "bad-index": clusters(values=3, tensors={"a.weight:indices": ("U8", [4], b"\xff\xff\xff\x3f")}),
        "bad-bits-behind": clusters(tensors={"a.weight:indices": ("U8", [4], b"\0\0\0\xc0")}),
        "bad-no-codebook": clusters(drop=["a.weight:codebook"]),
        "bad-no-indices": clusters(drop=["a.weight:indices"]),
        "bad-no-text": clusters(drop=[text]),
        "bad-text": clusters(metadata={text: "2:5x"}),
        "bad-huge": clusters(metadata={text: "2:4000000000x4000000000x4000000000"}),
        "bad-sizes": clusters(metadata={text: "2:5x4"}),
        "bad-books": clusters(books=2),
        "bad-bits": clusters(values=8, bits=2, tensors={"a.weight:codebook": draw("F32", 1, 8)}),
        "bad-twice": clusters(tensors={"a.weight": draw("F32", 5, 3)}),
    }


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus"
    random.seed(7)
    for kind, seeds in (("packed", packed_seeds()), ("clusters", cluster_seeds())):
        os.makedirs(os.path.join(root, kind), exist_ok=True)
        for name, raw in seeds.items():
            with open(os.path.join(root, kind, name), "wb") as file:
                file.write(raw)


if __name__ == "__main__":
    main()
