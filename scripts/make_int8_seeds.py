#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/fuzz_int8.c, fuzz_imatrix.c and fuzz_grids.c: small whole files, and some with one
thing wrong.

usage: make_int8_seeds.py [DIRECTORY]      (tests/fuzz/corpus; needs nothing but Python)
"""
import os
import random
import struct
import sys

from make_packed_seeds import draw, safetensors


def floats(*values):
    return "F32", [len(values)], struct.pack("<%df" % len(values), *values)


# ---- Networks in integers ----


def layer(site, out, columns, bits=8, lowest=0, scale=0.25, table=False):
    row = (columns + 1) // 2 if bits <= 4 else columns
    parts = {site + ".codes": draw("U8" if bits <= 4 else "I8", out, row), site + ".act": floats(scale, lowest, bits)}
    if not table:
        parts[site + ".scale"] = draw("F32", out)
        parts[site + ".bias"] = draw("F32", out)
    return parts


def network(kind, layers, config, size=0, drop=None, change=None, **other):
    tensors = {}
    for part in layers:
        tensors.update(part)
    if drop:
        tensors.pop(drop)
    tensors.update(change or {})
    metadata = {"lathe.int8": kind, "lathe.size": str(size)}
    metadata.update(("lathe." + key, str(value)) for key, value in dict(config, **other).items())
    return safetensors(tensors, {key: value for key, value in metadata.items() if value != "None"})


CNN = dict(filters=2, stages=2, blocks=1, depthwise=0, height=4, width=5, channels=1, classes=2, norm_eps=1e-5,
           norm_momentum=0.1)
MLP = dict(hidden="6/5", inputs=7, classes=3)
RNN = dict(vocab=0, inputs=0, dim=4, hidden=4, layers=1, tied=0, classes=0, context=16)


def cnn(bits=8, first=8, **how):
    layers = [layer("stem.conv", 2, 9, first, -127), layer("stage.0.0.conv1", 2, 18, bits),
              layer("stage.0.0.conv2", 2, 18, bits), layer("stage.1.0.conv1", 4, 18, bits),
              layer("stage.1.0.conv2", 4, 36, bits), layer("stage.1.0.shortcut.conv", 4, 2, bits),
              layer("head", 2, 4, 8)]
    return network("cnn", layers, CNN, **how)


def depthwise():
    layers = [layer("stem.conv", 2, 9, 8, -127), layer("stage.0.0.conv1", 2, 9), layer("stage.0.0.conv2", 2, 2),
              layer("stage.1.0.conv1", 2, 9), layer("stage.1.0.conv2", 4, 2), layer("head", 2, 4)]
    return network("cnn", layers, CNN, depthwise=1, size=2)


def mlp(bits=8, **how):
    layers = [layer("fc1", 6, 7, bits, -127), layer("fc2", 5, 6, bits), layer("fc3", 3, 5)]
    return network("mlp", layers, MLP, **how)


def recurrent(kind, **how):
    n = 4 * (4 if kind == "lstm" else 3)
    layers = [layer("rnn.0.ih", n, how.get("inputs", 4), 8, -127), layer("rnn.0.hh", n, 4, 8, -127, 1 / 127)]
    if how.get("vocab"):
        layers.append(layer("token_embd", how["vocab"], 4, 8, -127, table=True))
    layers.append(layer("head" if how.get("classes") else "output", how.get("classes") or how["vocab"], 4, 8, -127))
    return network(kind, layers, RNN, **dict({"size": 5}, **how))


def int8_seeds():
    nan, infinity = float("nan"), float("inf")
    return {
        "ok-cnn": cnn(),
        "ok-cnn-4-bits": cnn(4, size=3),
        "ok-cnn-depthwise": depthwise(),
        "ok-mlp": mlp(),
        "ok-mlp-3-bits": mlp(3, size=2),
        "ok-lstm-tokens": recurrent("lstm", vocab=6, tied=1),
        "ok-gru-classes": recurrent("gru", vocab=6, classes=3),
        "ok-lstm-series": recurrent("lstm", inputs=3, classes=2, size=3),
        "ok-cnn-extreme": cnn(change={"stage.0.0.conv1.scale": floats(3e38, 3e38), "stem.conv.bias": floats(3e38, -3e38),
                                      "stage.1.0.conv2.act": floats(1e-45, 0, 8), "head.act": floats(1e-45, -127, 8),
                                      "stage.0.0.conv2.act": floats(3e38, 0, 8), "head.scale": floats(3e38, 0)}),
        "ok-mlp-extreme": mlp(change={"fc1.act": floats(1e-45, -127, 8), "fc1.scale": floats(*[3e38] * 6),
                                      "fc2.bias": floats(*[-3e38] * 5), "fc2.act": floats(1e-45, 0, 8)}),
        "ok-lstm-extreme": recurrent("lstm", inputs=3, classes=2, size=3, change={
            "rnn.0.ih.scale": floats(*[3e38] * 16), "rnn.0.ih.bias": floats(*[-3e38, 3e38] * 8),
            "rnn.0.hh.scale": floats(*[3e38] * 16)}),
        "ok-gru-extreme": recurrent("gru", inputs=3, classes=2, size=3, change={
            "rnn.0.ih.scale": floats(*[3e38] * 12), "rnn.0.ih.bias": floats(*[-3e38, 3e38] * 6),
            "rnn.0.hh.scale": floats(*[3e38] * 12)}),
        "bad-sides": cnn(height=16384, width=16384),
        "bad-images": cnn(height=1500, width=1500, size=64),
        "bad-channels": cnn(channels=4096),
        "bad-filters": cnn(filters=16384, stages=8),
        "bad-shortcut": cnn(change=layer("stage.1.0.shortcut.conv", 4, 2, scale=0.5)),
        "bad-scale": cnn(change={"head.scale": floats(1, nan)}),
        "bad-bias": cnn(change={"head.bias": floats(infinity, 0)}),
        "bad-no-bias": cnn(drop="head.bias"),
        "bad-act": cnn(change={"head.act": floats(0, 0, 8)}),
        "bad-act-nan": cnn(change={"head.act": floats(0.5, nan, 8)}),
        "bad-bits": cnn(change={"head.act": floats(0.5, 0, 9)}),
        "bad-few-codes": cnn(change={"head.codes": draw("I8", 2, 3)}),
        "bad-codes-type": cnn(change={"head.codes": draw("U8", 2, 4)}),
        "bad-below-zero": mlp(change=layer("fc2", 5, 6, 8, -127)),
        "bad-rows": mlp(size=1024, inputs=1 << 24),
        "bad-widths": mlp(hidden="6/0"),
        "bad-kind": network("vgg", [], {}),
        "bad-no-kind": safetensors({"a": floats(1)}),
        "bad-no-size": mlp(size=None),
        "bad-number": cnn(height="1e99"),
        "bad-steps": recurrent("lstm", vocab=6, tied=1, size=65536),
        "bad-steps-below": recurrent("gru", vocab=6, classes=3, size=-1),
        "bad-tied": recurrent("lstm", vocab=6, tied=1, dim=3),
    }


# ---- imatrix ----


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(pairs, tensors):
    """pairs: texts; tensors: name -> (shape as GGUF has it, type, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    for key, value in pairs.items():
        head += text(key) + struct.pack("<I", 8) + text(value)
    data = b""
    for name, (shape, kind, raw) in tensors.items():
        head += text(name) + struct.pack("<I%dQIQ" % len(shape), len(shape), *shape, kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    return head + bytes(-len(head) % 32) + data


def sums(name, columns, count=7.0, **change):
    values = [random.uniform(0, 9) for _ in range(columns)]
    parts = {name + ".in_sum2": ([columns, 1], 0, struct.pack("<%df" % columns, *values)),
             name + ".counts": ([1, 1], 0, struct.pack("<f", count))}
    parts.update((name + "." + key, value) for key, value in change.items())
    return parts


def imatrix(*parts):
    tensors = {}
    for part in parts:
        tensors.update((name, tensor) for name, tensor in part.items() if tensor)
    return gguf({"general.type": "imatrix"}, tensors)


def imatrix_seeds():
    def wrong(*values):
        return [len(values), 1], 0, struct.pack("<%df" % len(values), *values)

    name = "blk.0.ffn_down.weight"
    return {
        "ok-one": imatrix(sums(name, 5)),
        "ok-two": imatrix(sums(name, 5), sums("blk.0.attn_q.weight", 3, 0.0)),
        "ok-long-name": imatrix(sums("a" * 55, 2)),
        "ok-no-column": imatrix(sums(name, 2), sums("b", 0)),
        "bad-none": imatrix(),
        "bad-no-counts": imatrix(sums(name, 5, counts=None)),
        "bad-counts-alone": imatrix(sums(name, 5, in_sum2=None)),
        "bad-negative": imatrix(sums(name, 3, in_sum2=wrong(1, -1, 1))),
        "bad-nan": imatrix(sums(name, 3, in_sum2=wrong(1, float("nan"), 1))),
        "bad-infinity": imatrix(sums(name, 3, in_sum2=wrong(1, 2, float("inf")))),
        "bad-count-negative": imatrix(sums(name, 3, -1.0)),
        "bad-count-nan": imatrix(sums(name, 3, float("nan"))),
        "bad-count-infinite": imatrix(sums(name, 3, float("inf"))),
        "bad-experts": imatrix(sums(name, 3, counts=([1, 2], 0, bytes(8)))),
        "bad-no-count": imatrix(sums(name, 3, counts=([1, 0], 0, b""))),
        "bad-type": imatrix(sums(name, 3, in_sum2=([3, 1], 1, bytes(6)))),
    }


# ---- quantization.safetensors ----


def grids_seeds():
    words = {"lathe.policy": '{"weights": "int8", "activations": "int8_static"}'}
    grid = {"fc1:act_scale": floats(0.25, -127), "fc2:act_scale": floats(0.5, 0)}
    return {
        "ok-grids": safetensors(grid, words),
        "ok-no-words": safetensors(grid),
        "ok-other-tensors": safetensors(dict(grid, other=floats(1, 2, 3)), words),
        "ok-none": safetensors({"other": floats(1)}, words),
        "ok-words-array": safetensors(grid, {"lathe.policy": "[1]"}),
        "ok-words-broken": safetensors(grid, {"lathe.policy": "{"}),
        "ok-words-deep": safetensors(grid, {"lathe.policy": '{"a":' * 3000}),
        "bad-three": safetensors({"fc1:act_scale": floats(1, 0, 0)}, words),
        "bad-negative": safetensors({"fc1:act_scale": floats(-1, 0)}, words),
        "bad-nan": safetensors({"fc1:act_scale": floats(float("nan"), 0)}, words),
        "bad-infinite": safetensors({"fc1:act_scale": floats(float("inf"), 0)}, words),
        "bad-lowest": safetensors({"fc1:act_scale": floats(1, -128)}, words),
        "bad-long-name": safetensors({"a" * 501 + ":act_scale": floats(1, 0)}, words),
    }


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus"
    random.seed(8)
    for kind, seeds in (("int8", int8_seeds()), ("imatrix", imatrix_seeds()), ("grids", grids_seeds())):
        os.makedirs(os.path.join(root, kind), exist_ok=True)
        for name, raw in seeds.items():
            with open(os.path.join(root, kind, name), "wb") as file:
                file.write(raw)


main()
