#!/usr/bin/env python3
"""What training on the grid is worth: float training and rounding afterwards, against QAT, on documents held back.

    bench/qat_quality.py [--lathe build/release/lathe] [--model DIR] [--data TEXT] [--steps 500] [--seeds 3] [--type q4_0]

Every tenth document is held back. For each seed the model is trained twice for the same steps of 4 documents: in float
(learning rates 3e-4 and 1e-3, the better one after rounding counts) and with --qat (1e-3). Both are then judged in the
same deployed types, with the same fallbacks for rows that are no whole number of blocks.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile


def documents(text):
    return [d for d in re.split(r"(?:^|\n)<\|endoftext\|>(?:\n|$)", text) if d]


def run(lathe, *arguments):
    done = subprocess.run([lathe, *arguments, "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lathe {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--model", default="../shared/data/models/stories260K/hf")
    parser.add_argument("--data", default="../shared/data/text/tinystories-1700.txt")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--type", default="q4_0")
    o = parser.parse_args()
    with open(o.data, encoding="utf-8") as f:
        docs = documents(f.read())
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", [d for i, d in enumerate(docs) if i % 10]), ("valid", docs[::10])):
            with open(os.path.join(folder, f"{name}.txt"), "w", encoding="utf-8") as f:
                f.write("\n<|endoftext|>\n".join(part))
        train, valid, out = (os.path.join(folder, n) for n in ("train.txt", "valid.txt", "out"))

        def trained(seed, rate, *options):
            run(o.lathe, "train", "--model", o.model, "--data", train, "--valid-data", valid, "--steps", str(o.steps),
                "--seed", str(seed), "--learning-rate", rate, "--resume", "never", "--out", out, *options)
            return (run(o.lathe, "eval", "--model", out, "--data", valid)["perplexity"],
                    run(o.lathe, "eval", "--model", out, "--data", valid, "--qat", o.type)["perplexity"])

        start = run(o.lathe, "eval", "--model", o.model, "--data", valid)["perplexity"]
        rounded = run(o.lathe, "eval", "--model", o.model, "--data", valid, "--qat", o.type)["perplexity"]
        print(f"{len(docs[::10])} documents held back; as it is {start:.4f}, rounded to {o.type} {rounded:.4f}")
        print("seed   float   rounded afterwards   trained on the grid")
        for seed in range(o.seeds):
            control = min((trained(seed, rate) for rate in ("3e-4", "1e-3")), key=lambda pair: pair[1])
            qat = trained(seed, "1e-3", "--qat", o.type)
            print(f"{seed:4} {control[0]:8.4f} {control[1]:16.4f} {qat[1]:20.4f}", flush=True)


if __name__ == "__main__":
    main()
