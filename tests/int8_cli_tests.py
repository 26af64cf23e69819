#!/usr/bin/env python3
"""Tests of the lathe program on static activations and networks in integers: train --qat-activations int8_static with
its observers, --qat-fold-norms, eval --int8, convert --to int8.

usage: int8_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The digits are those of examples/data. The last line holds the totals; the exit code is 1
when a check failed."""
import glob
import json
import os
import random
import shutil
import sys

from cli_tests import read_safetensors, run_all

DIGITS = os.path.abspath("examples/data/digits.csv.gz")
STATIC = ["--qat", "int8:channel", "--qat-activations", "int8_static"]
SPLIT = ["--data", DIGITS, "--split", "valid"]


def make_files(t):
    draw = random.Random(3)
    rows = []
    for i in range(200):
        words = [draw.choice(("sun", "joy") if i % 2 else ("rain", "mud")) for _ in range(draw.randrange(1, 5))]
        rows.append('"%s","%s"\n' % (" ".join(words), "good" if i % 2 else "bad"))
    t.write("texts.csv", "text,category\n" + "".join(rows))
    t.write("text.txt", "\n<|endoftext|>\n".join("the cat sat on mat %d" % (i % 7) for i in range(60)))


def train(*words):
    return ["train", "--batch-size", "32", "--learning-rate", "5e-3", *words]


def near(sides, key, tolerance):
    return abs(sides["integers"][key] - sides["simulated"][key]) <= tolerance


def compared(t, what, words, tolerance=0.01):
    """Integers are what was simulated, in fewer bytes; each side says how fast it was."""
    report = t.answer(what, ["eval", "--int8", *words])
    sides = report.get("int8", {})
    t.check(what + ": as simulated", sides and near(sides, "nll", tolerance), report)
    t.check(what + ": bytes", sides and sides["integers"]["bytes"] < 0.6 * sides["float"]["bytes"], report)
    t.check(what + ": speeds", sides and all(sides[k]["rows_per_second"] > 0 for k in ("float", "integers")), report)
    return report


def test_cnn(t):
    t.expect("cnn in float", train("--init", "cnn:height=8,width=8,filters=4,stages=2", "--data", DIGITS, "--out", "f",
                                   "--epochs", "3"), 0)
    t.expect("not static", ["eval", "--model", "f", "--int8", *SPLIT], 2, "--qat-activations int8_static",
             "--qat-fold-norms")
    words = train("--model", "f", "--data", DIGITS, "--epochs", "1", *STATIC)
    t.expect("not folded", words + ["--out", "unfolded"], 0)
    t.expect("integers of it", ["eval", "--model", "unfolded", "--int8", *SPLIT], 2, "'stem.bn' is not folded")
    t.expect("folded", words + ["--out", "q", "--qat-fold-norms", "--qat-observer", "percentile"], 0)
    with open(t.path("q/config.json")) as file:
        t.check("config.json says so", json.load(file).get("folded") is True)
    with open(t.path("f/config.json")) as file:
        t.check("and else does not", "folded" not in json.load(file))
    report = compared(t, "cnn", ["--model", "q", *SPLIT])
    t.check("accuracy", report.get("accuracy", 0) > 0.6, report)
    t.answer("gate on it", ["eval", "--model", "q", "--int8", *SPLIT, "--gate", "accuracy>=1.1"], 1)
    newest = sorted(glob.glob(t.path("q/checkpoints/ckpt-*")))[-1]
    again = compared(t, "a checkpoint", ["--model", newest, *SPLIT])
    t.check("the same integers", again.get("nll") == report.get("nll"), again)
    out = t.expect("convert", ["convert", "q", "q8.safetensors", "--to", "int8"], 0)
    t.check("convert: proof", "read back: equal" in out, out)
    with open(t.path("README.md")) as file:
        card = file.read()
    t.check("convert: a card", "# q8.safetensors" in card and "trained model: q" in card and "read back: equal" in card and
            "activations: int8_static" in card, card)
    t.check("the file", read_safetensors(t.path("q8.safetensors"))[0]["__metadata__"]["lathe.int8"] == "cnn")
    again = compared(t, "the file", ["--model", "q", "--codes", "q8.safetensors", *SPLIT])
    t.check("the file's integers", again.get("nll") == report.get("nll"), again)
    t.expect("trained on folded", train("--model", "q", "--data", DIGITS, "--out", "more", "--steps", "2"), 0)
    t.expect("trained in float, in the same place", train("--model", "f", "--data", DIGITS, "--out", "q", "--steps", "2",
                                                          "--resume", "never"), 0)
    t.check("old scales are gone", not os.path.exists(t.path("q/quantization.safetensors")))


def test_others(t):
    t.expect("mlp", train("--init", "mlp:hidden=16", "--data", DIGITS, "--out", "m", "--epochs", "2", *STATIC), 0)
    compared(t, "mlp", ["--model", "m", *SPLIT])
    for kind in ("lstm", "gru"):
        init = kind + ":dim=12,hidden=16"
        t.expect(kind, train("--init", init, "--data", "texts.csv", "--out", kind, "--epochs", "2", *STATIC), 0)
        compared(t, kind, ["--model", kind, "--data", "texts.csv"], 0.02)
        t.expect(kind + ", a language model", train(
            "--init", init, "--data", "text.txt", "--out", kind + "-text", "--steps", "4", "--max-seq-length", "32",
            "--qat-embedding", "int8:channel", *STATIC), 0)
        compared(t, kind + ", a language model", ["--model", kind + "-text", "--data", "text.txt",
                                                  "--max-seq-length", "32"], 0.02)
        t.expect(kind + " to a file", ["convert", kind, kind + ".safetensors", "--to", "int8"], 0)
        compared(t, kind + " of a file", ["--model", kind, "--codes", kind + ".safetensors", "--data", "texts.csv"], 0.02)


def test_learned(t):
    """Scales that training learned are those of the checkpoint, of the finished run, of the integers and of their file."""
    for observer in ("lsq", "pact"):
        words = train("--init", "mlp:hidden=16", "--data", DIGITS, "--out", observer, "--epochs", "2", *STATIC,
                      "--qat-observer", observer)
        t.expect(observer, words, 0)
        report = compared(t, observer, ["--model", observer, *SPLIT])
        newest = sorted(glob.glob(t.path(observer + "/checkpoints/ckpt-*")))[-1]
        again = compared(t, observer + ", a checkpoint", ["--model", newest, *SPLIT])
        t.check(observer + ": the same integers", again.get("nll") == report.get("nll"), (again, report))
        scales = [read_safetensors(t.path(path)) for path in (observer + "/quantization.safetensors",
                                                              newest + "/state.safetensors")]
        names = [name for name in scales[0][0] if name.endswith(":act_scale")]
        t.check(observer + ": two scales and their moments", len(names) == 2 and
                all(name + ":adam.m" in scales[1][0] for name in names), sorted(scales[1][0]))
        simulated = t.answer(observer + ", simulated", ["eval", "--model", observer, *SPLIT, *STATIC])
        with open(t.path(observer + "/metrics.jsonl")) as file:
            valid = [json.loads(line).get("valid_loss") for line in file if "valid_loss" in line][-1]
        t.check(observer + ": loss of the training", abs(simulated.get("nll", 0) - valid) <= 1e-6, (simulated, valid))
        t.expect(observer + " to a file", ["convert", observer, observer + ".safetensors", "--to", "int8"], 0)
        t.expect("another than " + observer, words[:-1] + ["average"], 2, "qat_observer was '%s'" % observer)
    t.check("each learned its own", t.answer("lsq", ["eval", "--model", "lsq", "--int8", *SPLIT]).get("nll") !=
            t.answer("pact", ["eval", "--model", "pact", "--int8", *SPLIT]).get("nll"))


def test_evaluation(t):
    """Scales of a finished run are found, and are said where they are not used."""
    simulated = t.answer("as trained", ["eval", "--model", "m", *SPLIT, *STATIC])
    codes = t.answer("codes", ["eval", "--model", "m", "--codes", "m/codes.safetensors", *SPLIT])
    with open(t.path("m/metrics.jsonl")) as file:
        valid = [json.loads(line).get("valid_loss") for line in file if "valid_loss" in line][-1]
    t.check("loss of the training", abs(simulated.get("nll", 0) - valid) <= 1e-6, (simulated, valid))
    t.check("codes have their grids", abs(codes.get("nll", 0) - valid) <= 1e-6, (codes, valid))
    t.expect("codes: it is said", ["eval", "--model", "m", "--codes", "m/codes.safetensors", *SPLIT], 0, "static grids")
    t.expect("float: it is said", ["eval", "--model", "m", *SPLIT], 0, "evaluated in float", "int8_static", "--int8")
    shutil.copytree(t.path("m"), t.path("alone"))
    os.remove(t.path("alone/quantization.safetensors"))
    t.expect("no scales", ["eval", "--model", "alone", *SPLIT, *STATIC], 2, "nothing|no scales")
    t.write("alone/quantization.safetensors", "nothing")
    t.expect("broken scales", ["eval", "--model", "alone", *SPLIT, *STATIC], 3, "quantization.safetensors")
    init = ["--init", "llama:layers=1,dim=32,hidden=32,heads=2", "--data", "text.txt", "--max-seq-length", "32"]
    t.expect("a transformer", train(*init, "--out", "llama", "--steps", "3", *STATIC), 0)
    t.expect("generates with them", ["generate", "--model", "llama", *STATIC, "--prompt", "the", "--max-tokens", "4"], 0)
    t.expect("runs in no integers", ["eval", "--model", "llama", "--int8", "--data", "text.txt"], 3, "cnn, mlp, lstm, gru")


def test_words(t):
    """Words of the training that eval is not given are those of the training; rules one by one."""
    rules = ["--tensor-type", "fc1.weight=int4:channel", "--tensor-type", "fc2.weight=int4:channel"]
    t.expect("two rules", train("--init", "mlp:hidden=16", "--data", DIGITS, "--out", "rules", "--epochs", "2", *STATIC,
                                *rules), 0)
    report = compared(t, "two rules in integers", ["--model", "rules", *SPLIT])
    t.expect("two rules to a file", ["convert", "rules", "rules.safetensors", "--to", "int8"], 0)
    header = read_safetensors(t.path("rules.safetensors"))[0]
    t.check("both in 4 bits", [header["fc%d.codes" % i]["dtype"] for i in (1, 2)] == ["U8", "U8"], header)
    for words in (["--qat", "int8:channel"], ["--qat-activations", "int8_static"], rules):
        again = t.answer("some of the words: %s" % words[0], ["eval", "--model", "rules", "--int8", *SPLIT, *words])
        t.check("and it is the same: %s" % words[0], again.get("nll") == report.get("nll"), again)
    own = t.answer("a rule of one's own", ["eval", "--model", "rules", "--int8", *SPLIT, "--tensor-type",
                                           "fc1.weight=int8:channel"])
    t.check("is not the training's", own.get("nll") != report.get("nll"), own)
    t.expect("other activations", ["eval", "--model", "rules", "--int8", *SPLIT, "--qat-activations", "int8_token"], 2,
             "leave --qat-activations out")


def test_options(t):
    t.expect("observers alone", train("--init", "mlp:", "--data", DIGITS, "--out", "no", "--qat", "int8",
                                      "--qat-observer", "mse"), 2, "int8_static")
    t.expect("an observer", train("--init", "mlp:", "--data", DIGITS, "--out", "no", *STATIC, "--qat-observer", "all"), 2,
             "qat-observer")
    t.expect("folding nothing", train("--init", "cnn:height=8,width=8", "--data", DIGITS, "--out", "no", *STATIC,
                                      "--qat-fold-norms"), 2, "train in float first")
    t.expect("folding an mlp", train("--model", "m", "--data", DIGITS, "--out", "no", *STATIC, "--qat-fold-norms"), 2,
             "no batch norms")
    t.expect("another observer", train("--init", "mlp:hidden=16", "--data", DIGITS, "--out", "m", "--epochs", "2", *STATIC,
                                       "--qat-observe-rate", "0.1"), 2, "qat_observe_rate was 0")
    t.expect("with a reference", ["eval", "--model", "m", "--int8", "--reference", "m", *SPLIT], 2, "--int8 compares")
    for words in (["--limit", "5"], ["--samples", "2"], ["--details"], ["--batch-size", "3"]):
        t.expect("with " + words[0], ["eval", "--model", "m", "--int8", *SPLIT, *words], 2, "--int8 compares", words[0])
    for dtype in ("bf16", "f16"):
        t.expect("saved in " + dtype, train("--init", "mlp:", "--data", DIGITS, "--out", "no", *STATIC, "--save-dtype",
                                            dtype), 2, "leave --save-dtype out")
    t.expect("convert with a type", ["convert", "m", "m.safetensors", "--to", "int8", "--type", "f16"], 2, "--type")
    t.expect("convert to another name", ["convert", "m", "m.gguf", "--to", "int8"], 2, "--to int8")
    t.expect("convert, no static scales", ["convert", "f", "f.safetensors", "--to", "int8"], 2, "int8_static")


def main():
    return run_all("int8", (test_cnn, test_others, test_learned, test_evaluation, test_words, test_options), make_files)


if __name__ == "__main__":
    sys.exit(main())
