#!/usr/bin/env python3
"""Whether the time of a training step grows as it should: in a straight line with the batch, the number of layers and
the square of the width.

usage: bench/scaling.py [--lathe build/release/lathe] [--threads N] [--repeat 3]

Each line is a least-squares fit over 4 sizes, of the median step with the attention's share taken off (it is no product
of weights); the deviation is that of the size that lies farthest from the line."""
import argparse
import json
import statistics
import subprocess

BASE = {"vocab": 512, "dim": 384, "hidden": 1152, "layers": 8, "heads": 6, "kv_heads": 6}


def widths():
    for dim in (256, 512, 768, 1024):
        yield dim * dim, dict(BASE, dim=dim, hidden=3 * dim, heads=dim // 64, kv_heads=dim // 64, layers=4), 4


LINES = {
    "batch": [(b, BASE, b) for b in (2, 4, 8, 16)],
    "layers": [(n, dict(BASE, layers=n), 4) for n in (4, 8, 16, 32)],
    "width squared": list(widths()),
}


def seconds(o, shape, batch):
    text = ",".join(f"{k}={v}" for k, v in shape.items())
    command = [o.lathe, "bench", "--shape", text, "--batch", str(batch), "--seq", "256", "--steps", "5", "--json",
               "--quiet", "--threads", str(o.threads)]
    times = []
    for _ in range(o.repeat):
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        attention = sum(share for op, share in answer["times"].items() if op.startswith("attention"))
        times.append(answer["step_seconds"] * (1 - attention))
    return statistics.median(times)


def fit(points):
    """a + b x by least squares of relative deviations, and the largest of these."""
    weights = [1 / (y * y) for _, y in points]
    total = sum(weights)
    mx = sum(w * x for w, (x, _) in zip(weights, points)) / total
    my = sum(w * y for w, (_, y) in zip(weights, points)) / total
    b = (sum(w * (x - mx) * (y - my) for w, (x, y) in zip(weights, points)) /
         sum(w * (x - mx) ** 2 for w, (x, _) in zip(weights, points)))
    a = my - b * mx
    return a, b, max(abs(a + b * x - y) / y for x, y in points)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    o = parser.parse_args()
    for name, sizes in LINES.items():
        points = [(x, seconds(o, shape, batch)) for x, shape, batch in sizes]
        a, b, off = fit(points)
        print(f"{name:14} " + "  ".join(f"{x}: {y:.4f} s" for x, y in points) +
              f"   line {a:.4f} + {b:.3g} x, farthest {100 * off:.1f} %", flush=True)


if __name__ == "__main__":
    main()
