#!/usr/bin/env python3
"""What deployed forms of a model take and lose beside f16: bytes, speed of reading and of writing text, perplexity.

    bench/deployed.py --model DIR --data TEXT [--lathe build/release/lathe] [--rounds 5] [--tokens 128] [--out DIR]
                      [--trained FILE.gguf]

Each form is made by `lathe convert` or `lathe quantize` without training; --trained adds a file that training on a grid
has exported. Speeds: medians of rounds in which all forms take turns, reading (`lathe eval` of --data) with the
deployed runtime's activations, writing (`lathe generate`, one text, greedy).
"""
import argparse
import os
import statistics

from program import run

RUNTIME = ["--qat-activations", "runtime"]
FORMS = [  # name, file, what makes it, how it is evaluated
    ("f16", "f16.gguf", ["convert", "{model}", "{out}", "--type", "f16"], []),
    ("q8_0", "q8_0.gguf", ["quantize", "--model", "{model}", "--type", "mix:q8_0", "--out", "{out}"], RUNTIME),
    ("w8a8", "w8a8", ["quantize", "--model", "{model}", "--format", "compressed-tensors", "--out", "{out}"],
     ["--qat", "w8a8"]),
    ("q4_0", "q4_0.gguf", ["quantize", "--model", "{model}", "--type", "mix:q4_0", "--out", "{out}"], RUNTIME),
    ("q4_0, imatrix", "q4_0i.gguf", ["quantize", "--model", "{model}", "--type", "mix:q4_0", "--method", "imatrix", "--data",
                                     "{calibration}", "--out", "{out}"], RUNTIME),
    ("q4_0, gptq", "q4_0g.gguf", ["quantize", "--model", "{model}", "--type", "mix:q4_0", "--method", "gptq", "--data",
                                  "{calibration}", "--out", "{out}"], RUNTIME),
]


def size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path) if f.endswith(".safetensors"))


class Form:
    def __init__(self, name, path, options):
        self.name, self.path, self.options, self.reading, self.writing = name, path, options, [], []

    def read(self, o):
        report = run(o.lathe, "eval", "--model", self.path, "--data", o.data, "--split", "all", "--resamples", "0",
                     *self.options)
        self.perplexity = report["perplexity"]
        self.reading.append(report["tokens_per_second"])

    def write(self, o):
        report = run(o.lathe, "generate", "--model", self.path, "--prompt", "The history of the river begins",
                     "--max-tokens", str(o.tokens))
        self.writing.append(report["tokens_per_second"])


def make(o):
    forms = []
    for name, path, command, options in FORMS:
        out = os.path.join(o.out, path)
        words = {"model": o.model, "out": out, "calibration": o.calibration or o.data}
        if o.calibration is None and "{calibration}" in command:
            continue
        if not os.path.exists(out):
            run(o.lathe, *(word.format(**words) for word in command))
        forms.append(Form(name, out, options))
    if o.trained:
        forms.append(Form("q4_0, trained", o.trained, RUNTIME))
    return forms


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lathe", default="build/release/lathe")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--calibration", help="text for imatrix and gptq, which are left out without it")
    parser.add_argument("--trained")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--out", default="deployed")
    o = parser.parse_args()
    os.makedirs(o.out, exist_ok=True)
    forms = make(o)
    for _ in range(o.rounds):
        for form in forms:
            form.read(o)
            form.write(o)
    base = forms[0]
    for f in forms:
        ratio = [statistics.median(x / y for x, y in zip(a, b)) for a, b in ((f.reading, base.reading),
                                                                            (f.writing, base.writing))]
        print(f"| {f.name} | {size(f.path) / 1e6:.1f} MB ({size(f.path) / size(base.path):.3f}) | "
              f"{statistics.median(f.reading):,.0f} ({ratio[0]:.2f}x) | {statistics.median(f.writing):.0f} ({ratio[1]:.2f}x) | "
              f"{f.perplexity:.4f} ({100 * (f.perplexity / base.perplexity - 1):+.2f} %) |", flush=True)


if __name__ == "__main__":
    main()
