#!/usr/bin/env python3
"""Runs lathe and its peers in turn and prints medians and the median ratio of pairs (see compare.sh).

A round is one run of lathe and one of each peer of the case, each a process of its own; a ratio is taken against the
fastest peer of its round. `--markdown` prints rows for docs/performance.md."""
import argparse
import json
import platform
import shlex
import statistics
import subprocess
import sys

SMOLLM2 = ["--shape", "smollm2", "--batch", "4", "--seq", "256"]
TINY = ["--shape", "tiny", "--batch", "8", "--seq", "512"]
QAT = ["--step", "qat", "--qat-type", "q4_0", "--qat-activations", "runtime", "--steps", "3"]
CASES = {  # what both get, what lathe gets, modes of the peer
    "tiny-full": (TINY, ["--step", "full", "--compute", "f32", "--steps", "20"], ["full"]),
    "smollm2-full": (SMOLLM2, ["--step", "full", "--compute", "f32", "--steps", "3"], ["full", "full-compile"]),
    "smollm2-bf16": (SMOLLM2, ["--step", "full", "--compute", "bf16", "--steps", "3"], ["full-bf16-compile"]),
    "tiny-qat": (TINY, ["--step", "qat", "--steps", "20"], ["qat"]),
    "smollm2-qat": (SMOLLM2, [*QAT, "--compute", "f32"], ["qat"]),
    "smollm2-qat-bf16": (SMOLLM2, [*QAT, "--compute", "bf16"], ["qat-bf16", "qat-bf16-compile"]),
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
    return platform.machine()


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def one_round(o, case):
    common, ours, modes = CASES[case]
    threads = ["--threads", str(o.threads)]
    rounds = {"lathe": measure([o.lathe, "bench", *common, *ours, *threads, "--json"])}
    for mode in modes:
        rounds[mode] = measure([*shlex.split(o.peer), mode, *common, "--steps", "4", *threads])
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lathe", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("cases", nargs="+", choices=CASES)
    o = parser.parse_args()
    print(f"{cpu_name()}, {o.threads} threads, {o.pairs} rounds in turn; tokens/s: median (lowest to highest)")
    for case in o.cases:
        rounds = [one_round(o, case) for _ in range(o.pairs)]
        sides = list(rounds[0])
        speed = {s: [r[s]["tokens_per_second"] for r in rounds] for s in sides}
        memory = {s: statistics.median(r[s]["peak_rss_bytes"] / 1e6 for r in rounds) for s in sides}
        ratios = [r["lathe"]["tokens_per_second"] / max(r[s]["tokens_per_second"] for s in sides[1:]) for r in rounds]
        if o.markdown:
            peers = "; ".join(f"`{s}` {spread(speed[s])}" for s in sides[1:])
            print(f"| {case} | {spread(speed['lathe'])} | {peers} | {spread(ratios, 2)} | "
                  f"{' / '.join(f'{memory[s]:,.0f}' for s in sides)} MB |")
            continue
        for s in sides:
            print(f"{case:14} {s:18} {spread(speed[s]):36} {memory[s]:8.0f} MB")
        print(f"{case:14} {'ratio':18} {spread(ratios, 2)}", flush=True)


if __name__ == "__main__":
    main()
