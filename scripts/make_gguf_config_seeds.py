#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_gguf_config.c: keys of a model of each family, and some that are refused.

usage: make_gguf_config_seeds.py [DIRECTORY]      (tests/fuzz/corpus/gguf_config; needs gguf, numpy)
"""
import sys

import gguf
import numpy as np


def write(path, arch, keys, tensors=(), drop=()):
    w = gguf.GGUFWriter(path, arch)
    base = {"context_length": 64, "embedding_length": 8, "block_count": 1, "feed_forward_length": 12,
            "attention.head_count": 2}
    base.update(keys)
    for key, value in base.items():
        if key in drop:
            continue
        name = key if "." in key and key.split(".")[0] in ("split", "general") else f"{arch}.{key}"
        if isinstance(value, bool):
            w.add_bool(name, value)
        elif isinstance(value, float):
            w.add_float32(name, value)
        elif isinstance(value, str):
            w.add_string(name, value)
        elif isinstance(value, list):
            w.add_array(name, value)
        else:
            w.add_uint32(name, value)
    for name, shape in [("token_embd.weight", (5, 8)), *tensors]:
        w.add_tensor(name, np.ones(shape, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus/gguf_config"
    rms = {"attention.layer_norm_rms_epsilon": 1e-5, "attention.head_count_kv": 1, "rope.freq_base": 1e4}
    ln = {"attention.layer_norm_epsilon": 1e-5}
    write(f"{out}/ok-llama", "llama", {**rms, "rope.dimension_count": 4, "vocab_size": 5})
    write(f"{out}/ok-llama-factors", "llama", rms, [("rope_freqs.weight", (2,))])
    write(f"{out}/ok-llama-yarn", "llama", {**rms, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                                            "rope.scaling.original_context_length": 16,
                                            "rope.scaling.attn_factor": 1.5})
    write(f"{out}/ok-llama-per-layer", "llama", {**rms, "attention.head_count": [2], "expert_count": 0})
    write(f"{out}/ok-qwen2", "qwen2", {**rms, "rope.scaling.type": "linear", "rope.scaling.factor": 2.0},
          [("blk.0.attn_q.bias", (8,))])
    write(f"{out}/ok-qwen3", "qwen3", {**rms, "attention.key_length": 6, "attention.value_length": 6},
          [("blk.0.attn_q_norm.weight", (6,))])
    write(f"{out}/ok-gemma3", "gemma3", {**rms, "attention.sliding_window": 16, "rope.freq_base_swa": 1e4,
                                         "attention.scale": 0.4, "attention.sliding_window_pattern": 3})
    write(f"{out}/ok-bitnet", "bitnet", {**rms, "hidden_activation": "relu2"},
          [("blk.0.attn_sub_norm.weight", (8,)), ("blk.0.ffn_sub_norm.weight", (12,))])
    write(f"{out}/ok-gpt2", "gpt2", ln)
    write(f"{out}/ok-bert", "bert", {**ln, "attention.causal": False, "pooling_type": 2},
          [("token_types.weight", (2, 8)), ("cls.output.weight", (3, 8))])
    write(f"{out}/bad-family", "rwkv", rms)
    write(f"{out}/bad-key", "llama", {**rms, "attention.clamp_kqv": 8.0})
    write(f"{out}/bad-experts", "llama", {**rms, "expert_count": 8})
    write(f"{out}/bad-layers", "llama", {**rms, "attention.head_count": [2, 4]})
    write(f"{out}/bad-missing", "llama", rms, drop=("block_count",))
    write(f"{out}/bad-heads", "llama", {**rms, "attention.head_count": 3})
    write(f"{out}/bad-scaling", "llama", {**rms, "rope.scaling.type": "longrope", "rope.scaling.factor": 2.0})
    write(f"{out}/bad-factors", "llama", rms, [("rope_freqs.weight", (3,))])
    write(f"{out}/bad-split", "llama", {**rms, "split.count": 2})


if __name__ == "__main__":
    main()
