#!/usr/bin/env python3
"""Checks that quantized safetensors of lathe load in Transformers and give lathe's logits.

usage: check_quantized_formats.py LATHE --data TEXT [--model DIR | --init SPEC] [--steps N] [--formats gptq,awq,..]
                                  [--qat "gptq=int4:g64;..."] [--keep DIR]
needs: torch, transformers 5, safetensors, numpy; bitsandbytes, compressed-tensors, gptqmodel and optimum, each for its
format: one that is missing, or has no code for CPUs, is said and left out.

Run by hand and never in CI. For each format a few steps of training end in a directory. Its logits in lathe (`lathe eval
--dump-logits`) are compared with those of

    formula   a plain model in f32 with weights from the format's published formula, in numpy
    package   the directory as Transformers opens it, with the format's package. In f32 where that computes so, else f16

as the largest difference over the largest logit. Missed: formula above 1e-3, package above 1e-3 in f32 (1e-2 in f16).
compressed-tensors is compared with weights alone rounded, and, for the record, with activations: its Python divides by
127.5 where vLLM and lathe divide by 127."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
LIMIT, LIMIT_HALF, ROWS = 1e-3, 1e-2, 64
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


# ---- Formulas ----

def nibbles(words, bits, order=None):
    """[a, b] int32 -> [a, b, 32 / bits]"""
    per = 32 // bits
    w = words.numpy().view(np.uint32)[..., None] >> (np.arange(per, dtype=np.uint32) * bits) & ((1 << bits) - 1)
    if order:
        back = np.empty_like(w)
        back[..., order] = w
        w = back
    return w.astype(np.int64)


def gptq(t, c):
    q = nibbles(t["qweight"], c["bits"]).transpose(0, 2, 1).reshape(-1, t["qweight"].shape[1])  # [in, out]
    z = nibbles(t["qzeros"], c["bits"]).reshape(t["qzeros"].shape[0], -1)
    if c["checkpoint_format"] == "gptq":
        z = z + 1 & (1 << c["bits"]) - 1
    g = t["g_idx"].numpy()
    return ((q - z[g]) * t["scales"].float().numpy()[g]).T


def awq(t, c):
    q = nibbles(t["qweight"], 4, ORDER).reshape(t["qweight"].shape[0], -1)
    z = nibbles(t["qzeros"], 4, ORDER).reshape(t["qzeros"].shape[0], -1)
    g = np.arange(len(q)) // (len(q) // len(z))
    return ((q - z[g]) * t["scales"].float().numpy()[g]).T


def bnb(t, c):
    key = next(k for k in t if "quant_state" in k)
    state = json.loads(bytes(t[key].numpy()))
    scale = t["weight.absmax"]
    if "nested_offset" in state:
        groups = t["weight.nested_absmax"].repeat_interleave(state["nested_blocksize"])[:len(scale)]
        scale = t["weight.nested_quant_map"][scale.long()] * groups + np.float32(state["nested_offset"])
    codes = t["weight"].flatten().long()
    codes = torch.stack([codes >> 4, codes & 15], 1).flatten()
    w = t["weight.quant_map"][codes].reshape(-1, state["blocksize"]) * scale[:, None]
    return w.reshape(state["shape"]).numpy()


def compressed(t, c):
    return (t["weight"].float() * t["weight_scale"]).numpy()


FORMULAS = {"gptq": (gptq, "qweight"), "awq": (awq, "qweight"), "bitsandbytes": (bnb, "weight.absmax"),
            "compressed-tensors": (compressed, "weight_scale")}


def plain_model(folder):
    config = json.load(open(os.path.join(folder, "config.json")))
    how = config.pop("quantization_config")
    formula, mark = FORMULAS[how["quant_method"]]
    stored, state, used = load_file(os.path.join(folder, "model.safetensors")), {}, set()
    for name in stored:
        if name.endswith("." + mark):
            stem = name[:-len(mark)]
            parts = {k[len(stem):]: v for k, v in stored.items() if k.startswith(stem)}
            used |= {stem + k for k in parts if k != "bias"}
            state[stem + "weight"] = torch.from_numpy(np.ascontiguousarray(formula(parts, how), np.float32))
    state.update({k: v.float() for k, v in stored.items() if k not in used})
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config), dtype=torch.float32)
    missing, strange = model.load_state_dict(state, strict=False)
    assert not strange and all("lm_head" in m for m in missing), (missing, strange)
    return model


# ---- Logits ----

def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def distance(a, b):
    n = min(len(a), len(b))
    return float(np.abs(a[:n] - b[:n]).max() / np.abs(b[:n]).max())


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit("%s\n%s%s" % (" ".join(map(str, command)), done.stdout[-2000:], done.stderr[-2000:]))
    return done.stdout


def lathe_logits(o, folder, place, text, more=()):
    path = os.path.join(place, "logits.f32")
    run(o.lathe, "eval", "--model", folder, "--data", text, "--max-seq-length", ROWS, "--dump-logits", path, *more)
    vocab = json.load(open(os.path.join(folder, "config.json")))["vocab_size"]
    return np.fromfile(path, np.float32).reshape(-1, vocab)


class Table:
    def __init__(self):
        self.missed = 0

    def row(self, kind, what, value, limit):
        bad = limit is not None and not value <= limit
        self.missed += bad
        print("%-20s %-34s %.2e  %s" % (kind, what, value, "MISSED" if bad else "ok" if limit else "for the record"),
              flush=True)


def package(folder, kind, dtype):
    """gptqmodel's plain kernels: its others for CPUs are compiled first, and multiply in bf16."""
    more = {"compressed-tensors": lambda: transformers.CompressedTensorsConfig(dequantize=True),
            "gptq": lambda: transformers.GPTQConfig(bits=4, backend="gptq_torch"),
            "awq": lambda: transformers.AwqConfig(backend="torch_awq")}
    words = {"quantization_config": more[kind]()} if kind in more else {}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map={"": "cpu"}, **words)


def by_package(t, folder, kind, ids, ours):
    for dtype, limit in ((torch.float32, LIMIT), (torch.float16, LIMIT_HALF)):
        try:
            model = package(folder, kind, dtype)
            if kind == "bnb":  # out of training it may multiply in bf16
                t.row(kind, "package, " + str(dtype)[6:], distance(ours, logits(model.train(), ids)), limit)
                t.row(kind, "package, its own product", distance(ours, logits(model.eval(), ids)), LIMIT_HALF)
            else:
                t.row(kind, "package, " + str(dtype)[6:], distance(ours, logits(model.eval(), ids)), limit)
            return
        except Exception as e:  # whatever a package cannot do here
            print("%-20s package, %s: not here: %s: %.300s" % (kind, str(dtype)[6:], type(e).__name__, e), flush=True)


def check(t, o, kind, place):
    folder, text = os.path.join(place, kind), os.path.join(place, "text.txt")
    words = [o.lathe, "train", "--data", o.data, "--out", os.path.join(place, "run-" + kind), "--steps", o.steps,
             "--max-seq-length", 64, "--batch-size", 2, "--learning-rate", "1e-4", "--export-format", kind, "--export",
             folder, "--json", "--max-seconds", 600]
    words += ["--model", o.model] if o.model else ["--init", o.init]
    words += ["--qat", o.grids[kind]] if kind in o.grids else []
    proof = json.loads(run(*words))["proof"]
    print("%-20s %d tensors, %d weights, %d bytes read back: identical" %
          (kind, proof["tensors"], proof["weights"], proof["bytes"]))
    ids = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json")).encode(
        open(text).read(), add_special_tokens=False)
    ours = lathe_logits(o, folder, place, text)
    bos = json.load(open(os.path.join(folder, "config.json"))).get("bos_token_id")
    ids = (ids if len(ours) <= len(ids) or bos is None else [bos] + ids)[:len(ours)]
    t.row(kind, "formula, float32", distance(ours, logits(plain_model(folder).eval(), ids)), LIMIT)
    by_package(t, folder, kind, ids, ours)
    if kind == "compressed-tensors":
        rounded = lathe_logits(o, folder, place, text, ["--qat-activations", "int8_token"])
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        t.row(kind, "activations rounded in both", distance(rounded, logits(model.eval(), ids)), None)
        t.row(kind, "activations rounded, or not", distance(rounded, ours), None)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lathe")
    p.add_argument("--data", required=True)
    p.add_argument("--model")
    p.add_argument("--init", default="llama:layers=2,dim=128,hidden=256,heads=4,kv_heads=2,context=128")
    p.add_argument("--formats", default="compressed-tensors,bnb,gptq,awq")
    p.add_argument("--qat", default="")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--keep")
    o = p.parse_args()
    o.grids = dict(word.split("=") for word in o.qat.split(";") if word)
    t = Table()
    with tempfile.TemporaryDirectory() as place:
        place = o.keep or place
        with open(os.path.join(place, "text.txt"), "w") as file:
            file.write("First Citizen: before we proceed any further, hear me speak.")
        for kind in o.formats.split(","):
            check(t, o, kind, place)
    sys.exit(t.missed > 0)


if __name__ == "__main__":
    main()
