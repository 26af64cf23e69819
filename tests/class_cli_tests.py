#!/usr/bin/env python3
"""Tests of the lathe program on data with classes: images and other numbers, labelled texts; and of the options of
training that came with them.

usage: class_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The digits are those of examples/data. The last line holds the totals; the exit code is 1
when a check failed."""
import gzip
import json
import math
import os
import random
import re
import shutil
import struct
import sys

from cli_tests import EVAL_KEYS, run_all

DIGITS = os.path.abspath("examples/data/digits.csv.gz")
BERT = os.path.abspath("tests/golden/families/bert")
CNN = "cnn:height=8,width=8,filters=8"


def put_idx(path, shape, values, pack):
    head = struct.pack(">BBBB", 0, 0, 8, len(shape)) + b"".join(struct.pack(">I", n) for n in shape)
    with (gzip.open if pack else open)(path, "wb") as file:
        file.write(head + bytes(values))


def make_files(t):
    draw = random.Random(3)
    os.makedirs(t.path("images"))
    for part, n in (("train", 120), ("t10k", 40)):  # bars that stand or lie, in noise
        pixels, labels = [], []
        for i in range(n):
            at, kind = draw.randrange(6), i % 2
            labels.append(kind)
            pixels += [min(255, draw.randrange(60) + 190 * ((x if kind else y) == at)) for y in range(6) for x in range(6)]
        put_idx(t.path("images/%s-images-idx3-ubyte.gz" % part), (n, 6, 6), pixels, True)
        put_idx(t.path("images/%s-labels-idx1-ubyte" % part + ".gz"), (n,), labels, True)
    rows = []
    for i in range(200):
        text = "".join(draw.choice("abcdefgh ") for _ in range(draw.randrange(4, 24)))
        at = draw.randrange(len(text))
        rows.append((text[:at] + "xy"[i % 2] + text[at:], ("ex", "why, z")[i % 2]))
    t.write("letters.csv", "text,category\n" + "".join('"%s","%s"\n' % row for row in rows))
    t.write("letters.jsonl", "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows))
    t.write("letters.txt", "\n<|endoftext|>\n".join(row[0] for row in rows))
    for part in ("train", "test"):
        os.makedirs(t.path("parts"), exist_ok=True)
        os.makedirs(t.path("bars"), exist_ok=True)
        t.write("parts/%s.csv" % part, "text,category\n" + "".join('"%s","%s"\n' % row for row in
                                                                    (rows[:150] if part == "train" else rows[150:])))
        for kind in ("images-idx3", "labels-idx1"):
            shutil.copy(t.path("images/%s-%s-ubyte.gz" % ("train" if part == "train" else "t10k", kind)),
                        t.path("bars/%s-%s-ubyte.gz" % (part, kind)))
    t.write("bad.csv", "text,label\na,b\n\"c,d\n")


def metrics(t, run):
    with open(t.path(run + "/metrics.jsonl")) as file:
        return [json.loads(line) for line in file]


def test_digits(t):
    words = ["train", "--init", CNN, "--data", DIGITS, "--out", "digits", "--epochs", "4", "--batch-size", "32",
             "--learning-rate", "4e-3", "--eval-every", "100", "--seed", "7"]
    got = t.answer("digits", words)
    t.check("digits: accuracy", got["accuracy"] > 0.9 and "perplexity" not in got, got)
    t.check("digits: after", got["after"]["accuracy"] == got["accuracy"] and
            math.isclose(got["after"]["nll"], got["valid_loss"]), got)
    lines = metrics(t, "digits")
    seen = [line["accuracy"] for line in lines if "accuracy" in line]
    t.check("digits: metrics have the accuracy", seen and seen[-1] == float("%.9g" % got["accuracy"]), lines[-1])
    with open(t.path("digits/run.json")) as file:
        run = json.load(file)
    t.check("digits: run.json", run["family"] == "cnn" and math.isclose(run["accuracy"], got["accuracy"]) and
            run["compute"] == "f32" and run["optimizer"] == "adamw", run)
    base = ["eval", "--model", "digits", "--data", DIGITS]
    part = t.answer("digits: the validation part again", base + ["--split", "valid"])
    t.check("digits: the same rows", part["items"] == 180 and math.isclose(part["accuracy"], got["accuracy"]) and
            math.isclose(part["nll"], got["valid_loss"], rel_tol=1e-6), part)
    whole = t.answer("digits: all", base + ["--gate", "accuracy>=0.9"])
    t.check("digits: keys", EVAL_KEYS | {"accuracy", "items"} <= set(whole) and whole["items"] == 1797, whole)
    t.expect("digits: a gate that fails", base + ["--gate", "accuracy>=0.9999", "--json"], 1)
    out = t.expect("digits: for people", base, 0)
    t.check("digits: accuracy is shown", re.search(r"accuracy +0\.9", out), out)
    t.expect("digits: inspect", ["inspect", "digits", "--summary"], 0)
    code, out, err = t.run(*words, "--resume", "never")
    t.check("digits: the screen", code == 0 and "10 classes" in err and re.search(r"val [\d.]+  acc 9\d\.\d %", err) and
            "rows/s" in err and "sample      <64 numbers> class" in err, err)
    t.check("digits: the table", re.search(r"^validation +accuracy +nll", out, re.M), out)
    t.expect("digits: another model", ["eval", "--model", "digits", "--data", "images"], 2, "cnn")


def test_images(t):
    words = ["train", "--data", "images", "--epochs", "8", "--batch-size", "16", "--learning-rate", "5e-3"]
    for name, init, more in (("mlp", "mlp:hidden=32", []), ("depthwise", "cnn:filters=8,stages=2,depthwise=1", []),
                             ("gru", "gru:hidden=16", ["--epochs", "40"])):
        got = t.answer("images: " + name, words + ["--init", init, "--out", "images-" + name] + more)
        t.check("images: %s learns" % name, got["loss"] < 0.8 * got["first_loss"], got)
    got = t.answer("images: the test part", ["eval", "--model", "images-mlp", "--data", "images"])
    t.check("images: the test part", got["items"] == 40 and got["accuracy"] > 0.7, got)
    got = t.answer("images: a part called test", ["eval", "--model", "images-mlp", "--data", "bars"])
    t.check("images: a part called test", got["items"] == 40 and got["accuracy"] > 0.7, got)
    got = t.answer("images: nothing held back", ["train", "--init", "mlp:hidden=0", "--data", "bars", "--valid-fraction",
                                                 "0", "--steps", "2", "--out", "linear"])
    t.check("images: nothing held back", got["valid_loss"] is None and got["steps"] == 2, got)
    got = t.answer("images: one file", ["eval", "--model", "images-mlp", "--data", "images/train-images-idx3-ubyte.gz"])
    t.check("images: one file", got["items"] == 120, got)


def test_texts(t):
    base = ["--steps", "90", "--batch-size", "16", "--learning-rate", "1e-2"]
    for name in ("letters.csv", "letters.jsonl"):
        got = t.answer(name, ["train", "--init", "lstm:dim=16,hidden=32", "--data", name, "--out", name + "-run"] + base)
        t.check(name + ": learns", got["accuracy"] > 0.8, got)
        part = t.answer(name + ": eval", ["eval", "--model", name + "-run", "--data", name, "--split", "valid"])
        t.check(name + ": the same rows, by name", part["items"] == 20 and part["accuracy"] == got["accuracy"] and
                math.isclose(part["nll"], got["valid_loss"], rel_tol=1e-5), part)
    t.answer("parts", ["train", "--init", "lstm:dim=16,hidden=32", "--data", "parts", "--out", "parts-run"] + base)
    for split, items in (("test", 50), ("valid", 15), ("train", 135)):
        got = t.answer("parts: " + split, ["eval", "--model", "parts-run", "--data", "parts", "--split", split])
        t.check("parts: " + split, got["items"] == items and got["accuracy"] > 0.8, got)
    got = t.answer("parts: test first", ["eval", "--model", "parts-run", "--data", "parts"])
    t.check("parts: test first", got["items"] == 50, got)
    got = t.answer("texts: go on", ["train", "--model", "letters.csv-run", "--data", "letters.csv", "--out", "on", "--steps",
                                    "3"])
    t.check("texts: before and after", got["before"]["accuracy"] > 0.8 and "after" in got, got)
    got = t.answer("bert", ["train", "--init", "bert:layers=1,dim=32,hidden=64,heads=2,context=64", "--data",
                            "letters.csv", "--out", "bert", "--steps", "150", "--batch-size", "16", "--learning-rate", "3e-3"])
    t.check("bert: learns", got["accuracy"] > 0.8, got)
    rows = [("abc cab"[i % 4:], ("first", "second", "third")[i % 3]) for i in range(12)]
    t.write("abc.csv", "text,label\n" + "".join("%s,%s\n" % row for row in rows))
    t.answer("bert: new names", ["train", "--model", BERT, "--data", "abc.csv", "--out", "named", "--steps", "2"])
    got = t.answer("bert: new names are kept", ["eval", "--model", "named", "--data", "abc.csv"])
    t.check("bert: new names are kept", got["items"] == 12, got)
    got = t.answer("a language model of the same letters", ["train", "--init", "lstm:dim=16,hidden=32", "--data",
                                                            "letters.txt", "--out", "lm", "--steps", "20"])
    t.check("a language model: perplexity", got["perplexity"] > 1 and "accuracy" not in got, got)
    got = t.answer("a language model beyond its context", ["generate", "--model", "lm", "--prompt", "a", "--max-tokens",
                                                           "600", "--temperature", "1"])["generations"][0]
    t.check("a language model beyond its context", got["reason"] == "end" or got["tokens"] == 600, got)


def test_options(t):
    words = ["train", "--init", "cnn:height=8,width=8,filters=32,stages=2", "--data", DIGITS, "--steps", "12",
             "--batch-size", "16", "--eval-every", "4"]
    plain = t.answer("options: none", words + ["--out", "plain"])
    for name, more in (("adamw_8bit", ["--optimizer", "adamw_8bit"]), ("lion", ["--optimizer", "lion"]),
                       ("muon", ["--optimizer", "muon"]), ("layers", ["--layer-decay", "0.5"]),
                       ("ema", ["--ema-decay", "0.8"]), ("smooth", ["--label-smoothing", "0.2"]),
                       ("bf16", ["--compute", "bf16"]), ("auto", ["--compute", "auto"]),
                       ("store", ["--store-activations", "bf16"]),
                       ("frozen", ["--freeze", "stage.*", "--frozen-type", "bf16"])):
        got = t.answer("options: " + name, words + more + ["--out", "opt-" + name, "--compare", "plain"])
        t.check("options: %s ends well" % name, got["steps"] == 12 and math.isfinite(got["loss"]), got)
        if name in ("lion", "muon", "layers", "ema", "smooth", "frozen"):
            t.check("options: %s does something" % name, got["valid_loss"] != plain["valid_loss"], got)
    wide = ["train", "--init", "mlp:hidden=256/256", "--data", DIGITS, "--steps", "8", "--batch-size", "128"]
    losses = [t.answer("compute: " + c, wide + ["--out", "wide-" + c, "--compute", c])["valid_loss"] for c in ("f32", "bf16")]
    t.check("compute: bf16 is near, and not the same", losses[0] != losses[1] and
            math.isclose(losses[0], losses[1], rel_tol=0.02), losses)
    with open(t.path("opt-lion/report.html")) as file:
        t.check("compare: the other run is drawn", "plain" in file.read())
    t.expect("resume: another type", words + ["--out", "opt-bf16", "--compute", "f32", "--steps", "12"], 2,
             "compute was 'bf16' and is 'f32' now")
    for flag, value, says in (("--compute", "f16", "auto|f32|bf16"), ("--frozen-type", "q8", "f32|bf16"),
                              ("--label-smoothing", "1", "out of range"), ("--ema-decay", "2", "out of range"),
                              ("--layer-decay", "0", "out of range")):
        t.expect("%s %s" % (flag, value), ["train", flag, value], 2, re.escape(says))


def test_refusals(t):
    t.expect("a quote", ["train", "--init", "lstm:", "--data", "bad.csv", "--out", "no"], 3, r"bad.csv:3: a quote is opened")
    t.expect("a tokenizer for numbers", ["train", "--init", "cnn:", "--tokenizer", BERT, "--data", "images", "--out", "no"], 2,
             "--tokenizer is for texts")
    t.expect("packed classes", ["train", "--init", "lstm:", "--data", "letters.csv", "--pack", "--out", "no"], 2,
             "--pack is for language models")
    t.expect("packed and recurrent", ["train", "--init", "lstm:", "--data", "letters.txt", "--pack", "--out", "no"], 2,
             "they cannot be packed")
    words = ["train", "--init", CNN, "--data", DIGITS, "--out", "no"]
    t.expect("frozen type of nothing", words + ["--frozen-type", "bf16"], 2, "no matrix is frozen")
    t.expect("frozen type and codes", words + ["--frozen-type", "bf16", "--freeze", "stage.*", "--qat", "q8_0"], 2,
             "exclude each other")
    t.expect("no run to compare with", words + ["--compare", "nowhere"], 2, "nowhere/metrics.jsonl does not exist")
    t.expect("a range test of a checkpoint", words + ["--lr-find", "--resume", "digits/checkpoints"], 2,
             "--lr-find begins with")
    t.expect("threads that do not grow", ["bench", "--threads", "2,1"], 2, "growing")
    t.expect("a decoder on images", ["train", "--init", "llama:layers=1,dim=16,hidden=16,heads=2", "--data",
                                     "images", "--out", "no"], 3)
    t.expect("an image of no known size", ["train", "--init", "cnn:", "--data", DIGITS, "--out", "no"], 2, "height")


def main():
    tests = (test_digits, test_images, test_texts, test_options, test_refusals)
    return run_all("classes", tests, make_files)


if __name__ == "__main__":
    sys.exit(main())
