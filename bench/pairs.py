#!/usr/bin/env python3
"""Runs lathe and a peer in turn and prints medians and the median ratio of pairs (see compare.sh)."""
import argparse
import json
import shlex
import statistics
import subprocess
import sys

CASES = {  # shape, step, batch, sequence, timed steps of lathe and of the peer
    "tiny-full": ("tiny", "full", 8, 512, 20, 4),
    "smollm2-full": ("smollm2", "full", 4, 256, 3, 3),
    "tiny-qat": ("tiny", "qat", 8, 512, 20, 4),
    "smollm2-qat": ("smollm2", "qat", 4, 256, 3, 3),
}


def measure(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{shlex.join(command)}: exit {run.returncode}\n{run.stderr}")
    return json.JSONDecoder().raw_decode(run.stdout, run.stdout.index("{"))[0]


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown CPU"


def spread(values):
    return f"{statistics.median(values):10.1f} ({min(values):.0f} to {max(values):.0f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lathe", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("cases", nargs="+", choices=CASES)
    o = parser.parse_args()
    print(f"{cpu_name()}, {o.threads} threads, {o.pairs} pairs in turn; tokens/s: median (lowest to highest)")
    for case in o.cases:
        shape, step, batch, seq, ours, theirs = CASES[case]
        common = ["--shape", shape, "--batch", str(batch), "--seq", str(seq), "--threads", str(o.threads)]
        a, b = [], []
        for _ in range(o.pairs):
            a.append(measure([o.lathe, "bench", "--step", step, *common, "--steps", str(ours), "--json"]))
            b.append(measure([*shlex.split(o.peer), step, *common, "--steps", str(theirs)]))
        speed = [[r["tokens_per_second"] for r in side] for side in (a, b)]
        memory = [[r["peak_rss_bytes"] / 1e6 for r in side] for side in (a, b)]
        ratios = [x / y for x, y in zip(*speed)]
        print(f"{case}: lathe {spread(speed[0])}  peer {spread(speed[1])}  "
              f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"{'':{len(case)}}  peak MB: lathe {statistics.median(memory[0]):.0f}, peer {statistics.median(memory[1]):.0f}")


if __name__ == "__main__":
    main()
