#!/usr/bin/env python3
"""What fewer bits cost in training: 8-bit moments, bf16 products and bf16 activations beside f32, same data, same order.

    bench/types_quality.py [--lathe build/release/lathe] [--model DIR] [--data TEXT] [--steps 500] [--seeds 3]

Trains on the text for so many steps of 4 documents, a tenth of which is held back; prints the validation loss of each kind
and how far it is from f32's with the same seed."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

KINDS = {
    "f32": [],
    "8-bit AdamW": ["--optimizer", "adamw_8bit"],
    "bf16 products": ["--compute", "bf16"],
    "bf16 kept": ["--store-activations", "bf16"],
    "all three": ["--optimizer", "adamw_8bit", "--compute", "bf16", "--store-activations", "bf16"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--model", default="../shared/data/models/stories260K/hf")
    parser.add_argument("--data", default="../shared/data/text/tinystories-1700.txt")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", default="1e-3")
    o = parser.parse_args()
    print("seed  " + "  ".join(f"{kind:>22}" for kind in KINDS))
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(o.seeds):
            losses = []
            for options in KINDS.values():
                command = [o.lathe, "train", "--model", o.model, "--data", o.data, "--steps", str(o.steps), "--seed", str(seed),
                           "--learning-rate", o.learning_rate, "--resume", "never", "--out", os.path.join(folder, "out"),
                           "--json", "--quiet", *options]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
                with open(os.path.join(folder, "out", "metrics.jsonl"), encoding="utf-8") as f:
                    losses.append(json.loads(f.readlines()[-1])["valid_loss"])
            print(f"{seed:4}  " + "  ".join(f"{loss:12.5f} ({100 * (loss / losses[0] - 1):+6.3f}%)" for loss in losses),
                  flush=True)


if __name__ == "__main__":
    main()
