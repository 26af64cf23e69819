#!/usr/bin/env python3
"""Tests of lathe convert and inspect, and of what the program says of files that are no good.

usage: convert_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The models are the small ones of tests/golden/families; broken files are made here. A
message about a file names it, says what is wrong and what to do; the exit code is 3. The last line holds the totals;
the exit code is 1 when a check failed."""
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile

from cli_tests import read_safetensors, run_all, write_safetensors

GOLDEN = os.path.abspath("tests/golden")
FAMILIES = ("llama", "llama3", "llama_linear", "llama_yarn", "mistral", "qwen2", "qwen3", "gemma3", "gpt2", "bert")
MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
HTML = b"<!DOCTYPE html>\n<html><body>404: not found</body></html>\n"


def put(t, name, data):
    with open(t.path(name), "wb") as file:
        file.write(data)
    return name


def get(t, name):
    with open(t.path(name), "rb") as file:
        return file.read()


def copy(t, name, family="qwen2", without=()):
    """A model's directory of its own, but for some files."""
    shutil.rmtree(t.path(name), ignore_errors=True)
    os.makedirs(t.path(name))
    for file in MODEL_FILES:
        source = os.path.join(GOLDEN, "families", family, file)
        if file not in without and os.path.exists(source):
            shutil.copy(source, t.path(name))
    return name


def change_json(t, name, **changes):
    value = json.loads(get(t, name))
    value.update(changes)
    put(t, name, json.dumps({k: v for k, v in value.items() if v is not None}).encode())


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def write_gguf(t, name, arch, keys, tensors):
    """Whole numbers (u32) and texts; tensors of zeros [n]."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys) + 1)
    for key, value in [("general.architecture", arch), *keys]:
        kind = struct.pack("<I", 8) + gguf_string(value) if isinstance(value, str) else struct.pack("<II", 4, value)
        head += gguf_string(key) + kind
    for i, tensor in enumerate(tensors):
        head += gguf_string(tensor) + struct.pack("<IQIQ", 1, 8, 0, 32 * i)
    return put(t, name, head + b"\0" * (-len(head) % 32) + b"\0" * 32 * len(tensors))


def make_llama(t, name):
    """Rows of whole blocks of 32, which the golden models do not have."""
    copy(t, name, "llama", without=("model.safetensors",))
    C, F, V = 32, 64, 40
    change_json(t, name + "/config.json", hidden_size=C, intermediate_size=F, num_hidden_layers=1, head_dim=16,
                num_attention_heads=2, num_key_value_heads=1, vocab_size=V)
    block = {"self_attn.q_proj": (C, C), "self_attn.k_proj": (16, C), "self_attn.v_proj": (16, C),
             "self_attn.o_proj": (C, C), "mlp.gate_proj": (F, C), "mlp.up_proj": (F, C), "mlp.down_proj": (C, F),
             "input_layernorm": (C,), "post_attention_layernorm": (C,)}
    shapes = {"model.layers.0.%s.weight" % k: v for k, v in block.items()}
    shapes.update({"model.embed_tokens.weight": (V, C), "lm_head.weight": (V, C), "model.norm.weight": (C,)})
    header, data = {}, b""
    for n, (tensor, shape) in enumerate(shapes.items()):
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        piece = struct.pack("<%df" % count, *(((i * 7919 + n * 104729) % 2003 - 1001) / 4004 for i in range(count)))
        header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    write_safetensors(t.path(name + "/model.safetensors"), header, data)


# ---- Both ways ----

def same_tensors(t, what, one, two):
    t.check(what, os.path.exists(two) and tensors_of(one) == tensors_of(two))


def tensors_of(path):
    header, data = read_safetensors(path)
    return {name: (x["dtype"], x["shape"], data[slice(*x["data_offsets"])]) for name, x in header.items()
            if name != "__metadata__"}


def test_both_ways(t):
    for family in FAMILIES:
        copy(t, "hf", family)
        change_json(t, "hf/config.json", of_somebody_else={"a": [1, None, "\u00e9"]})
        out = t.expect(family + ": to GGUF", ["convert", "hf", "model.gguf"], 0)
        t.check(family + ": the report", re.search(r"^f32: \d+ tensors, \d+ bytes$", out, re.M) and
                "model.gguf: " in out.splitlines()[-1], out)
        t.expect(family + ": back", ["convert", "model.gguf", "back"], 0)
        same_tensors(t, family + ": the same tensors", t.path("hf/model.safetensors"), t.path("back/model.safetensors"))
        was, now = json.loads(get(t, "hf/config.json")), json.loads(get(t, "back/config.json"))
        lost = {k: (v, now.get(k)) for k, v in was.items() if v is not None and now.get(k) != v}
        t.check(family + ": config.json with strangers' keys", not lost, lost)
        if os.path.exists(t.path("hf/generation_config.json")):
            t.check(family + ": generation_config.json", json.loads(get(t, "hf/generation_config.json")) ==
                    json.loads(get(t, "back/generation_config.json")))
        t.expect(family + ": GGUF to GGUF", ["convert", "model.gguf", "again.gguf"], 0)
        t.expect(family + ": and back", ["convert", "again.gguf", "once-more"], 0)
        same_tensors(t, family + ": still the same", t.path("hf/model.safetensors"),
                     t.path("once-more/model.safetensors"))


def test_types(t):
    make_llama(t, "hf")
    sizes = {}
    for kind in ("f32", "f16", "bf16"):
        got = t.answer("--type " + kind, ["convert", "hf", kind + ".gguf", "--type", kind])
        sizes[kind] = got.get("bytes", 0)
        t.check(kind + ": --json", {"in", "out", "bytes", "seconds", "report"} <= set(got) and
                got["out"] == kind + ".gguf" and sizes[kind] == os.path.getsize(t.path(kind + ".gguf")), got)
        t.check(kind + ": the report", kind + ": " in got.get("report", ""), got)
        t.expect(kind + ": a directory", ["convert", "hf", "dir-" + kind, "--type", kind], 0)
        stored = {x[0] for x in tensors_of(t.path("dir-%s/model.safetensors" % kind)).values()}
        t.check(kind + ": all tensors", stored == {kind.upper()}, stored)
        said = json.loads(get(t, "dir-%s/config.json" % kind))
        t.check(kind + ": config.json says so", {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[kind] in
                (said.get("dtype"), said.get("torch_dtype")), said)
    t.check("halves are smaller", max(sizes["f16"], sizes["bf16"]) < 0.8 * sizes["f32"], sizes)
    for kind in ("q8_0", "q4_0"):
        t.expect(kind, ["convert", "hf", kind + ".gguf", "--type", kind], 0)
        report = t.answer(kind + ": report", ["convert", "hf", kind + ".gguf", "--type", kind]).get("report", "")
        t.check(kind + ": its tensors", kind + ": " in report, report)
        t.expect(kind + ": decoded", ["convert", kind + ".gguf", "decoded"], 0)
        stored = {x[0] for x in tensors_of(t.path("decoded/model.safetensors")).values()}
        t.check(kind + ": decoded to f32", stored == {"F32"}, stored)
        t.expect(kind + ": no directory", ["convert", "hf", "dir-q", "--type", kind], 2, kind, "f32, f16, bf16")
    t.expect("an unknown type", ["convert", "hf", "x.gguf", "--type", "q9_9"], 2, "'q9_9'", "q4_k_m")
    t.expect("a mix", ["convert", "hf", "mix.gguf", "--type", "q4_k_m"], 0)
    mixed = t.answer("a mix: inspect", ["inspect", "mix.gguf"])
    planned = t.answer("a mix: forecast", ["inspect", "hf", "--as", "q4_k_m"])
    t.check("a mix: its bytes were forecast", planned.get("bytes") == mixed["files"][0]["bytes"], (planned, mixed))
    t.expect("a type for tensors", ["convert", "hf/model.safetensors", "x.h5", "--type", "f16"], 2,
             "--type is for models")


def test_to(t):
    copy(t, "hf")
    for to, out in (("gguf", "dir"), ("hf", "x.gguf"), ("safetensors", "x.gguf"), ("hdf5", "x.safetensors"),
                    ("hf", "x.safetensors")):
        t.expect("--to %s %s" % (to, out), ["convert", "hf", out, "--to", to], 2, "--to " + to, "called otherwise")
        t.check("--to %s %s: nothing written" % (to, out), not os.path.exists(t.path(out)))
    t.expect("--to gguf", ["convert", "hf", "to.gguf", "--to", "gguf"], 0)
    t.expect("--to hf", ["convert", "to.gguf", "to-dir", "--to", "hf"], 0)
    t.expect("--to onnx", ["convert", "hf", "x", "--to", "onnx"], 2, "onnx", "later")
    t.expect("one path", ["convert", "hf"], 2, "IN OUT")
    t.expect("three paths", ["convert", "hf", "a", "b"], 2, "'b'")
    t.expect("onto itself", ["convert", "to.gguf", "to.gguf"], 2, "both ends")
    t.expect("a place that cannot be", ["convert", "hf", "/proc/x/y.gguf"], 6, "/proc/x/y.gguf")
    t.expect("a directory that cannot be", ["convert", "hf", "/proc/x"], 6, "/proc/x")
    t.expect("a missing input", ["convert", "none", "x.gguf"], 3, "none: there is no such file")
    t.expect("missing tensors", ["convert", "none.safetensors", "x.gguf"], 3, "none.safetensors")
    bad = t.answer("an error as JSON", ["convert", "none", "x.gguf"], 3)
    t.check("an error as JSON: keys", bad.get("exit_code") == 3 and "none" in bad.get("error", ""), bad)
    t.expect("tensors to GGUF", ["convert", "hf/model.safetensors", "tensors.gguf"], 0)
    t.expect("and back", ["convert", "tensors.gguf", "tensors.safetensors"], 0)
    same_tensors(t, "tensors there and back", t.path("hf/model.safetensors"), t.path("tensors.safetensors"))


# ---- inspect ----

def test_inspect(t):
    copy(t, "hf")
    t.expect("to GGUF", ["convert", "hf", "model.gguf"], 0)
    want = None
    for name in ("hf", "model.gguf"):
        got = t.answer("inspect " + name, ["inspect", name])
        model = got.get("model", {})
        t.check(name + ": the model", model.get("family") == "qwen2" and model.get("tied") is True, got)
        want = want or model.get("parameters")
        t.check(name + ": parameters", model.get("parameters") == want, model)
        t.check(name + ": one file", len(got.get("files", [])) == 1 and got["files"][0]["count"] > 20, got)
        out = t.expect("inspect %s as text" % name, ["inspect", name], 0)
        t.check(name + ": text", re.search(r"^family +qwen2$", out, re.M) and "[40, 16]" in out, out)
        short = t.expect("inspect --summary " + name, ["inspect", name, "--summary"], 0)
        t.check(name + ": --summary", "[40, 16]" not in short and len(short) < len(out), short)
    listed = t.answer("inspect safetensors", ["inspect", "hf/model.safetensors"])
    t.check("safetensors: no model", "model" not in listed and listed["files"][0]["format"] == "safetensors", listed)
    h5 = os.path.join(GOLDEN, "foreign.h5")
    if os.access(os.path.join(os.path.dirname(t.program), "lathe-h5"), os.X_OK):
        got = t.answer("inspect h5", ["inspect", h5])
        t.check("h5: tensors", got.get("files", [{}])[0].get("format") == "hdf5" and got["files"][0]["count"] > 0, got)
    else:
        t.skipped += 1
    vocabulary = t.answer("inspect a vocabulary", ["inspect", os.path.join(GOLDEN, "gguf_tokenizers/gpt2.gguf")])
    t.check("a vocabulary: keys alone", "model" not in vocabulary and vocabulary["files"][0]["count"] == 0, vocabulary)


def test_forecast(t):
    make_llama(t, "hf")
    t.expect("to GGUF", ["convert", "hf", "model.gguf"], 0)
    for kind in ("f32", "f16", "q8_0"):
        found = [t.answer("%s --as %s" % (name, kind), ["inspect", name, "--as", kind])
                 for name in ("hf", "hf/config.json", "model.gguf")]
        t.check("--as %s: the same of all" % kind, len({x.get("bytes") for x in found}) == 1, found)
        t.expect("to " + kind, ["convert", "hf", "as.gguf", "--type", kind], 0)
        real = t.answer("inspect " + kind, ["inspect", "as.gguf"])["files"][0]["bytes"]
        t.check("--as %s: what it comes to" % kind, found[0].get("bytes") == real, (found[0], real))
    out = t.expect("--as as text", ["inspect", "hf", "--as", "q4_k"], 0)
    t.check("--as as text: bits", "bits each" in out and "tensors" in out, out)
    t.expect("--as nothing", ["inspect", "hf", "--as", "q9"], 2, "--as q9", "q8_0")
    t.expect("--as of a missing model", ["inspect", "none", "--as", "f16"], 3, "none")
    t.expect("--as of tensors", ["inspect", "hf/model.safetensors", "--as", "f16"], 3, "model.safetensors")


# ---- Files that are no good ----

def each_verb(t, what, model, *patterns, inspect=3):
    """eval, convert and inspect say the same of a model. inspect may list what is no model."""
    t.expect("eval: " + what, ["eval", "--model", model, "--data", "text.txt"], 3, *patterns)
    t.expect("convert: " + what, ["convert", model, "bad-out.gguf"], 3, *patterns)
    t.check("convert: %s: nothing written" % what, not os.path.exists(t.path("bad-out.gguf")))
    if inspect:
        t.expect("inspect: " + what, ["inspect", model], 3, *patterns)
    else:
        t.expect("inspect: " + what, ["inspect", model], 0)


def pickled(zipped):
    plain = pickle.dumps({"a": [1.0, 2.0]}, protocol=2)
    if not zipped:
        return plain
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
    return file.getvalue()


def test_weights(t):
    name = "bad/model.safetensors"
    whole = get(t, copy(t, "hf") + "/model.safetensors")
    for what, data, *patterns in (
            ("a git-lfs pointer", LFS, "git-lfs pointer", "git lfs pull"),
            ("a pickle", pickled(False), "PyTorch pickle", "does not run pickles", "save_file"),
            ("a zip checkpoint", pickled(True), "PyTorch pickle", "does not run pickles", "save_file"),
            ("cut in the tensors", whole[:-100], "truncated", "fetch it again"),
            ("cut in the header", whole[:300], "header", "copied completely"),
            ("empty", b"", "empty", "copied completely"),
            ("an HTML page", HTML, "HTML page", "browser"),
            ("a server's error", b'{"error": "gone"}', "JSON text", "read it")):
        copy(t, "bad")
        put(t, name, data)
        each_verb(t, "weights: " + what, "bad", name, *patterns)
    copy(t, "bad", without=("model.safetensors",))
    each_verb(t, "no weights", "bad", "bad: no model.safetensors", "fetch the weights")
    put(t, "bad/pytorch_model.bin", pickled(True))
    each_verb(t, "pytorch_model.bin alone", "bad", "bad: there is no model.safetensors in it, but pytorch_model.bin",
              "pickle", "save_pretrained")
    os.rename(t.path("bad/pytorch_model.bin"), t.path("bad/tf_model.h5"))
    each_verb(t, "tf_model.h5 alone", "bad", "but tf_model.h5", "save_pretrained")


def test_shards(t):
    copy(t, "bad", without=("model.safetensors",))
    header, data = read_safetensors(os.path.join(GOLDEN, "families/qwen2/model.safetensors"))
    names = sorted(x for x in header if x != "__metadata__")
    shards = ["model-0000%d-of-00002.safetensors" % i for i in (1, 2)]
    index = {}
    for shard, part in zip(shards, (names[:9], names[9:])):
        entries, bytes_of = {}, b""
        for x in part:
            piece = data[slice(*header[x]["data_offsets"])]
            entries[x] = {**header[x], "data_offsets": [len(bytes_of), len(bytes_of) + len(piece)]}
            bytes_of += piece
            index[x] = shard
        write_safetensors(t.path("bad/" + shard), entries, bytes_of)
    put(t, "bad/model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": index}).encode())
    t.expect("shards: whole", ["convert", "bad", "shards.gguf"], 0)
    whole = get(t, "bad/" + shards[1])
    put(t, "bad/" + shards[1], LFS)
    each_verb(t, "shards: a pointer", "bad", "shard 2 of 2", shards[1], "git lfs pull")
    put(t, "bad/" + shards[1], whole[:-8])
    each_verb(t, "shards: one cut", "bad", "shard 2 of 2", shards[1], "fetch it again")
    os.unlink(t.path("bad/" + shards[1]))
    each_verb(t, "shards: one missing", "bad", "shard 2 of 2", shards[1], "fetch the missing")


def test_directories(t):
    copy(t, "bad")
    put(t, "bad/config.json", b"")
    each_verb(t, "config.json: empty", "bad", "bad/config.json is empty", "copied completely")
    put(t, "bad/config.json", LFS)
    each_verb(t, "config.json: a pointer", "bad", "bad/config.json is a git-lfs pointer", "git lfs pull")
    copy(t, "bad")
    change_json(t, "bad/config.json", model_type="rwkv")
    each_verb(t, "another family", "bad", "bad/config.json", '"rwkv" is not implemented', "llama, mistral, qwen2")
    copy(t, "bad")
    change_json(t, "bad/config.json", quantization_config={"bits": 4})
    each_verb(t, "an option", "bad", "bad/config.json", "'quantization_config'", "does not implement")
    copy(t, "bad", without=("config.json",))
    each_verb(t, "config.json: missing", "bad", "bad: there is no config.json", "fetch what is missing", inspect=0)
    os.makedirs(t.path("nothing"), exist_ok=True)
    t.expect("eval: an empty directory", ["eval", "--model", "nothing", "--data", "text.txt"], 3,
             "nothing: there is no config.json", "fetch what is missing")
    t.expect("inspect: an empty directory", ["inspect", "nothing"], 3, "nothing: neither", "name the file")
    copy(t, "hf")
    t.expect("a GGUF", ["convert", "hf", "nothing/some.gguf"], 0)
    t.expect("eval: a directory of GGUF", ["eval", "--model", "nothing", "--data", "text.txt"], 3,
             "nothing: there is no config.json in it, but some.gguf", "give that file")
    for name in ("hf/model.safetensors", "hf/config.json"):
        t.expect("eval: " + name, ["eval", "--model", name, "--data", "text.txt"], 3, name, "a file of a model",
                 "give a directory")
    each_verb(t, "nothing there", "none", "none: ")


def test_tokenizers(t):
    copy(t, "bad", without=("tokenizer.json",))
    each_verb(t, "tokenizer: missing", "bad", "bad: there is no tokenizer.json", "copy the one of the model")
    put(t, "bad/vocab.json", b"{}")
    each_verb(t, "tokenizer: slow files alone", "bad", "but vocab.json", "save_pretrained")
    put(t, "bad/tokenizer.json", LFS)
    each_verb(t, "tokenizer: a pointer", "bad", "bad/tokenizer.json is a git-lfs pointer", "git lfs pull")
    shutil.copy(os.path.join(GOLDEN, "tokenizers/gpt2.json"), t.path("bad/tokenizer.json"))
    each_verb(t, "tokenizer: a larger one", "bad", r"bad: the tokenizer has \d+ tokens", "40 rows", "another model's",
              "put the tokenizer files of this one")
    copy(t, "bad")
    change_json(t, "bad/config.json", eos_token_id=39)
    each_verb(t, "tokenizer: a smaller one", "bad", "bad: 'eos_token_id' of config.json is 39", "has 8 tokens",
              "another model's", "put the tokenizer files of this one")


def test_gguf(t):
    copy(t, "hf")
    t.expect("to GGUF", ["convert", "hf", "model.gguf"], 0)
    whole = get(t, "model.gguf")
    for what, data, *patterns in (
            ("cut in the tensors", whole[:-100], "100 bytes are missing", "download is incomplete"),
            ("cut in the keys", whole[:200], "byte 8: the header promises", "download is incomplete"),
            ("empty", b"", "empty", "copied completely"),
            ("a git-lfs pointer", LFS, "git-lfs pointer", "git lfs pull"),
            ("an HTML page", HTML, "HTML page", "browser"),
            ("a pickle", pickled(True), "PyTorch pickle", "does not run pickles"),
            ("safetensors", get(t, "hf/model.safetensors"), "a safetensors file", "name it .safetensors"),
            ("GGML of before", b"tjgg" + bytes(60), "before GGUF", "convert the original model again")):
        put(t, "bad.gguf", data)
        each_verb(t, "GGUF: " + what, "bad.gguf", "bad.gguf", *patterns)
    write_gguf(t, "split.gguf", "llama", [("split.no", 1), ("split.count", 3)], ["blk.9.attn_q.weight"])
    each_verb(t, "GGUF: a part", "split.gguf", "split.gguf: is one of 3 parts", "--merge", inspect=0)
    write_gguf(t, "part1.gguf", "llama", [("split.no", 0), ("split.count", 3)], ["token_embd.weight"])
    each_verb(t, "GGUF: the first part", "part1.gguf", "part1.gguf: is one of 3 parts", "--merge")
    write_gguf(t, "adapter.gguf", "llama", [("general.type", "adapter"), ("adapter.type", "lora")],
               ["blk.0.attn_q.weight.lora_a"])
    each_verb(t, "GGUF: an adapter", "adapter.gguf", "adapter.gguf: is an adapter", "give the model it was made for",
              inspect=0)
    write_gguf(t, "family.gguf", "rwkv7", [], ["token_embd.weight"])
    each_verb(t, "GGUF: another family", "family.gguf", "family.gguf: architecture 'rwkv7' is not implemented",
              "llama, qwen2")
    write_gguf(t, "half.gguf", "llama", [("llama.block_count", 1)], ["output_norm.weight"])
    each_verb(t, "GGUF: no model", "half.gguf", "half.gguf: tensor 'token_embd.weight' is missing", "model's own file",
              inspect=0)
    write_gguf(t, "option.gguf", "llama", [("llama.expert_count", 8)], ["token_embd.weight"])
    each_verb(t, "GGUF: an option", "option.gguf", "option.gguf: ", "llama.expert_count|rank|context_length")


def test_rows(t):
    """Data and templates: each bad row has its line; a template nobody knows is not guessed."""
    copy(t, "chat", "llama")
    messages = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "cab"}]
    put(t, "chat.jsonl", b"".join(json.dumps({"messages": messages}).encode() + b"\n" for _ in range(24)))
    train = ["train", "--model", "chat", "--out", "run", "--steps", "1", "--data"]
    t.expect("no template", train + ["chat.jsonl", "--chat-template", "auto"], 2, "no chat template", "chatml, llama3")
    template = "{% for m in messages %}<<{{ m['role'] }}>>{{ m['content'] }}{% endfor %}"
    put(t, "chat/tokenizer_config.json", json.dumps({"chat_template": template}).encode())
    t.expect("an unknown template", train + ["chat.jsonl", "--chat-template", "auto"], 3, "none that lathe can write",
             "<<", "name the one that fits", "chatml, llama3")
    t.expect("an unknown name", train + ["chat.jsonl", "--chat-template", "nosuch"], 2, "'nosuch'", "chatml, llama3")
    rows = [{"text": "abc"}] * 24 + [{"txt": "abc"}, {"text": 5}]
    put(t, "rows.jsonl", b"".join(json.dumps(r).encode() + b"\n" for r in rows) + b"{broken\n")
    for verb in (train + ["rows.jsonl"], ["eval", "--model", "chat", "--data", "rows.jsonl"]):
        t.expect(verb[0] + ": rows without text", verb, 3, "3 of 27 rows of rows.jsonl",
                 "rows.jsonl:25: 'text' is missing", "rows.jsonl:26: 'text' is an integer", "rows.jsonl:27: not JSON")


def make_text(t):
    put(t, "text.txt", b"abc abc cab\n" * 50)


def main():
    tests = (test_both_ways, test_types, test_to, test_inspect, test_forecast, test_weights, test_shards,
             test_directories, test_tokenizers, test_gguf, test_rows)
    return run_all("convert", tests, make_text)


if __name__ == "__main__":
    sys.exit(main())
