#!/usr/bin/env python3
"""Writes tests/golden/mixes.json: the type that llama-quantize gives every tensor, for each name of a mix.

usage: goldens_mixes.py OUT.json
needs: gguf, llama_cpp (llama-cpp-python), numpy. Run by hand, not in CI.

Small random models: Llamas whose rows are whole blocks of 256, and of 32 alone, tied and not, with shared keys and
without; a GPT-2, whose queries, keys and values are one tensor; a Llama of 80 layers. What is recorded is what stands
in the quantized file. What llama-quantize refuses is left out (q2_k_s wants an importance matrix)."""
import json
import os
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

MIXES = {"q2_k": "Q2_K", "q2_k_s": "Q2_K_S", "q3_k_s": "Q3_K_S", "q3_k_m": "Q3_K_M", "q3_k_l": "Q3_K_L", "q4_0": "Q4_0",
         "q4_1": "Q4_1", "q4_k_s": "Q4_K_S", "q4_k_m": "Q4_K_M", "q5_0": "Q5_0", "q5_1": "Q5_1", "q5_k_s": "Q5_K_S",
         "q5_k_m": "Q5_K_M", "q6_k": "Q6_K", "q8_0": "Q8_0", "tq1_0": "TQ1_0", "tq2_0": "TQ2_0"}
MODELS = {
    "wide": dict(layers=16, dim=256, hidden=256, heads=8, keys=2, tied=False),
    "wide_tied": dict(layers=9, dim=256, hidden=512, heads=4, keys=4, tied=True),
    "narrow": dict(layers=9, dim=192, hidden=256, heads=6, keys=2, tied=True),  # 192 as SmolLM2's 576: 32 alone divides
    "large": dict(layers=80, dim=64, hidden=256, heads=4, keys=1, tied=False),
    "gpt2": dict(layers=9, dim=256, hidden=512, heads=4, keys=4, tied=True, gpt2=True),
}
VOCAB = 64


def tensors(m):
    d, f, k = m["dim"], m["hidden"], m["dim"] // m["heads"] * m["keys"]
    yield "token_embd.weight", (VOCAB, d)
    yield "output_norm.weight", (d,)
    if m.get("gpt2"):
        yield "position_embd.weight", (64, d)
        yield "output_norm.bias", (d,)
    if not m["tied"]:
        yield "output.weight", (VOCAB, d)
    for i in range(m["layers"]):
        b = "blk.%d." % i
        yield b + "attn_norm.weight", (d,)
        yield b + "ffn_norm.weight", (d,)
        if m.get("gpt2"):
            yield from [(b + "attn_norm.bias", (d,)), (b + "ffn_norm.bias", (d,)),
                        (b + "attn_qkv.weight", (d + 2 * k, d)), (b + "attn_qkv.bias", (d + 2 * k,)),
                        (b + "attn_output.bias", (d,)), (b + "ffn_up.bias", (f,)), (b + "ffn_down.bias", (d,))]
        else:
            yield from [(b + "attn_q.weight", (d, d)), (b + "attn_k.weight", (k, d)), (b + "attn_v.weight", (k, d)),
                        (b + "ffn_gate.weight", (f, d))]
        yield from [(b + "attn_output.weight", (d, d)), (b + "ffn_up.weight", (f, d)), (b + "ffn_down.weight", (d, f))]


def write_model(path, m):
    arch = "gpt2" if m.get("gpt2") else "llama"
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(64)
    w.add_embedding_length(m["dim"])
    w.add_feed_forward_length(m["hidden"])
    w.add_block_count(m["layers"])
    w.add_head_count(m["heads"])
    w.add_head_count_kv(m["keys"])
    w.add_vocab_size(VOCAB)
    if arch == "gpt2":
        w.add_layer_norm_eps(1e-5)
    else:
        w.add_layer_norm_rms_eps(1e-5)
        w.add_rope_dimension_count(m["dim"] // m["heads"])
    w.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(1)
    for name, shape in tensors(m):
        w.add_tensor(name, (random.standard_normal(shape) * 0.02).astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def quantize(source, target, ftype):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    params.nthread = 2
    return llama_cpp.llama_model_quantize(source.encode(), target.encode(), params) == 0


def by_part(types):
    """"attn_v.weight": [["q6_k", 2], ["q4_k", 3], ..] by layer; tensors without a layer: one. Matrices alone."""
    parts = {}
    for name in sorted(types, key=lambda n: int(n.split(".")[1]) if n.startswith("blk.") else 0):
        part = name.split(".", 2)[2] if name.startswith("blk.") else name
        if part.endswith(".bias") or part.endswith("_norm.weight"):
            continue
        runs = parts.setdefault(part, [])
        if runs and runs[-1][0] == types[name]:
            runs[-1][1] += 1
        else:
            runs.append([types[name], 1])
    return parts


def main():
    out = {"models": MODELS, "types": {}}
    with tempfile.TemporaryDirectory() as place:
        for name, m in MODELS.items():
            source, target = os.path.join(place, "f32.gguf"), os.path.join(place, "q.gguf")
            write_model(source, m)
            for mix, ftype in MIXES.items():
                if not quantize(source, target, getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + ftype)):
                    print("refused:", name, mix)
                    continue
                reader = gguf.GGUFReader(target)
                out["types"].setdefault(name, {})[mix] = {
                    "file_type": int(reader.fields["general.file_type"].contents()),
                    "tensors": by_part({t.name: t.tensor_type.name.lower() for t in reader.tensors})}
    with open(sys.argv[1], "w") as f:
        json.dump(out, f, indent=None, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
