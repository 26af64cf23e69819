#!/usr/bin/env python3
"""Training on the grid against float training and rounding afterwards, on the same tokens: is the difference chance?

    bench/qat_paired.py --model DIR --data TEXT [--lathe build/release/lathe] [--type q4_0] [--steps 300] [--seeds 1]
                        [--rates 5e-5] [--compute bf16] [--grid-options '--qat-damping 0.003'] [--out DIR]

Articles of --data (lines " = Title = ") are cut apart; the last quarter of them is held back. For each seed and learning
rate the model is trained twice for the same steps of 4 x 256 tokens: in float, its linear layers then rounded to nearest,
and on the grid, whose exported codes are read back. All are judged on the held-back passages (about 1,000 characters
each). The interval is a bootstrap over passages of the paired difference in loss a token: 10,000 draws, 95 %.
"""
import argparse
import json
import math
import os
import random
import re
import shlex

from program import run

PASSAGE = 1000  # characters


def passages(article):
    part = ""
    for line in article.splitlines():
        part += line + "\n"
        if len(part) >= PASSAGE:
            yield part
            part = ""
    if len(part) > PASSAGE // 4:
        yield part


def split(path, folder):
    """Writes train.txt and held.jsonl; returns their paths."""
    with open(path, encoding="utf-8") as f:
        articles = [a for a in re.split(r"(?m)^(?= = [^=\n]+ = $)", f.read()) if a.strip()]
    held = len(articles) // 4
    train, judged = os.path.join(folder, "train.txt"), os.path.join(folder, "held.jsonl")
    with open(train, "w", encoding="utf-8") as f:
        f.write("\n<|endoftext|>\n".join(a.strip() for a in articles[:-held]))
    with open(judged, "w", encoding="utf-8") as f:
        parts = [p for a in articles[-held:] for p in passages(a)]
        for i, part in enumerate(parts):
            f.write(json.dumps({"text": part, "part": str(i)}) + "\n")
    print(f"{len(articles) - held} articles to train on; {len(parts)} passages of {held} others", flush=True)
    return train, judged


def interval(a, b, draws=10000):
    """Mean of a - b a token, and its bootstrap interval; both: {part: (loss a token, tokens)}."""
    pairs = [((a[k][0] - b[k][0]) * a[k][1], a[k][1]) for k in a]
    rng = random.Random(1)
    means = []
    for _ in range(draws):
        drawn = rng.choices(pairs, k=len(pairs))
        means.append(sum(d for d, _ in drawn) / sum(n for _, n in drawn))
    means.sort()
    mean = sum(d for d, _ in pairs) / sum(n for _, n in pairs)
    return mean, means[draws // 40], means[-draws // 40]


class Bench:
    def __init__(self, options):
        self.o = options
        os.makedirs(options.out, exist_ok=True)
        self.train_text, self.held = split(options.data, options.out)

    def judge(self, name, model, *options):
        report = run(self.o.lathe, "eval", "--model", model, "--data", self.held, "--split", "all", "--slice", "part",
                     "--resamples", "0", *options)
        print(f"{name:44} perplexity {report['perplexity']:.4f}", flush=True)
        return {k: (s["nll"], s["tokens"]) for k, s in report["slices"].items()}

    def train(self, out, seed, rate, *options):
        run(self.o.lathe, "train", "--model", self.o.model, "--data", self.train_text, "--valid-fraction", "0", "--steps",
            str(self.o.steps), "--batch-size", "4", "--max-seq-length", "256", "--seed", str(seed), "--learning-rate",
            rate, "--compute", self.o.compute, "--resume", "never", "--out", out, *options)

    def pair(self, seed, rate):
        name = f"seed {seed}, rate {rate}: "
        out, codes = os.path.join(self.o.out, "run"), os.path.join(self.o.out, "codes.gguf")
        self.train(out, seed, rate)
        self.judge(name + "float", out)
        rounded = self.judge(name + "float, rounded", out, "--qat", self.o.type)
        self.train(out, seed, rate, "--qat", self.o.type, "--export", codes, *shlex.split(self.o.grid_options))
        trained = self.judge(name + "on the grid", codes)
        mean, low, high = interval(rounded, trained)
        print(f"{name}rounded - trained {mean:+.5f} nats a token ({low:+.5f} to {high:+.5f}), "
              f"{100 * (math.exp(mean) - 1):.2f} % of perplexity", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--type", default="q4_0")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rates", default="5e-5")
    parser.add_argument("--compute", default="bf16")
    parser.add_argument("--grid-options", default="", help="further options of the run on the grid")
    parser.add_argument("--out", default="qat_paired")
    o = parser.parse_args()
    bench = Bench(o)
    bench.judge("as it is", o.model)
    bench.judge("rounded without training", o.model, "--qat", o.type)
    for seed in range(o.seeds):
        for rate in o.rates.split(","):
            bench.pair(seed, rate)


if __name__ == "__main__":
    main()
