#!/usr/bin/env python3
"""Tests of --qat and its companions: what eval and generate make of them, options that would do nothing, what is said of
products, and losses that are those of the training.

usage: qat_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The last line holds the totals; the exit code is 1 when a check failed."""
import array
import json
import os
import sys

from cli_tests import make_text, run_all

INIT = "llama:layers=1,dim=32,hidden=64,heads=2,kv_heads=1,context=128"
WIDE = "llama:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64"
DATA = ["--data", "text.txt"]
VALID = [*DATA, "--split", "valid"]
DIGITS = os.path.abspath("examples/data/digits.csv.gz")


def train(out, *words, init=INIT):
    return ["train", "--init", init, *DATA, "--out", out, "--steps", "3", "--threads", "1", *words]


def make_models(t):
    """A model that has learned something, in files of three types that hold the same numbers."""
    make_text(t)
    t.expect("a model", ["train", "--init", INIT, *DATA, "--out", "float", "--steps", "60", "--learning-rate", "1e-2"], 0)
    for words in (["float", "bf16", "--type", "bf16"], ["bf16", "f32", "--type", "f32"], ["bf16", "f16.gguf"],
                  ["bf16", "q8_0.gguf", "--type", "q8_0"]):
        t.expect("convert " + " ".join(words), ["convert", *words], 0)


def texts(t, model, *words):
    got = t.answer("generate: %s %s" % (model, " ".join(words)),
                   ["generate", "--model", model, "--prompt", "Ann had a", "--prompt", "Bob", "--max-tokens", "24",
                    "--threads", "1", *words])
    return [x["ids"] for x in got.get("generations", [])]


def test_generate(t):
    """A grid is put on weights of any file, and what is generated are the most likely tokens of eval's logits."""
    for grid in (["--qat", "q4_0"], ["--qat", "q4_0", "--qat-activations", "runtime"], ["--qat", "int2:g32"],
                 ["--qat", "w8a8"]):
        what = " ".join(grid)
        want = texts(t, "f32", *grid)
        for model in ("bf16", "f16.gguf"):
            t.check("%s on %s: as on f32" % (what, model), want and texts(t, model, *grid) == want)
    plain = texts(t, "f32")
    t.check("a coarse grid gives another text", texts(t, "bf16", "--qat", "int2:g32") != plain)
    t.check("in float all are equal", texts(t, "bf16") == plain == texts(t, "f16.gguf"))
    t.check("types that files have are put on grids, too", texts(t, "q8_0.gguf", "--qat", "int2:g32") !=
            texts(t, "q8_0.gguf"))
    t.write("prompt.txt", "Ann had a")
    for model in ("f32", "bf16", "q8_0.gguf"):
        grid = ["--qat", "int2:g32"]
        t.expect("logits of " + model, ["eval", "--model", model, "--data", "prompt.txt", "--dump-logits", "z", *grid], 0)
        with open(t.path("z"), "rb") as file:
            z = array.array("f", file.read())
        first = t.answer("first token of " + model, ["generate", "--model", model, "--prompt", "Ann had a",
                                                     "--max-tokens", "1", *grid])["generations"][0]
        last = z[(first["prompt_tokens"] - 1) * 258:first["prompt_tokens"] * 258]
        t.check("eval and generate of %s agree" % model, last and max(last) == last[first["ids"][0]], (first, len(z)))


def same_loss(t, what, run, words, model=None):
    """Evaluated as its words say, a run has the loss that it ended with."""
    with open(t.path(run + "/metrics.jsonl")) as file:
        valid = [json.loads(line)["valid_loss"] for line in file if "valid_loss" in line][-1]
    got = t.answer(what, ["eval", "--model", model or run, *VALID, "--max-seq-length", "512", *words])
    t.check(what + ": the loss of the training", abs(got.get("nll", 9) - valid) <= 1e-6, (got.get("nll"), valid))
    return got


def test_scales(t):
    """Searched scales are made again by the run's rule, and f16 scales that the export's type had asked for."""
    t.expect("mse", train("mse", "--qat", "int3:g16", "--qat-scale", "mse"), 0)
    for model in ("mse", "mse/checkpoints/ckpt-000003"):
        same_loss(t, "mse of " + model, "mse", ["--qat", "int3:g16"], model)
    t.expect("mse: it is said", ["eval", "--model", "mse", *VALID, "--qat", "int3:g16"], 0, "of mse's training")
    out = t.run("eval", "--model", "mse", *VALID, "--qat", "int4:g16")
    t.check("mse: not for another grid", out[0] == 0 and "training" not in out[2].replace("trained with", ""), out)
    t.expect("ternary in tq2_0", train("half", "--qat", "ternary", "--export-type", "tq2_0", init=WIDE), 0)
    one = same_loss(t, "ternary", "half", ["--qat", "ternary"])
    two = same_loss(t, "ternary:half", "half", ["--qat", "ternary:half"])
    t.check("the same scales", one.get("nll") == two.get("nll"), (one, two))
    t.expect("half: it is said", ["eval", "--model", "half", *VALID, "--qat", "ternary"], 0, "of half's training")
    t.expect("ternary in f32", train("full", "--qat", "ternary", init=WIDE), 0)
    same_loss(t, "ternary in f32", "full", ["--qat", "ternary"])
    t.expect("generate", ["generate", "--model", "mse", "--qat", "int3:g16", "--prompt", "a", "--max-tokens", "2"], 0,
             "of mse's training")


def test_idle_options(t):
    """What nothing would read is refused; a config.yaml, which names every option, is not."""
    words = (["--qat-gradient", "clip"], ["--qat-gradient", "ste"], ["--qat-damping", "0.1"], ["--qat-freeze", "0.1"],
             ["--qat-start", "0.2"], ["--qat-scale-every", "2"], ["--qat-scale", "mse"], ["--qat-backward", "int8"],
             ["--qat-init", "gptq"], ["--qat-fold-norms"])
    for more in words:
        t.expect("alone: " + " ".join(more), train("no", *more), 2, more[0] + " says how --qat TYPE trains")
        t.expect("of f32: " + " ".join(more), train("no", "--qat", "f32", *more), 2, more[0])
    for more in (["--qat-observer", "mse"], ["--qat-observe-rate", "0.1"]):
        t.expect("alone: " + more[0], train("no", *more), 2, more[0])
        t.expect("without static: " + more[0], train("no", "--qat", "w8a8", *more), 2, "int8_static, which is missing")
    static = ["--qat", "int8:channel", "--qat-activations", "int8_static"]
    for kind in ("minmax", "mse", "histogram", "percentile"):
        t.expect("a rate of " + kind, train("no", *static, "--qat-observer", kind, "--qat-observe-rate", "0.1"), 2,
                 "--qat-observer %s has none" % kind)
    t.expect("pact of weights", train("no", "--qat", "int4:g32", "--qat-scale", "pact"), 2, r"dynamic\|mse\|lsq\|lsq\+\|range")
    for name, more in (("plain", []), ("w8a8", ["--qat", "w8a8"])):
        t.expect("a run: " + name, train("first-" + name, *more), 0)
        t.expect("its config.yaml: " + name, ["train", "-c", "first-%s/config.yaml" % name, "--out", "again-" + name], 0)
        files = [open(t.path("%s-%s/model.safetensors" % (x, name)), "rb").read() for x in ("first", "again")]
        t.check("the same run: " + name, files[0] == files[1])


def test_range_test(t):
    words = ["train", "--model", "float", *DATA, "--lr-find", "--lr-find-steps", "10", "--qat", "int2:g32", "--threads", "1"]
    plain = t.answer("range test", [*words, "--out", "lr1"])
    begun = t.run(*words, "--out", "lr2", "--qat-init", "gptq", "--json")
    t.check("range test of prepared weights", begun[0] == 0 and "preparing the weights by gptq" in begun[2] and
            json.loads(begun[1])["lowest_loss"] != plain.get("lowest_loss"), (begun, plain))


def table(t, what, words, *lines):
    code, out, err = t.run(*words)
    t.check(what + ": exit 0", code == 0, err)
    for line in lines:
        t.check("%s: says %r before step 1" % (what, line), line in err.split("\nstep ")[0], err)
    return err


def test_chosen_activations(t):
    """w8a8 names activations, and others are chosen beside it."""
    err = table(t, "w8a8", train("w8", "--qat", "w8a8"), "activations int8_token", "products: 7 in integers, 0 simulated")
    t.check("w8a8: all layers", "linear layers" not in err, err)
    err = table(t, "w8a8 without", train("w8none", "--qat", "w8a8", "--qat-activations", "none"))
    t.check("w8a8 without: nothing of activations", "activations int8" not in err and "products:" not in err, err)
    with open(t.path("w8none/run.json")) as file:
        run = json.load(file)
    t.check("w8a8 without: run.json", run["quantization"]["qat_activations"] == "none", run["quantization"])
    same_loss(t, "eval w8a8", "w8", ["--qat", "w8a8"])
    none = same_loss(t, "eval w8a8 without", "w8none", ["--qat", "w8a8", "--qat-activations", "none"])
    rounded = t.answer("eval with", ["eval", "--model", "w8none", *VALID, "--max-seq-length", "512", "--qat", "w8a8"])
    t.check("they differ", none.get("nll") != rounded.get("nll"), (none, rounded))
    t.expect("a format has its own", train("no", "--export-format", "compressed-tensors", "--qat-activations", "none"), 2,
             "is run with activations 'int8_token'")


def test_products(t):
    """What is rounded, and what is a sum of integers, is said before the first step; what would be nothing is refused."""
    for what, words, line in (
            ("q4_0", ["--qat", "q4_0", "--qat-activations", "runtime"], "products: 7 in integers, 0 simulated in f32"),
            ("a head", ["--qat", "q4_0", "--qat-embedding", "q8_0", "--qat-activations", "int8_token"],
             "products: 8 in integers, 0 simulated in f32"),
            ("int4", ["--qat", "int4:g32", "--qat-activations", "int8_token"], "products: 0 in integers, 7 simulated in f32"),
            ("w8a8, damped", ["--qat", "w8a8", "--qat-damping", "0.1"], "products: 0 in integers, 7 simulated in f32"),
            ("a mixture", ["--qat", "int4:g32", "--tensor-type", "*.ffn_*=q8_0", "--qat-activations", "runtime"],
             "products: 3 in integers, 0 simulated in f32"),
            ("targets", ["--qat", "q8_0", "--qat-targets", "*.attn_*", "--qat-activations", "runtime"],
             "activations are rounded at 4 of 7 linear layers; 'blk.0.ffn_gate.weight' is f32")):
        table(t, what, train("table", "--resume", "never", *words), line)
    mixed = ["--qat", "int4:g32", "--tensor-type", "*.ffn_*=q8_0", "--qat-activations", "runtime"]
    says = "activations are rounded at 3 of 7 linear layers; no runtime type is paired with int4:g32"
    table(t, "the rest of a mixture", train("table", "--resume", "never", *mixed), says)
    t.expect("eval warns", ["eval", "--model", "float", *VALID, *mixed], 0, says)
    t.expect("generate warns", ["generate", "--model", "float", "--prompt", "a", "--max-tokens", "2", *mixed], 0, says)
    out = t.run("eval", "--model", "float", *VALID, "--qat", "q4_0", "--qat-activations", "runtime")
    t.check("nothing to warn of", out[0] == 0 and "rounded at" not in out[2], out)
    for model in ("f32", "bf16", "f16.gguf"):
        for verb in (["eval", *VALID], ["generate", "--prompt", "a"]):
            t.expect("runtime of %s: %s" % (model, verb[0]), [*verb, "--model", model, "--qat-activations", "runtime"], 2,
                     "nothing would be rounded")
    t.expect("runtime of codes", ["eval", "--model", "q8_0.gguf", *VALID, "--qat-activations", "runtime"], 0)
    only = ["--tensor-type", "*.ffn_up.weight=int4:g32", "--qat-activations", "runtime"]
    t.expect("a rule that pairs nothing", train("no", *only), 2, "nothing would be rounded")


def test_backward(t):
    int8 = ["--qat-backward", "int8"]
    for words in (["--qat", "int4:g32", "--qat-activations", "int8_token"], ["--qat", "w8a8", "--qat-damping", "0.1"],
                  ["--qat", "int8:channel", "--qat-scale", "lsq", "--qat-activations", "int8_token"],
                  ["--qat", "w8a8", "--qat-gradient", "clip"], ["--qat", "ternary", "--qat-activations", "int8_token"],
                  ["--qat", "int8:g32", "--qat-activations", "int8_static"]):
        t.expect("no integers: " + " ".join(words), train("no", *words, *int8), 2, "integer backward", "none is")
    for words in (["--qat", "w8a8"], ["--qat", "q4_0", "--qat-activations", "int8_token"],
                  ["--qat", "q8_0", "--qat-activations", "runtime", "--qat-gradient", "clip"],
                  ["--qat", "int8:channel", "--qat-activations", "int8_static"]):
        t.expect("integers: " + " ".join(words), train("back", "--resume", "never", *words, *int8), 0)
    t.expect("of a model", ["train", "--model", "float", *DATA, "--out", "back2", "--steps", "2", "--qat", "w8a8", *int8], 0)


def test_static(t):
    """Static activations meet no lattice wherever something is multiplied; an embedding that is looked up may be on one."""
    static = ["--qat", "int8:channel", "--qat-activations", "int8_static"]
    for words in (["--tensor-type", "*.ffn_up.weight=q8_0"], ["--qat-embedding", "q8_0"]):
        t.expect("a lattice: " + words[0], train("no", *static, *words), 2, "int8_static", "lattice", "'blk.0.ffn_up.weight'|"
                 "'token_embd.weight'|'output.weight'")
    looked_up = ["--tensor-type", "token_embd.weight=q8_0"]
    classes = ["train", "--init", "lstm:dim=32,hidden=32", "--data", "texts.csv", "--out", "lstm", "--steps", "2", *static]
    t.write("texts.csv", "text,category\n" + "".join("%s,%s\n" % (("sun joy", "rain mud")[i % 2], "ab"[i % 2])
                                                     for i in range(40)))
    t.expect("an embedding that is looked up", [*classes, *looked_up], 0)


def test_loss_of_exports(t):
    """The file has the loss of the training to the 6th digit of perplexity, and where bits differ, it is said by how much."""
    for name, words, init in (("gguf", ["--qat", "q4_0", "--qat-activations", "runtime", "--export", "e1/m.gguf"], INIT),
                              ("k", ["--qat", "q4_k_m", "--export", "e2/m.gguf"], WIDE),
                              ("tq", ["--qat", "ternary", "--export", "e3/m.gguf", "--export-type", "tq1_0"], WIDE),
                              ("w8a8", ["--export-format", "compressed-tensors", "--export", "e4/p"], INIT),
                              ("half", ["--qat", "ternary:half", "--qat-activations", "runtime"], WIDE)):
        names = ("gguf", "k", "tq", "w8a8", "half")
        got = t.answer("export " + name, train("e%d" % (1 + names.index(name)), *words, init=init))
        t.check(name + ": within 1e-6", abs(got.get("export_loss_difference", 1)) <= 1e-6, got)
        t.check(name + ": bits", (got["export_loss_difference"] == 0) == got["export_is_what_was_trained"], got)
    t.check("ternary blocks are multiplied as in training", got.get("export_loss_difference") == 0, got)
    out = t.expect("bits are said", train("e6", "--qat", "q4_0"), 0)
    t.check("bits are said: of the same", "bit for bit" in out or "but for" in out, out)


def test_again(t):
    """A finished run, run again, is compared by what is validated now; its config.yaml chooses nothing that nobody typed."""
    t.write("one.txt", "Ann had a dog. Bob has a cup.\n" * 40)
    t.write("other.txt", "Bob has a cup. A dog has Bob.\n" * 40)
    words = train("again", "--qat", "w8a8")
    t.expect("a run", [*words, "--valid-data", "one.txt"], 0)
    got = t.answer("other validation data", [*words, "--valid-data", "other.txt"])
    t.check("other validation data: compared", got.get("export_loss_difference") == 0, got)
    t.expect("config.yaml", ["train", "-c", "again/config.yaml", "--out", "again2"], 0, "activations int8_token")
    t.expect("config.yaml, another grid", ["train", "-c", "again/config.yaml", "--out", "again3", "--qat", "q4_0"], 0,
             "q4_0")
    with open(t.path("again3/run.json")) as file:
        chosen = json.load(file)["quantization"]["qat_activations"]
    t.check("config.yaml: another grid has its own activations", chosen == "none", chosen)
    t.expect("an export type without static activations", train("other", "--qat", "int8:channel", "--qat-activations",
             "int8_static", "--export-type", "q8_0", "--export-other-type"), 2, "int8_static")
    t.expect("an export type without activations", train("other2", "--qat", "int8:channel", "--qat-activations",
             "int8_token", "--qat-backward", "int8", "--export-type", "int4:g32", "--export-other-type"), 0)


def main():
    return run_all("qat", (test_generate, test_scales, test_idle_options, test_range_test, test_chosen_activations,
                           test_products, test_backward, test_static, test_loss_of_exports, test_again), make_models)


if __name__ == "__main__":
    sys.exit(main())
