#!/usr/bin/env python3
"""Tests of lathe quantize and of --qat-init: every method, every kind of output, importance files, what is refused.

usage: quantize_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import os
import sys

from cli_tests import run_all

LLAMA = os.path.abspath("tests/golden/families/llama")
METHODS = ["rtn", "mse", "imatrix", "gptq", "awq", "smoothquant"]
KEYS = {"model", "type", "method", "out", "tensors", "bytes", "seconds"}


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
        t.check(method + ": keys", KEYS | {"proof"} == set(got), got)
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
    tests = (test_methods, test_outputs, test_imatrix, test_usage, test_start)
    return run_all("quantize", tests, make_model)


if __name__ == "__main__":
    sys.exit(main())
