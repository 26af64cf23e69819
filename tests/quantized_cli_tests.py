#!/usr/bin/env python3
"""Tests of the lathe program on quantized safetensors: train --export-format, quantize --format, and reading them.

usage: quantized_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import sys

from cli_tests import read_safetensors, run_all

INIT = "llama:layers=2,dim=64,hidden=128,heads=4,kv_heads=2,context=64"
WORDS = "the cat sat on a mat and saw the red dog run . some day it will rain , they said .".split()
FORMATS = (("gptq", "int4:g32", "gptq", "model.layers.0.mlp.up_proj.qweight", "I32"),
           ("awq", "int4:g32,asym", "awq", "model.layers.1.self_attn.q_proj.qzeros", "I32"),
           ("bnb", None, "bitsandbytes", "model.layers.0.mlp.down_proj.weight.nested_absmax", "F32"),
           ("compressed-tensors", None, "compressed-tensors", "model.layers.0.mlp.up_proj.weight", "I8"))


def make_text(t):
    lines, at = [], 7
    for document in range(40):
        words = []
        for _ in range(30):
            at = (at * 1103515245 + 12345) % 2**31
            words.append(WORDS[at // 65536 % len(WORDS)])
        lines.append(" ".join(words))
    t.write("text.txt", "\n<|endoftext|>\n".join(lines) + "\n")


def train_words(run, *more):
    return ["train", "--init", INIT, "--data", "text.txt", "--out", run, "--steps", "3", "--max-seq-length", "32",
            "--batch-size", "2", "--max-seconds", "120", *more]


def test_formats(t):
    for kind, grid, method, part, dtype in FORMATS:
        run = "run-" + kind
        result = t.answer("train " + kind, train_words(run, "--export-format", kind, "--export", "packed-" + kind,
                                                       *(["--qat", grid] if grid else [])))
        t.check(kind + ": proof", result.get("proof", {}).get("identical") is True, result)
        t.check(kind + ": what was trained", result.get("export_is_what_was_trained") is True, result)
        t.check(kind + ": bytes", result["exported"]["model_bytes"] == result["proof"]["bytes"], result["exported"])
        with open(t.path("packed-%s/config.json" % kind)) as file:
            config = json.load(file)["quantization_config"]
        t.check(kind + ": config.json", config["quant_method"] == method, config)
        header = read_safetensors(t.path("packed-%s/model.safetensors" % kind))[0]
        t.check(kind + ": " + part, header.get(part, {}).get("dtype") == dtype, sorted(header))
        t.check(kind + ": its making", header["__metadata__"].get("lathe.train.steps") == "3", header["__metadata__"])
        with open(t.path("packed-%s/README.md" % kind)) as file:
            t.check(kind + ": card", "read back: " in file.read())
        activations = ["--qat-activations", "int8_token"] if kind == "compressed-tensors" else []
        plain = t.answer("eval " + kind, ["eval", "--model", "packed-" + kind, "--data", "text.txt", "--max-seq-length",
                                          "32", *activations])
        t.check(kind + ": perplexity", 1 < plain.get("perplexity", 0) < 1e4, plain)
        t.expect(kind + ": trained further", ["train", "--model", "packed-" + kind, "--data", "text.txt", "--out",
                                              "more-" + kind, "--steps", "1", "--max-seq-length", "32"], 0)
        with open(t.path("more-%s/config.json" % kind)) as file:
            t.check(kind + ": trained further, it is plain", "quantization_config" not in json.load(file))
        out = t.expect(kind + ": convert", ["convert", "packed-" + kind, kind + ".gguf"], 0)
        t.check(kind + ": convert says what it did", "quantized weights" in out, out)
        converted = t.answer(kind + ": converted", ["eval", "--model", kind + ".gguf", "--data", "text.txt",
                                                    "--max-seq-length", "32", *activations])
        t.check(kind + ": converted, the same", abs(converted.get("nll", 0) - plain.get("nll", 9)) < 1e-4,
                (converted, plain))


def test_quantize(t):
    for kind, grid, method, part, dtype in FORMATS:
        words = ["quantize", "--model", "run-gptq", "--out", "ptq-" + kind, "--format", kind]
        result = t.answer("quantize " + kind, words + (["--type", grid] if grid else []))
        t.check("quantize %s: proof" % kind, result.get("proof", {}).get("weights", 0) > 0, result)
        header = read_safetensors(t.path("ptq-%s/model.safetensors" % kind))[0]
        t.check("quantize %s: %s" % (kind, part), part in header or kind == "bnb", sorted(header))
        t.expect("quantize %s: eval" % kind, ["eval", "--model", "ptq-" + kind, "--data", "text.txt",
                                              "--max-seq-length", "32"], 0)
    t.expect("quantize: gptq by gptq", ["quantize", "--model", "run-gptq", "--out", "gptq-gptq", "--format", "gptq",
                                        "--type", "int4:g64,asym", "--method", "gptq", "--data", "text.txt",
                                        "--max-seq-length", "32", "--calibration-rows", "8"], 0)


def test_ternary(t):
    """Trits and their scales in the files llama.cpp reads: the loss of the final evaluation is the file's."""
    init = "bitnet:layers=1,dim=256,hidden=256,heads=4,kv_heads=2,context=64"
    for kind, activations in (("tq2_0", "runtime"), ("tq1_0", "int8_token")):
        run, file = "run-" + kind, kind + ".gguf"
        words = ["train", "--init", init, "--data", "text.txt", "--valid-data", "text.txt", "--out", run, "--steps", "3",
                 "--max-seq-length", "32", "--batch-size", "2", "--qat", "ternary", "--qat-activations", activations]
        result = t.answer("train ternary", words + ["--export", file, "--export-type", kind])
        t.check(kind + ": proof", result.get("proof", {}).get("identical") is True, result)
        t.check(kind + ": what was trained", result.get("export_is_what_was_trained") is True, result)
        held = t.answer(kind + ": eval", ["eval", "--model", file, "--data", "text.txt", "--max-seq-length", "32",
                                          "--qat-activations", activations])
        t.check(kind + ": its loss", abs(held["nll"] - result["valid_loss"]) < 2e-6 * held["nll"], (held, result))
        seen = json.dumps(t.answer(kind + ": inspect", ["inspect", file]))
        t.check(kind + ": seven matrices", seen.count('"%s"' % kind) >= 7 and "attn_sub_norm" in seen, seen)
        said = t.expect(kind + ": generate", ["generate", "--model", file, "--prompt", "a", "--max-tokens", "4"], 0)
        t.check(kind + ": text", len(said) > 0, said)
        t.expect(kind + ": convert", ["convert", file, "back-" + kind], 0)
        back = t.answer(kind + ": eval of what came back", ["eval", "--model", "back-" + kind, "--data", "text.txt",
                                                            "--max-seq-length", "32"])
        plain = t.answer(kind + ": plain", ["eval", "--model", file, "--data", "text.txt", "--max-seq-length", "32"])
        t.check(kind + ": the same model", abs(back["nll"] - plain["nll"]) < 2e-6 * plain["nll"], (back, plain))
    t.expect("ternary has no type of its own", words + ["--export", "x.gguf"], 2, "--export-type tq2_0")


def test_refusals(t):
    t.expect("groups too wide", train_words("run", "--export-format", "gptq", "--qat", "int4:g256"), 2,
             "no weight of the model can be packed", "smaller groups")
    t.expect("another grid", train_words("run", "--export-format", "awq", "--qat", "q4_0"), 2,
             "awq has no place for weights on the grid q4_0", "it holds int4")
    t.expect("the same place", train_words("run", "--export-format", "bnb", "--export", "run/"), 2, "its own")
    t.expect("another type", train_words("run", "--export-format", "bnb", "--export-type", "q4_0"), 2,
             "goes with neither")
    t.expect("no format", train_words("run", "--export-format", "exl2"), 2, "export.format")
    t.expect("quantize: a file", ["quantize", "--model", "run-gptq", "--out", "x.gguf", "--format", "awq"], 2,
             "is a directory")


def main():
    tests = (test_formats, test_quantize, test_ternary, test_refusals)
    return run_all("quantized formats", tests, make_text)


if __name__ == "__main__":
    sys.exit(main())
