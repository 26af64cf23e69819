#!/usr/bin/env python3
"""What training on the grid is worth: float training and rounding afterwards, against QAT, on documents held back.

    bench/qat_quality.py [--lathe build/release/lathe] [--model DIR] [--data TEXT] [--steps 500] [--seeds 3]
                         [--grids int4:g32,int3:g32,int3:g32/lsq,ternary:g32,int2:g32/lsq,ternary]
                         [--control-rates 3e-4,1e-3,3e-3] [--grid-rate X]
                         [--grid-options '--qat-damping 0.003']

A grid is a type of --qat, and after a slash where its scales come from (--qat-scale); --grid-options are further options
of the runs on a grid. The last --held-back documents are not trained on. For each seed the model is trained for the same
steps of 4 documents in float, at each of the control's learning rates: its weights are rounded afterwards; and on each
grid, at --grid-rate (left out: 1e-3, of 2 bits and ternary 3e-3). All are judged on the documents held back, in the
deployed types: perplexity. The same by PyTorch: peers/torch_reference.py, its rows check, a and b.
"""
import argparse
import json
import math
import os
import re
import shlex
import tempfile

from program import run

GRIDS = "int4:g32,int3:g32,int3:g32/lsq,ternary:g32,int2:g32/lsq,ternary"


def documents(text):
    return [d for d in re.split(r"(?:^|\n)<\|endoftext\|>(?:\n|$)", text) if d]


class Bench:
    def __init__(self, options, folder):
        self.o = options
        self.out = os.path.join(folder, "out")
        with open(options.data, encoding="utf-8") as f:
            docs = documents(f.read())
        for name, part in (("train", docs[:-options.held_back]), ("valid", docs[-options.held_back:])):
            setattr(self, name, os.path.join(folder, f"{name}.txt"))
            with open(getattr(self, name), "w", encoding="utf-8") as f:
                f.write("\n<|endoftext|>\n".join(part))

    def trained(self, seed, rate, *options):
        """Trains into self.out; perplexity of the last validation, on the grid if there is one."""
        run(self.o.lathe, "train", "--model", self.o.model, "--data", self.train, "--valid-data", self.valid, "--steps",
            str(self.o.steps), "--seed", str(seed), "--learning-rate", rate, "--resume", "never", "--out", self.out,
            *options)
        with open(os.path.join(self.out, "metrics.jsonl"), encoding="utf-8") as f:
            return math.exp(json.loads(f.readlines()[-1])["valid_loss"])

    def judged(self, model, *options):
        return run(self.o.lathe, "eval", "--model", model, "--data", self.valid, *options)["perplexity"]


def rate_of(grid):
    return "3e-3" if grid.startswith(("int2", "ternary", "tq")) else "1e-3"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--model", default="../shared/data/models/stories260K/hf")
    parser.add_argument("--data", default="../shared/data/text/tinystories-1700.txt")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-back", type=int, default=200)
    parser.add_argument("--grids", default=GRIDS)
    parser.add_argument("--control-rates", default="3e-4,1e-3,3e-3")
    parser.add_argument("--grid-rate", help="learning rate of the runs on a grid")
    parser.add_argument("--grid-options", default="", help="further options of the runs on a grid")
    o = parser.parse_args()
    grids = [(grid, *grid.partition("/")[::2]) for grid in o.grids.split(",")]
    types = list(dict.fromkeys(kind for _, kind, _ in grids))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(o, folder)
        print(f"as it is: {bench.judged(o.model):.4f}; rounded without training: "
              + ", ".join(f"{kind} {bench.judged(o.model, '--qat', kind):.4f}" for kind in types), flush=True)
        for seed in range(o.seeds):
            for rate in o.control_rates.split(","):
                float_trained = bench.trained(seed, rate)
                print(f"seed {seed}: float training, {rate}: {float_trained:.4f}; rounded afterwards: "
                      + ", ".join(f"{kind} {bench.judged(bench.out, '--qat', kind):.4f}" for kind in types), flush=True)
            for name, kind, scale in grids:
                options = ["--qat", kind, *shlex.split(o.grid_options)] + (["--qat-scale", scale] if scale else [])
                rate = o.grid_rate or rate_of(kind)
                print(f"seed {seed}: {name:16} {bench.trained(seed, rate, *options):.4f}", flush=True)


if __name__ == "__main__":
    main()
