#!/usr/bin/env python3
"""Kills trainings at random moments and resumes them: the model must have the bits of a run that nobody disturbed.

First kill -9 wherever it hits (starting, computing, saving, writing the model), then SIGTERM and SIGINT, which must save
and exit with 143 and 130. No part of ctest: it takes as long as it is asked to. The seed is printed; with it the delays
repeat, though not the exact instruction."""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TIMED = ("seconds", "tokens_per_second", "rss_bytes")
WORDS = "the a cat dog sat ran on mat red hill and saw then sun moon small old tree".split()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lathe", default=os.environ.get("LATHE", "build/release/lathe"), help="the program")
    parser.add_argument("--kills", type=int, default=20, help="how often to kill -9")
    parser.add_argument("--model", help="a model directory; else a new tiny one")
    parser.add_argument("--data", help="a text; else a made one")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--qat", help="a type, to train on a grid")
    return parser.parse_args()


def make_text(path):
    rng = random.Random(1)
    with open(path, "w") as file:
        for _ in range(200):
            file.write(" ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 60))) + ".\n<|endoftext|>\n")


class Runs:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.data = options.data or os.path.join(directory, "text.txt")
        if not options.data:
            make_text(self.data)

    def start(self, out):
        o = self.options
        model = ["--model", o.model] if o.model else ["--init", "llama:layers=2,dim=64,hidden=128,heads=4"]
        command = [o.lathe, "train", *model, "--data", self.data, "--out", os.path.join(self.directory, out), "--steps",
                   str(o.steps), "--batch-size", "8", "--max-seq-length", "64", "--save-every", "2", "--eval-every", "7",
                   "--learning-rate", "3e-3", "--resume", "auto", "--quiet"]
        if o.qat:
            command += ["--qat", o.qat]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, out):
        process = self.start(out)
        message = process.communicate()[1]
        if process.returncode != 0:
            sys.exit("%s: exit code %d: %s" % (out, process.returncode, message))

    def digest(self, out):
        names = ["model.safetensors"] + (["codes.safetensors"] if self.options.qat else [])
        h = hashlib.sha256()
        for name in names:
            with open(os.path.join(self.directory, out, name), "rb") as file:
                h.update(file.read())
        return h.hexdigest()

    def metrics(self, out):
        lines = {}
        with open(os.path.join(self.directory, out, "metrics.jsonl")) as file:
            for text in file:
                line = {key: value for key, value in json.loads(text).items() if key not in TIMED}
                if line["step"] in lines:
                    sys.exit("%s: step %d is in metrics.jsonl twice" % (out, line["step"]))
                lines[line["step"]] = line
        return lines

    def compare(self, out, wanted, lines):
        """A kill between a checkpoint and its step's line loses that line; all others must be the same."""
        if self.digest(out) != wanted:
            sys.exit("%s: the resumed model differs from the undisturbed one" % out)
        for step, line in self.metrics(out).items():
            if line != lines[step]:
                sys.exit("%s: step %d: %s, undisturbed %s" % (out, step, line, lines[step]))
        left = [n for n in os.listdir(os.path.join(self.directory, out, "checkpoints")) if n.endswith(".tmp")]
        if left:
            sys.exit("%s: %s is left behind" % (out, left))

    def forget(self, out):
        shutil.rmtree(os.path.join(self.directory, out), ignore_errors=True)


def kill_often(runs, rng, duration, wanted, lines):
    """Returns how many resumed runs came to their end."""
    kills = ends = 0
    while kills < runs.options.kills:
        process = runs.start("killed")
        try:
            process.communicate(timeout=rng.random() * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        if process.returncode != 0:
            sys.exit("a resumed run failed with exit code %d" % process.returncode)
        runs.compare("killed", wanted, lines)
        runs.forget("killed")
        ends += 1
    runs.finish("killed")
    runs.compare("killed", wanted, lines)
    return ends + 1


def stop_politely(runs, rng, duration, number, wanted, lines):
    out, code = "stopped", 128 + number
    metrics = os.path.join(runs.directory, out, "metrics.jsonl")
    runs.forget(out)
    process = runs.start(out)
    while process.poll() is None and not (os.path.exists(metrics) and os.path.getsize(metrics)):
        time.sleep(0.005)
    time.sleep(rng.random() * duration / 4)
    process.send_signal(number)
    process.communicate()
    if process.returncode != code:
        sys.exit("%s gave exit code %d, not %d" % (signal.Signals(number).name, process.returncode, code))
    runs.finish(out)
    runs.compare(out, wanted, lines)


def main():
    options = arguments()
    rng = random.Random(options.seed)
    print("seed %d" % options.seed, flush=True)
    directory = tempfile.mkdtemp(prefix="lathe-kill-")
    runs = Runs(options, directory)
    begin = time.time()
    runs.finish("whole")
    duration = time.time() - begin
    wanted, lines = runs.digest("whole"), runs.metrics("whole")
    if sorted(lines) != list(range(1, options.steps + 1)):
        sys.exit("whole: metrics.jsonl has %d steps" % len(lines))
    ends = kill_often(runs, rng, duration, wanted, lines)
    for number in (signal.SIGTERM, signal.SIGINT):
        stop_politely(runs, rng, duration, number, wanted, lines)
    shutil.rmtree(directory)
    print("killed %d times, %d runs came to their end, SIGTERM and SIGINT: the same bits each time (a run: %.1f s)"
          % (options.kills, ends, duration))


if __name__ == "__main__":
    main()
