#!/usr/bin/env python3
"""Checks that llama.cpp reads what lathe exports, and gives lathe's perplexity.

usage: check_export.py LATHE --model DIR --train TEXT --valid TEXT --ppl LLAMACPP_PPL [--types q4_0,q8_0,..] [--steps N]
                       [--ctx 256] [--keep DIR]
needs: gguf, and a program LLAMACPP_PPL: `LLAMACPP_PPL FILE.gguf TEXT --ctx N` prints "ppl X ..".

Run by hand and never in CI. For every type a few steps of training with --qat TYPE --qat-activations runtime end in a
.gguf; GRID=TYPE trains on one and exports the other (ternary=tq2_0). Printed are the perplexity of the final evaluation (activations rounded as llama.cpp rounds them), of the file in
lathe with and without that, and in llama.cpp. Missed when the codes read back do not give the final evaluation's loss
bit for bit, when the file opened alone is more than 1e-6 off, or llama.cpp more than 0.1 %."""
import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile

import gguf

LIMIT_FILE, LIMIT_RUNTIME = 1e-6, 1e-3


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit("%s\n%s%s" % (" ".join(command), done.stdout, done.stderr))
    return done.stdout


def types_of(path):
    counts = {}
    for t in gguf.GGUFReader(path).tensors:
        counts[t.tensor_type.name.lower()] = counts.get(t.tensor_type.name.lower(), 0) + 1
    return counts


def check(o, kind, place):
    grid, _, written = kind.partition("=")
    name = kind.replace(":", "-").replace("=", "-")
    path, out = os.path.join(place, name + ".gguf"), os.path.join(place, "run-" + name)
    words = [o.lathe, "train", "--model", o.model, "--data", o.train, "--valid-data", o.valid, "--out", out, "--steps",
             str(o.steps), "--max-seq-length", str(o.ctx), "--batch-size", "2", "--learning-rate", "1e-5", "--qat",
             grid, "--qat-activations", "runtime", "--export", path, "--json"]
    words += ["--export-type", written] if written else []
    result = json.loads(run(*words))
    final = math.exp(result["valid_loss"])
    base = [o.lathe, "eval", "--model", path, "--data", o.valid, "--max-seq-length", str(o.ctx), "--json"]
    plain = json.loads(run(*base))["perplexity"]
    file = json.loads(run(*base, "--qat-activations", "runtime"))["perplexity"]
    there = float(re.search(r"ppl ([0-9.]+)", run(sys.executable, o.ppl, path, o.valid, "--ctx", str(o.ctx))).group(1))
    bad = [not result["proof"]["identical"] or not result["export_is_what_was_trained"],
           abs(file / final - 1) > LIMIT_FILE, abs(there / file - 1) > LIMIT_RUNTIME]
    print("%-8s %10.6f %10.6f %10.6f %10.6f  %+.4f %% %+.4f %%  %s %s" %
          (kind, final, file, plain, there, 100 * (there / file - 1), 100 * (there / plain - 1),
           "MISSED" if any(bad) else "ok", types_of(path)))
    return any(bad)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("lathe")
    for name in ("--model", "--train", "--valid", "--ppl"):
        p.add_argument(name, required=True)
    p.add_argument("--types", default="q4_0,q4_1,q5_0,q5_1,q8_0,q4_k_m,q6_k,tq2_0")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--keep")
    o = p.parse_args()
    print("type     final       file    f32 activ.  llama.cpp   against the file, and against f32 activations")
    with tempfile.TemporaryDirectory() as place:
        missed = sum([check(o, kind, o.keep or place) for kind in o.types.split(",")])
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
