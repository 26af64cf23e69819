#!/usr/bin/env python3
"""Tests of lathe quantize and of --qat-init: every method, every kind of output, importance files, cards and figures before
and after, networks with filters, what is refused.

usage: quantize_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import math
import os
import struct
import sys

from cli_tests import read_safetensors, run_all

LLAMA = os.path.abspath("tests/golden/families/llama")
METHODS = ["rtn", "mse", "imatrix", "gptq", "awq", "smoothquant"]
KEYS = {"model", "type", "method", "out", "tensors", "bytes", "seconds"}
MEASURED = {"before", "after", "measured_on"}
CNN = "cnn:height=8,width=8,filters=8"
DIGITS = os.path.abspath("examples/data/digits.csv.gz")


def text_file(t):
    path = os.path.join(t.root, "calibration.txt")
    words = ["the cat sat", "on a mat", "and saw", "the red dog run"]
    with open(path, "w") as file:
        for i in range(24):
            file.write(" ".join(words[(i * 3 + k) % 4] for k in range(3 + i % 5)) + "\n<|endoftext|>\n")
    return path


def model_dir(t, data):
    """A model of rows that K types and groups fit, made by training a step."""
    out = os.path.join(t.root, "model")
    t.expect("a model", ["train", "--init", "llama:layers=2,dim=64,hidden=96,heads=4,kv_heads=2,context=64", "--data", data,
                         "--out", out, "--steps", "2", "--max-seq-length", "32", "--quiet"], 0)
    return out


def test_methods(t, model, data):
    for method in METHODS:
        out = os.path.join(t.root, method + ".gguf")
        reads = [] if method in ("rtn", "mse") else ["--data", data]
        got = t.answer(method, ["quantize", "--model", model, "--type", "q4_0", "--method", method, "--out", out] + reads)
        t.check(method + ": keys", KEYS | {"proof"} | (MEASURED if reads else set()) == set(got), got)
        tensors = got.get("tensors", [])
        t.check(method + ": 14 tensors on q4_0", len(tensors) == 14 and {x["type"] for x in tensors} == {"q4_0"}, got)
        wanted = {"smoothquant": "rtn"}.get(method, method)
        t.check(method + ": said of each", {x["method"] for x in tensors} == {wanted}, [x["method"] for x in tensors])
        t.check(method + ": errors", all(0 < x["error"] < 0.3 for x in tensors), tensors)
        t.check(method + ": bytes", got["bytes"] == sum(x["bytes"] for x in tensors), got)
        seen = t.answer(method + ": inspect", ["inspect", out])
        t.check(method + ": a GGUF file with its types", "q4_0" in json.dumps(seen), seen)
        e = t.answer(method + ": eval", ["eval", "--model", out, "--data", data])
        t.check(method + ": works", 1 < e.get("perplexity", 0) < 1000, e)


def gguf_texts(path):
    """The keys whose values are texts, by a reader of its own."""
    with open(path, "rb") as file:
        data = file.read()
    at, found = 24, {}
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def text():
        nonlocal at
        size, = struct.unpack_from("<Q", data, at)
        at += 8 + size
        return data[at - size:at].decode(errors="replace")

    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        key = text()
        kind, = struct.unpack_from("<I", data, at)
        at += 4
        if kind == 8:
            found[key] = text()
        elif kind == 9:
            kind, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count if kind == 8 else 0):
                text()
            at += sizes.get(kind, 0) * count
        else:
            at += sizes[kind]
    return found


def card_of(t, directory):
    with open(t.path(os.path.join(directory, "README.md"))) as file:
        return file.read()


def test_cards(t, model, data):
    """What was done, from what, and what the file is worth before and after, on what."""
    os.makedirs(t.path("carded"))
    out, held = t.path("carded/m.gguf"), t.write("held.txt", "the dog saw the cat and sat on the red mat\n" * 3)
    words = ["quantize", "--model", model, "--type", "q4_0", "--out", out]
    got = t.answer("gptq, measured", words + ["--method", "gptq", "--data", data])
    card, keys = card_of(t, "carded"), gguf_texts(out)
    t.check("gptq: the card's words", "quantized after its training, by gptq" in card and "training ended with" not in card and
            "training data" not in card and "calibration data (XXH3-128): " in card and "final evaluation" not in card, card)
    t.check("gptq: on what", "On the calibration data, which the method has read." in card, card)
    t.check("gptq: its rows", "| before, float | %.6g |" % got["before"]["perplexity"] in card and
            "| after, quantized | %.6g |" % got["after"]["perplexity"] in card, card)
    t.check("gptq: keys of the calibration", len(keys.get("lathe.ptq.calibration_xxh3", "")) == 32 and
            keys.get("lathe.ptq.calibration_rows") == "128" and "lathe.train.data_xxh3" not in keys, keys)
    t.check("gptq: keys before and after", math.isclose(float(keys["lathe.valid.nll_before"]), got["before"]["nll"],
            rel_tol=1e-8) and math.isclose(float(keys["lathe.valid.nll"]), got["after"]["nll"], rel_tol=1e-8) and
            keys.get("lathe.valid.data") == got["measured_on"], (keys, got))
    e = t.answer("gptq: the file itself", ["eval", "--model", out, "--data", data])
    t.check("gptq: after is what the file is worth", math.isclose(e["nll"], got["after"]["nll"], rel_tol=1e-6), (e, got))
    e = t.answer("the model itself", ["eval", "--model", model, "--data", data])
    t.check("gptq: before is what the model is worth", math.isclose(e["nll"], got["before"]["nll"], rel_tol=1e-6), (e, got))
    t.answer("rtn, nothing to measure on", words)
    card, keys = card_of(t, "carded"), gguf_texts(out)
    t.check("rtn: no figures", "by rtn" in card and "Measured" not in card and "calibration" not in card and
            "lathe.valid.nll" not in keys, card)
    got = t.answer("rtn, text held back", words + ["--valid-data", held])
    card = card_of(t, "carded")
    t.check("rtn: on what", got["measured_on"] == "the validation data" and "On the validation data." in card and
            "| before, float |" in card and "calibration" not in card, card)
    text = t.expect("rtn, for people", words + ["--valid-data", held], 0)
    t.check("rtn: a table", "before, float" in text and "after, quantized" in text and "on the validation data" in text, text)
    got = t.answer("few rows", words + ["--method", "imatrix", "--data", data, "--calibration-rows", "6"])
    t.check("few rows: some are measured", "rows of the file" in got["measured_on"] and
            0 < got["before"]["documents"] < 12, got)
    os.makedirs(t.path("parts"))
    for part, source in (("train", data), ("valid", held)):
        with open(source) as file:
            t.write("parts/%s.txt" % part, file.read())
    got = t.answer("parts", words + ["--method", "awq", "--data", t.path("parts")])
    again = t.answer("parts: valid alone", words + ["--valid-data", held])
    t.check("parts: valid is measured", got["measured_on"] == "the validation data" and
            got["before"]["nll"] == again["before"]["nll"], (got, again))
    got = t.answer("w8a8", ["quantize", "--model", model, "--type", "w8a8", "--method", "smoothquant", "--data", data,
                            "--out", t.path("w8a8")])
    e = t.answer("w8a8: eval", ["eval", "--model", model, "--codes", t.path("w8a8/codes.safetensors"), "--qat", "w8a8",
                                "--data", data])
    t.check("w8a8: after has int8 activations", math.isclose(e["nll"], got["after"]["nll"], rel_tol=1e-5), (e, got))
    t.check("w8a8: the card", "| after, quantized |" in card_of(t, "w8a8") and "by smoothquant" in card_of(t, "w8a8"))
    t.expect("no such data", words + ["--valid-data", "/nowhere.txt"], 3)
    os.makedirs(t.path("tensors"))
    tensors = ["quantize", "--model", os.path.join(model, "model.safetensors"), "--type", "q8_0", "--out"]
    t.expect("tensors", tensors + [t.path("tensors/t.safetensors")], 0)
    card = card_of(t, "tensors")
    t.check("tensors: a card", "by their own numbers" in card and "tensors from: model.safetensors" in card and
            "q8_0" in card and t.root not in card, card)
    t.expect("tensors are not measured", tensors + [t.path("tensors/t.gguf"), "--valid-data", data], 2, "for models")
    t.expect("no such type in GGUF", ["quantize", "--model", tensors[2], "--type", "int4:g32", "--out",
                                      t.path("tensors/t.gguf")], 2, "GGUF has no type for int4:g32")


def test_networks(t, model, data):
    """Filters are rows of all their taps: the same network that --qat evaluates."""
    t.expect("a cnn", ["train", "--init", CNN, "--data", DIGITS, "--out", "cnn", "--epochs", "1", "--batch-size", "32",
                       "--learning-rate", "4e-3", "--quiet"], 0)
    for kind in ("int8:channel", "int4:g32"):
        wanted = t.answer(kind + " by --qat", ["eval", "--model", "cnn", "--qat", kind, "--data", DIGITS])
        out = "cnn-" + kind.replace(":", "-")
        got = t.answer(kind, ["quantize", "--model", "cnn", "--type", kind, "--out", out, "--valid-data", DIGITS])
        read = t.answer(kind + ", read again", ["eval", "--model", out, "--data", DIGITS])
        t.check(kind + ": what --qat evaluates", math.isclose(read["nll"], wanted["nll"], rel_tol=1e-5) and
                math.isclose(got["after"]["nll"], wanted["nll"], rel_tol=1e-5), (read, wanted, got))
        t.check(kind + ": hardly a change", all(x["error"] < 0.25 for x in got["tensors"]) and
                abs(got["after"]["accuracy"] - got["before"]["accuracy"]) < 0.1, got)
        header, _ = read_safetensors(t.path(out + "/model.safetensors"))
        sizes = {name: math.prod(x["shape"]) for name, x in header.items() if name != "__metadata__"}
        bits = 8 if kind.startswith("int8") else 4
        t.check(kind + ": bytes of all taps", all(x["bytes"] >= sizes[x["name"]] * bits / 8 for x in got["tensors"]), got)
        t.check(kind + ": the card", "accuracy" in card_of(t, out) and "by rtn" in card_of(t, out), card_of(t, out))
    got = t.answer("gptq", ["quantize", "--model", "cnn", "--type", "int4:g32", "--method", "gptq", "--data", DIGITS,
                            "--calibration-rows", "40", "--out", "cnn-gptq"])
    found = {x["name"]: x["method"] for x in got["tensors"]}
    t.check("gptq: filters by a simpler method", "gptq" in found.values() and
            all(method == "mse" for name, method in found.items() if "conv" in name), found)
    t.check("gptq: works", got["after"]["accuracy"] > got["before"]["accuracy"] - 0.1, got)


def test_outputs(t, model, data):
    words = ["quantize", "--model", model, "--type", "int4:g32", "--method", "gptq", "--data", data]
    out = os.path.join(t.root, "directory")
    text = t.expect("a directory", words + ["--out", out], 0)
    t.check("a table", "type" in text and "gptq" in text and "identical" in text, text)
    a = t.answer("eval of the directory", ["eval", "--model", out, "--data", data])
    b = t.answer("eval of its codes", ["eval", "--model", model, "--codes", out + "/codes.safetensors", "--data", data])
    t.check("both are one model", abs(a["nll"] - b["nll"]) < 1e-6, (a["nll"], b["nll"]))
    text = t.expect("a .safetensors", words + ["--out", t.path("c.safetensors"), "--act-order"], 0)
    t.check("read back", "identical" in text, text)
    one = os.path.join(t.root, "one.gguf")
    text = t.expect("a mix", ["quantize", "--model", model, "--type", "q4_k_m", "--out", one, "--embedding", "q8_0"], 0)
    t.check("its types", "rtn" in text and "q8_0" in text and "instead of q4_k" in text, text)
    t.expect("no place in GGUF", words + ["--out", one], 2, "GGUF has no type for int4:g32")
    tensors = os.path.join(model, "model.safetensors")
    got = t.answer("a file of tensors", ["quantize", "--model", tensors, "--type", "q8_0", "--method", "mse", "--out", one])
    t.check("its matrices", len(got.get("tensors", [])) >= 14, got)
    t.expect("gptq of tensors", ["quantize", "--model", tensors, "--type", "q8_0", "--method", "gptq", "--data", data,
                                 "--out", one], 2, "rtn or mse")


def test_imatrix(t, model, data):
    file = os.path.join(t.root, "importance.gguf")
    a, b = os.path.join(t.root, "a.gguf"), os.path.join(t.root, "b.gguf")
    words = ["quantize", "--model", model, "--type", "q4_0", "--method", "imatrix", "--imatrix", file]
    t.expect("measured and written", words + ["--data", data, "--out", a], 0)
    t.expect("read", words + ["--out", b], 0)
    t.check("the same tensors", t.answer("a", ["eval", "--model", a, "--data", data])["nll"] ==
            t.answer("b", ["eval", "--model", b, "--data", data])["nll"])
    t.expect("a model is no imatrix", words[:-1] + [a, "--out", b], 3, "no imatrix")
    t.expect("another model's", ["quantize", "--model", LLAMA, "--type", "int8:channel", "--method", "imatrix", "--imatrix",
                                 file, "--out", os.path.join(t.root, "x.safetensors")], 2, "another model")


def test_usage(t, model, data):
    base = ["quantize", "--model", model, "--type", "q4_0", "--out", os.path.join(t.root, "u.gguf")]
    t.expect("no model", ["quantize"], 2, "no model")
    t.expect("no out", base[:5], 2, "no place")
    t.expect("no type", base[:3] + base[5:], 2, "no type")
    t.expect("an unknown type", base[:4] + ["q9_9"] + base[5:], 2, "--type")
    t.expect("no data", base + ["--method", "awq"], 2, "give --data")
    t.expect("data for nothing", base + ["--data", data], 2, "reads no data")
    t.expect("an unknown method", base + ["--method", "magic"], 2, "magic")
    t.expect("order for nothing", base + ["--act-order"], 2, "--act-order is for --method gptq, not rtn")
    t.expect("damping for nothing", base + ["--damping", "0.01", "--method", "imatrix", "--data", data], 2,
             "--damping is for --method gptq, not imatrix")
    t.expect("alpha for nothing", base + ["--alpha", "0.5", "--method", "awq", "--data", data], 2,
             "--alpha is for --method smoothquant, not awq")
    t.expect("rows for nothing", base + ["--calibration-rows", "9"], 2, "--calibration-rows")
    t.expect("an imatrix for nothing", base + ["--imatrix", "x.gguf"], 2, "--method imatrix")
    t.expect("no such model", base[:2] + ["/nowhere"] + base[3:], 3)
    t.check("help", "--act-order" in t.expect("help", ["quantize", "--help"], 0))


def test_start(t, model, data):
    words = ["train", "--model", model, "--data", data, "--steps", "2", "--max-seq-length", "32", "--quiet"]
    for method in ("gptq", "awq", "smoothquant"):
        t.expect("--qat-init " + method, words + ["--qat", "int4:g32", "--qat-init", method, "--out",
                                                  os.path.join(t.root, "start-" + method)], 0)
    t.expect("without --qat", words + ["--qat-init", "gptq", "--out", os.path.join(t.root, "none")], 2, "--qat TYPE")


def make_model(t):
    data = text_file(t)
    return model_dir(t, data), data


def main():
    tests = (test_methods, test_cards, test_networks, test_outputs, test_imatrix, test_usage, test_start)
    return run_all("quantize", tests, make_model)


if __name__ == "__main__":
    sys.exit(main())
