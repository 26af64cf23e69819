#!/usr/bin/env python3
"""Tests of lathe cluster and lathe train --clusters.

usage: cluster_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The packed file is unpacked here, by a reader of its own, and compared with the weights
of the model beside it, bit for bit. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import math
import os
import shutil
import struct
import sys

from cli_tests import read_safetensors, run_all, write_safetensors

GOLDEN = os.path.abspath("tests/golden/families/llama")
NAMES = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj"}
TEXT = "\n<|endoftext|>\n".join("the cat sat on a mat and saw %d dogs run" % i for i in range(24)) + "\n"


def hf_name(name):
    layer, what = name.split(".")[1:3]
    return "model.layers.%s.%s.weight" % (layer, NAMES[what])


def tensor(header, data, name):
    return data[slice(*header[name]["data_offsets"])]


def unpack(path):
    """{name: (shape, floats as bytes, clusters, codebooks)} of all clustered tensors."""
    header, data = read_safetensors(path)
    found = {}
    for key, value in header["__metadata__"].items():
        if not key.startswith("clusters:"):
            continue
        name, (bits, shape) = key[9:], value.split(":")
        bits, shape = int(bits), [int(n) for n in shape.split("x")]
        books, clusters = header[name + ":codebook"]["shape"]
        codebook = tensor(header, data, name + ":codebook")
        if header[name + ":codebook"]["dtype"] == "F64":  # of the double build
            codebook = struct.pack("<%df" % (books * clusters), *struct.unpack("<%dd" % (books * clusters), codebook))
        stream = int.from_bytes(tensor(header, data, name + ":indices"), "little")
        count = math.prod(shape)
        floats = b""
        for i in range(count):
            at = i // (count // books) * clusters + (stream >> bits * i & (1 << bits) - 1)
            floats += codebook[4 * at:4 * at + 4]
        found[name] = (shape, floats, clusters, books)
    return found


def check_packed(t, what, out, clusters, rows):
    header, data = read_safetensors(t.path(out + "/model.safetensors"))
    found = unpack(t.path(out + "/clusters.safetensors"))
    layers = sum(name.endswith("q_proj.weight") for name in header)
    t.check(what + ": every linear layer", len(found) == 7 * layers, found.keys())
    for name, (shape, floats, k, books) in found.items():
        same = header[hf_name(name)]["shape"] == shape and tensor(header, data, hf_name(name)) == floats
        t.check("%s: %s is what the model has" % (what, name), same)
        size = len(floats) // books
        most = max(len({floats[i:i + 4] for i in range(b * size, (b + 1) * size, 4)}) for b in range(books))
        t.check("%s: %s has few values" % (what, name),
                most <= k == clusters and books == (shape[0] if rows else 1), most)
    return found


def test_cluster(t):
    for clusters, rows in ((16, False), (3, True), (256, False)):
        words = ["cluster", "--model", GOLDEN, "--out", "c", "--clusters", str(clusters)]
        what = " ".join(words[5:]) + (" by rows" if rows else "")
        shutil.rmtree(t.path("c"), ignore_errors=True)
        a = t.answer(what, words + (["--cluster-per", "channel"] if rows else []))
        found = check_packed(t, what, "c", clusters, rows)
        p = a.get("packed", {})
        bits = math.ceil(math.log2(clusters))
        sizes = [math.prod(shape) for shape, _, _, _ in found.values()]
        t.check(what + ": sizes", p.get("weights") == sum(sizes) and
                p.get("float_bytes") in (4 * sum(sizes), 8 * sum(sizes)) and
                p.get("index_bytes") == sum((n * bits + 7) // 8 for n in sizes) and
                p.get("packed_bytes") == p["index_bytes"] + p["codebook_bytes"] and p.get("zlib_bytes", 0) > 0 and
                p.get("file_bytes") == os.path.getsize(t.path("c/clusters.safetensors")), a)
        t.check(what + ": moved", 0 <= a.get("moved", -1) < 1, a)
        t.expect(what + ": inspect", ["inspect", "c"], 0)
    out = t.expect("a table", ["cluster", "--model", GOLDEN, "--out", "c2"], 0)
    t.check("the table and the size", "blk.0.attn_q.weight" in out and "zlib" in out and "read back" in out, out)
    with open(t.path("c2/README.md")) as file:
        card = file.read()
    t.check("a card", "16 a tensor" in card and "model: llama" in card and os.path.dirname(GOLDEN) not in card and
            "codebooks and indices" in card, card)
    again = t.expect("again", ["cluster", "--model", GOLDEN, "--out", "c3", "--threads", "1"], 0)
    one, two = (open(t.path(d + "/clusters.safetensors"), "rb").read() for d in ("c2", "c3"))
    t.check("the same bytes again", one == two, again)


def test_zeros(t):
    shutil.copytree(GOLDEN, t.path("sparse"))
    path = t.path("sparse/model.safetensors")
    header, data = read_safetensors(path)
    data = bytearray(data)
    name = "model.layers.0.mlp.up_proj.weight"
    begin, end = header[name]["data_offsets"]
    width = (end - begin) // math.prod(header[name]["shape"])
    for i in range(begin, end, 2 * width):
        data[i:i + width] = b"\0" * width
    write_safetensors(path, header, bytes(data))
    t.expect("zeros", ["cluster", "--model", "sparse", "--out", "z", "--clusters", "4", "--cluster-preserve-zeros"], 0)
    header, data = read_safetensors(t.path("z/model.safetensors"))
    floats = tensor(header, data, name)
    t.check("zeros stay", all(floats[i:i + 4] == b"\0\0\0\0" for i in range(0, len(floats), 8)))
    t.check("others stay something", any(floats[i:i + 4] != b"\0\0\0\0" for i in range(4, len(floats), 8)))


def test_refused(t):
    t.expect("no model", ["cluster", "--out", "x"], 2, "give --model")
    t.expect("no place", ["cluster", "--model", GOLDEN], 2, "give --out")
    t.expect("one cluster", ["cluster", "--model", GOLDEN, "--out", "x", "--clusters", "1"], 2, "clusters")
    t.expect("too many", ["cluster", "--model", GOLDEN, "--out", "x", "--clusters", "257"], 2, "clusters")
    t.expect("no such model", ["cluster", "--model", "nowhere", "--out", "x"], 3, "nowhere")
    t.expect("nothing meant", ["cluster", "--model", GOLDEN, "--out", "x", "--cluster-targets", "q*"], 2,
             "nothing to cluster")
    shutil.copytree(GOLDEN, t.path("nan"))
    header, data = read_safetensors(t.path("nan/model.safetensors"))
    data = bytearray(data)
    begin, end = header["model.layers.0.mlp.up_proj.weight"]["data_offsets"]
    data[begin:begin + 8] = b"\xff" * 8  # NaN in every float type
    write_safetensors(t.path("nan/model.safetensors"), header, bytes(data))
    t.expect("NaN", ["cluster", "--model", "nan", "--out", "x"], 3, "blk.0.ffn_up.weight", "NaN")
    t.check("and nothing is written", not os.path.exists(t.path("x")))


def test_train(t):
    t.write("text.txt", TEXT)
    words = ["train", "--init", "llama:layers=1,dim=32,hidden=44,heads=2,kv_heads=1,context=64", "--data", "text.txt",
             "--steps", "6", "--clusters", "8"]
    for extra, rows in (([], False), (["--cluster-mode", "ste", "--cluster-per", "channel"], True)):
        shutil.rmtree(t.path("run"), ignore_errors=True)
        a = t.answer("train " + " ".join(extra), words + ["--out", "run"] + extra)
        check_packed(t, "train " + " ".join(extra), "run", 8, rows)
        t.check("what is saved is what was evaluated", a.get("valid_loss") == a.get("after", {}).get("nll"), a)
        t.check("the packed file is told", a.get("clusters", {}).get("weights", 0) > 0, a)
        with open(t.path("run/README.md")) as file:
            card = file.read()
        t.check("its card", "- steps: 6" in card and "training data" in card and "nll after, of the centroids: %.6f" %
                a["after"]["nll"] in card and "without training" not in card, card)
        t.check("run.json", json.load(open(t.path("run/run.json"))).get("clustering", {}).get("clusters") == 8)
    out = t.expect("in words", words + ["--out", "run2"], 0)
    t.check("the size is told", "clusters    " in out and "packed      " in out, out)
    t.expect("with --qat", words + ["--out", "run3", "--qat", "q8_0"], 2, "exclude each other")
    t.expect("one cluster", words[:-1] + ["1", "--out", "run3"], 2, "2 to 256")
    t.expect("saved", words + ["--out", "run4", "--save-every", "3"], 0)
    t.expect("another number on resume", words[:-1] + ["4", "--out", "run4", "--save-every", "3"], 2, "clusters was 8")


def main():
    tests = (test_cluster, test_zeros, test_refused, test_train)
    return run_all("cluster", tests)


if __name__ == "__main__":
    sys.exit(main())
