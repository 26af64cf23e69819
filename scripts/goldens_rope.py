#!/usr/bin/env python3
"""Writes tests/golden_rope.h: the rotary frequencies of Hugging Face Transformers, for tests/test_rope.c.

usage: goldens_rope.py [--out tests/golden_rope.h]
needs: torch, transformers

It runs by hand and never in CI: the header is committed. Transformers computes in float, so the numbers have seven
digits. The settings are those of published models (Llama 3.1 and 3.2, Qwen2.5 with YaRN) and some chosen to reach the
ends of the formulas.
"""
import argparse

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

# kind, D, theta, what the config says about it
CASES = [
    ("LINEAR", 64, 10000.0, {"factor": 4.0}),
    ("LINEAR", 128, 1000000.0, {"factor": 2.5}),
    ("LLAMA3", 64, 500000.0, {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 8192}),
    ("LLAMA3", 128, 500000.0, {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original": 8192}),
    ("LLAMA3", 128, 10000.0, {"factor": 4.0, "low_freq_factor": 0.5, "high_freq_factor": 9.0, "original": 300}),
    ("YARN", 64, 10000.0, {"factor": 16.0, "original": 4096}),
    ("YARN", 128, 1000000.0, {"factor": 4.0, "original": 32768}),
    ("YARN", 128, 10000.0, {"factor": 8.0, "original": 2048, "beta_fast": 20.0, "beta_slow": 2.0,
                            "attention_factor": 1.5}),
    ("YARN", 64, 150000.0, {"factor": 0.5, "original": 100}),
    ("YARN", 64, 10.0, {"factor": 2.0, "original": 1000000}),
]


def frequencies(kind, dim, theta, options):
    parameters = {"rope_type": kind.lower(), "rope_theta": theta}
    parameters.update(options)
    if "original" in parameters:
        parameters["original_max_position_embeddings"] = parameters.pop("original")
    config = LlamaConfig(hidden_size=4 * dim, num_attention_heads=4, head_dim=dim, max_position_embeddings=131072,
                         rope_parameters=parameters)
    values, amplitude = ROPE_INIT_FUNCTIONS[kind.lower()](config, torch.device("cpu"))
    assert values.dtype == torch.float32 and len(values) == dim // 2
    return values.tolist(), float(amplitude)


def case(kind, dim, theta, options):
    values, amplitude = frequencies(kind, dim, theta, options)
    fields = {"original": "original_context"}
    words = [f".kind = LT_ROPE_{kind}"] + [f".{fields.get(k, k)} = {v!r}" for k, v in options.items()]
    scaling = ", ".join(words[:4]) + "".join(f",\n      {w}" for w in words[4:])
    lines, line = [], "    "
    for v in values:
        word = f"{v:.9g}, "
        if len(line) + len(word) > 114:
            lines.append(line.rstrip())
            line = "    "
        line += word
    lines.append(line.rstrip().rstrip(","))
    head = [f"    {{{dim}, {theta!r},", f"     {{{scaling}}},", f"     {amplitude!r}, {{"]
    return "\n".join(head + ["    " + x for x in lines] + ["    }},"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/golden_rope.h")
    out = parser.parse_args().out
    text = ["/* golden_rope.h - what scripts/goldens_rope.py wrote: rotary frequencies as Transformers computes them. */",
            "#ifndef TS_GOLDEN_ROPE_H", "#define TS_GOLDEN_ROPE_H", "", '#include "lathe/ops.h"', "",
            "/* clang-format off */", "static const struct golden_rope {", "    int64_t D;", "    double theta;",
            "    lt_rope_scaling scaling;", "    double amplitude;", "    double frequency[64]; /* D/2 of them */",
            "} golden_ropes[] = {"]
    text += [case(*c) for c in CASES] + ["};", "", "#endif", ""]
    with open(out, "w", encoding="ascii") as file:
        file.write("\n".join(text))


if __name__ == "__main__":
    main()
