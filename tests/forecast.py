#!/usr/bin/env python3
"""The memory forecast against the measured peak, on ten configurations: within 10 %.

Runs the program in $LATHE (or the first argument), each configuration in a process of its own. Skipped for a sanitized
program, whose shadow memory nobody forecasts.
"""
import json
import os
import subprocess
import sys
import tempfile

CONFIGS = [
    ("clipped", ["--init", "llama:layers=3,dim=128,hidden=352,heads=4"], ["--batch-size", "16"]),
    ("fused updates", ["--init", "llama:layers=2,dim=128,hidden=256,heads=4"],
     ["--batch-size", "16", "--max-grad-norm", "0"]),
    ("accumulation", ["--init", "llama:layers=4,dim=128,hidden=352,heads=8,kv_heads=4"],
     ["--batch-size", "8", "--grad-accumulation-steps", "2"]),
    ("checkpointed", ["--init", "llama:layers=6,dim=128,hidden=352,heads=8"],
     ["--batch-size", "16", "--checkpoint-activations"]),
    ("q4_0", ["--init", "llama:layers=4,dim=256,hidden=768,heads=8,kv_heads=4"],
     ["--batch-size", "8", "--qat", "q4_0"]),
    ("sgd, long rows", ["--init", "llama:layers=4,dim=128,hidden=352,heads=8"],
     ["--batch-size", "4", "--max-seq-length", "512", "--optimizer", "sgd", "--steps", "12"]),  # until four are long
    ("8-bit states, bf16 kept", ["--init", "llama:layers=3,dim=128,hidden=352,heads=4"],
     ["--batch-size", "16", "--optimizer", "adamw_8bit", "--store-activations", "bf16"]),
    ("bf16 products, averages", ["--init", "llama:layers=2,dim=128,hidden=352,heads=4"],
     ["--batch-size", "8", "--compute", "bf16", "--ema-decay", "0.99"]),
    ("8-bit, checkpointed, fused", ["--init", "llama:layers=3,dim=128,hidden=352,heads=4"],
     ["--batch-size", "16", "--optimizer", "adamw_8bit", "--checkpoint-activations", "--max-grad-norm", "0"]),
    ("lstm", ["--init", "lstm:dim=64,hidden=128,layers=2"], ["--batch-size", "16"]),
]


def sanitized(path):
    with open(path, "rb") as f:
        return b"__asan_init" in f.read()


def main():
    lathe = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LATHE", "")
    if not os.path.exists(lathe):
        print("SKIPPED: no program; give its path or set LATHE")
        return 0
    if sanitized(lathe):
        print("SKIPPED: the program is sanitized")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text.txt")
        with open(text, "w") as f:
            for i in range(400):
                f.write(f"Line {i} of a text that says little, " * (4 + i % 9) + "\n<|endoftext|>\n")
        for name, init, options in CONFIGS:
            command = [lathe, "train", *init, "--data", text, "--steps", "3", "--resume", "never", "--quiet", "--json",
                       "--out", os.path.join(folder, "out"), *([] if "--max-seq-length" in options else
                                                                ["--max-seq-length", "256"]), *options]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                print(f"{name}: exit {run.returncode}: {run.stderr.strip()}")
                failed += 1
                continue
            result = json.loads(run.stdout)
            forecast, peak = result["forecast"]["total"], result["peak_rss_bytes"]
            ratio = forecast / peak
            ok = abs(ratio - 1) <= 0.10
            failed += not ok
            print(f"{name:16} forecast {forecast / 1e6:8.1f} MB  measured {peak / 1e6:8.1f} MB  ratio {ratio:.3f}"
                  f"{'' if ok else '  FAIL'}")
    print(f"{len(CONFIGS)} configurations, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
