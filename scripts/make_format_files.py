#!/usr/bin/env python3
"""Writes tests/files/{gguf,safetensors}: small valid and broken files, and in expected.txt what a reader must say.

usage: make_format_files.py [--out tests/files] [--corpus tests/fuzz/corpus/gguf] [--compare]
needs: numpy, gguf and safetensors (the two files ok-by-python are made by their writers).

A line of expected.txt is: name, TAB, "ok" or the status, TAB, a part of the message; for a valid file the number of its
tensors. tests/test_format_files.c reads it. Names of valid files begin with ok-, of broken ones with bad-, as in the
fuzz corpora; some of the GGUF files are copied to --corpus, too. The output is the same every time.

--compare also asks the formats' own readers (safetensors; gguf.py; ggml through llama_cpp's library, once for the
header alone and once with the data) and prints where they differ from what lathe is to say. DIFFERENT tells why each
of the differences is meant; one that is not explained there ends the script with status 1.

The files are built byte by byte from the formats' descriptions and not by a writer, so that each breaks one rule.
"""
import argparse
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
# ggml types: number, elements a block, bytes a block
GGML = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22),
        "q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q8_1": (9, 32, 36), "q2_k": (10, 256, 84), "q3_k": (11, 256, 110),
        "q4_k": (12, 256, 144), "q5_k": (13, 256, 176), "q6_k": (14, 256, 210), "q8_k": (15, 256, 292),
        "iq2_xxs": (16, 256, 66), "iq2_xs": (17, 256, 74), "iq3_xxs": (18, 256, 98), "iq1_s": (19, 256, 50),
        "iq4_nl": (20, 32, 18), "iq3_s": (21, 256, 110), "iq2_s": (22, 256, 82), "iq4_xs": (23, 256, 136),
        "i8": (24, 1, 1), "i16": (25, 1, 2), "i32": (26, 1, 4), "i64": (27, 1, 8), "f64": (28, 1, 8),
        "iq1_m": (29, 256, 56), "bf16": (30, 1, 2), "tq1_0": (34, 256, 54), "tq2_0": (35, 256, 66),
        "mxfp4": (39, 32, 17), "nvfp4": (40, 64, 36), "q1_0": (41, 128, 18), "q2_0": (42, 64, 18)}

# Where lathe differs from a format's own reader on purpose.
DIFFERENT = {
    "gguf": {
        "bad-key-nul": "a C string would end there, and two keys be one",
        "bad-key-not-utf8": "keys go into JSON and messages; gguf.py refuses them, too",
        "bad-name-nul": "ggml silently cuts the name",
        "bad-name-not-utf8": "as for keys",
        "bad-dims-largest": "2^63 - 1 elements: the rule says less; ggml dies when it loads the data",
        "bad-data-cut": "ggml looks when it loads the data, lathe when it opens",
        "bad-data-missing": "the same",
        "bad-data-huge": "the same",
        "ok-no-last-padding": "ggml alone wants the padding of the last tensor; llama.cpp's loader does not",
    },
    "safetensors": {
        "bad-leading-space": "the format's text says that the header must begin with a brace",
        "bad-twice": "the format's text forbids it; two readers would see two files",
        "bad-metadata-twice": "the same",
    },
}


# ---- GGUF ----------------------------------------------------------------------------------------------------------
def u32(n):
    return struct.pack("<I", n & 0xFFFFFFFF)


def u64(n):
    return struct.pack("<Q", n & 0xFFFFFFFFFFFFFFFF)


def text(s):
    b = s if isinstance(s, bytes) else s.encode()
    return u64(len(b)) + b


def value(kind, v):
    return text(v) if kind == STRING else struct.pack("<" + PACK[kind], v)


def key(name, kind, v):
    return text(name) + u32(kind) + value(kind, v)


def array(name, kind, items, count=None):
    head = text(name) + u32(ARRAY) + u32(kind) + u64(len(items) if count is None else count)
    return head + b"".join(value(kind, v) for v in items)


def pad(b, alignment):
    return b + bytes(-len(b) % alignment)


class Tensor:
    """ne: fastest first. What is not given follows from the rest."""

    def __init__(self, name, ne=(), kind="f32", data=None, number=None, rank=None, offset=None):
        self.name, self.ne, self.rank, self.offset = name, ne, len(ne) if rank is None else rank, offset
        self.number, block, size = GGML[kind] if number is None else (number, 1, 4)
        count = 1
        for n in ne:
            count *= n
        self.size = count // block * size
        self.data = data if data is not None else pattern(self.size)


def pattern(count):
    """Bytes that make no infinite or NaN number in most types."""
    return bytes((37 * i + 11) % 61 for i in range(count if count < 4096 else 0))


def gguf(keys=(), tensors=(), version=3, n_keys=None, n_tensors=None, alignment=32, magic=b"GGUF", last=True):
    head = magic + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors)
    head += u64(len(keys) if n_keys is None else n_keys) + b"".join(keys)
    data, at = b"", 0
    for t in tensors:
        head += text(t.name) + u32(t.rank) + b"".join(u64(n) for n in t.ne) + u32(t.number)
        head += u64(at if t.offset is None else t.offset)
        at += t.size + -t.size % alignment
        data = pad(data, alignment) + t.data
    if tensors:
        head = pad(head, alignment)
    return head + (pad(data, alignment) if last else data)


ARCH = key("general.architecture", STRING, "llama")
A = Tensor("a", (4,))


def one_of_each():
    values = [(U8, 200), (I8, -100), (U16, 60000), (I16, -30000), (U32, 4000000000), (I32, -2000000000), (F32, 0.15625),
              (BOOL, 1), (STRING, "word"), (U64, 2 ** 63), (I64, -2 ** 62), (F64, 1e-300)]
    return [key("value.%d" % kind, kind, v) for kind, v in values]


def one_array_of_each():
    values = [(U8, [0, 255]), (I8, [-128, 127]), (U16, [1, 2, 3]), (I16, [-1]), (U32, [2 ** 32 - 1]), (I32, [-7, 7]),
              (F32, [0.5, -0.25]), (BOOL, [1, 0, 1]), (STRING, ["a", "", "ccc"]), (U64, [2 ** 64 - 1]), (I64, [-1, 1]),
              (F64, [2.5])]
    return [array("list.%d" % kind, kind, v) for kind, v in values]


def gguf_by_python(directory):
    """The same content as tests/test_gguf.c expects."""
    import gguf as peer
    import numpy as np
    path = os.path.join(directory, "made")
    w = peer.GGUFWriter(path, "llama")
    w.add_uint8("v.u8", 200)
    w.add_int8("v.i8", -100)
    w.add_uint16("v.u16", 60000)
    w.add_int16("v.i16", -30000)
    w.add_uint32("v.u32", 4000000000)
    w.add_int32("v.i32", -2000000000)
    w.add_uint64("v.u64", 2 ** 63 + 5)
    w.add_int64("v.i64", -2 ** 62)
    w.add_float32("v.f32", 0.15625)
    w.add_float64("v.f64", 1e-300)
    w.add_bool("v.bool", True)
    w.add_string("v.string", "d\u00e9j\u00e0 vu")
    w.add_array("v.ints", [1, -2, 3])
    w.add_array("v.reals", [0.5, -0.25])
    w.add_array("v.strings", ["a", "bb", "\u00e9"])
    w.add_array("v.bools", [True, False])
    w.add_tensor("f32", np.arange(6, dtype=np.float32).reshape(2, 3) / 4)
    w.add_tensor("f16", np.arange(4, dtype=np.float16) - 1.5)
    w.add_tensor("i32", np.array([[7], [-7]], np.int32))
    block = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    w.add_tensor("q8_0", peer.quants.quantize(block, peer.GGMLQuantizationType.Q8_0),
                 raw_dtype=peer.GGMLQuantizationType.Q8_0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    with open(path, "rb") as f:
        made = f.read()
    os.remove(path)
    return made


def foreign():
    """Files of other kinds that end up under the wrong name: for both formats."""
    html = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
    zip_head = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 16, 0)
    return [
        ("bad-nothing", b"", "EFORMAT", "is empty"),
        ("bad-lfs-pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 98362432\n", "EFORMAT",
         "git lfs pull"),
        ("bad-pickle", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "EFORMAT", "this is a PyTorch pickle"),
        ("bad-torch-zip", zip_head + b"archive/data.pkl" + b"\x80\x02}q\x00.", "EFORMAT", "this is a PyTorch pickle"),
        ("bad-zip", zip_head + b"weights/part-one" + b"abc", "EFORMAT", "this is a zip archive"),
        ("bad-html", html, "EFORMAT", "the download link gave a web page"),
        ("bad-xml", b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "EFORMAT",
         "this is an XML text"),
        ("bad-json", b"{\"error\":\"Repository not found\"}", "EFORMAT", "this is a JSON text"),
        ("bad-gzip", gzip.compress(b"model", mtime=0), "EFORMAT", "this is a gzip file, not a"),
        ("bad-hdf5", b"\x89HDF\r\n\x1a\n" + bytes(40), "EFORMAT", "this is an HDF5 file"),
        ("bad-numpy", b"\x93NUMPY\x01\x00" + bytes(20), "EFORMAT", "this is a NumPy array"),
        ("bad-before-gguf", b"tjgg" + u32(3) + bytes(40), "EFORMAT", "a GGML file of before GGUF"),
    ]


def gguf_valid(directory):
    many = [Tensor("t%d" % i, (3,)) for i in range(12)]
    iq = ["iq2_xxs", "iq1_s", "iq1_m"]
    return [
        ("ok-by-python", gguf_by_python(directory), 4),
        ("ok-empty", gguf(), 0),
        ("ok-version-2", gguf([ARCH], [A], version=2), 1),
        ("ok-values", gguf(one_of_each()), 0),
        ("ok-arrays", gguf(one_array_of_each()), 0),
        ("ok-arrays-empty", gguf([array("e.%d" % k, k, []) for k in (U8, F64, STRING)]), 0),
        ("ok-strings", gguf([key("s.empty", STRING, ""), key("s.nul", STRING, "a\0b"),
                             key("s.bytes", STRING, b"\xff\xfe")]), 0),
        ("ok-bool-2", gguf([key("b", BOOL, 2)]), 0),
        ("ok-key-long", gguf([key("k" * 300, U8, 1)]), 0),
        ("ok-key-unicode", gguf([key("sch\u00f6n.\u2713", U8, 1)]), 0),
        ("ok-key-unknown", gguf([ARCH, key("acme.colour", STRING, "blue"), array("acme.list", U16, [1, 2])], [A]), 1),
        ("ok-key-prefixes", gguf([key("a" * n, U8, n) for n in (3, 1, 2, 5, 4)]), 0),
        ("ok-f32", gguf([ARCH], [Tensor("a", (3, 2))]), 1),
        ("ok-halves", gguf([], [Tensor("a", (3, 2), "f16"), Tensor("b", (5,), "bf16")]), 2),
        ("ok-whole-numbers", gguf([], [Tensor(k, (3,), k) for k in ("i8", "i16", "i32", "i64")]), 4),
        ("ok-f64", gguf([], [Tensor("a", (2,), "f64")]), 1),
        ("ok-rank-0", gguf([], [Tensor("a"), Tensor("b", (2,))]), 2),
        ("ok-rank-4", gguf([], [Tensor("a", (2, 3, 1, 2))]), 1),
        ("ok-zero", gguf([], [Tensor("a", (0,)), Tensor("b", (4,)), Tensor("c", (3, 0, 2))]), 3),
        ("ok-zero-alone", gguf([], [Tensor("a", (0, 5))]), 1),
        ("ok-zero-lattice", gguf([], [Tensor("a", (0, 5), "q4_0")]), 1),
        ("ok-blocks-32", gguf([], [Tensor(k, (32,), k) for k in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")]), 5),
        ("ok-blocks-iq4-mxfp4", gguf([], [Tensor(k, (32, 2), k) for k in ("iq4_nl", "mxfp4")]), 2),
        ("ok-blocks-k", gguf([], [Tensor(k, (256,), k) for k in ("q2_k", "q3_k", "q4_k")]), 3),
        ("ok-blocks-k2", gguf([], [Tensor(k, (256,), k) for k in ("q5_k", "q6_k")]), 2),
        ("ok-blocks-ternary", gguf([], [Tensor(k, (256,), k) for k in ("tq1_0", "tq2_0")]), 2),
        ("ok-sized-only", gguf([], [Tensor(k, (256,), k) for k in iq] + [Tensor("q8_1", (32,), "q8_1")]), 4),
        ("ok-sized-only-new", gguf([], [Tensor("nvfp4", (64,), "nvfp4"), Tensor("q1_0", (128,), "q1_0"),
                                        Tensor("q2_0", (64,), "q2_0")]), 3),
        ("ok-alignment-1", gguf([key("general.alignment", U32, 1)], [Tensor("odd", (3,), "i8"), A], alignment=1),
         2),
        ("ok-alignment-8", gguf([key("general.alignment", U32, 8)], [Tensor("a", (3,)), Tensor("b", (2,))],
                                alignment=8), 2),
        ("ok-alignment-64", gguf([key("general.alignment", U32, 64), ARCH], [Tensor("a", (3,)), Tensor("b", (2,))],
                                 alignment=64), 2),
        ("ok-alignment-256", gguf([ARCH, key("general.alignment", U32, 256)], [Tensor("a", (3,)), Tensor("b", (2,))],
                                  alignment=256), 2),
        ("ok-alignment-unused", gguf([key("general.alignment", U32, 1 << 31)]), 0),
        ("ok-no-last-padding", gguf([ARCH], [Tensor("a", (9,)), Tensor("b", (3,))], last=False), 2),
        ("ok-trailing", gguf([ARCH], [A]) + b"whatever follows", 1),
        ("ok-name-63", gguf([], [Tensor("n" * 63, (1,)), Tensor("n" * 62, (1,))]), 2),
        ("ok-name-empty", gguf([], [Tensor("", (1,))]), 1),
        ("ok-name-unicode", gguf([], [Tensor("\u00fc.\u6587", (1,))]), 1),
        ("ok-many", gguf([ARCH], many), 12),
        ("ok-strings-many", gguf([array("tokenizer.ggml.tokens", STRING, ["t%d" % i for i in range(60)])]), 0),
    ]


def gguf_counts():
    full = gguf([ARCH], [A])
    return [
        ("bad-magic", b"GGUE" + full[4:], "EFORMAT", "begins with the letters GGUF"),
        ("bad-magic-reversed", b"FUGG" + full[4:], "EFORMAT", "begins with the letters GGUF"),
        ("bad-magic-cut", b"GGU", "EFORMAT", "begins with the letters GGUF"),
        ("bad-magic-alone", b"GGUF", "EFORMAT", "the version takes 4 bytes"),
        ("bad-safetensors", tensors({"a": ("F32", [1], [0, 4])}), "EFORMAT", "this is a safetensors file, not a GGUF"),
        ("bad-version-0", gguf(version=0), "EFORMAT", "no version 0"),
        ("bad-version-1", gguf([ARCH], version=1), "EUNSUPPORTED", "GGUF version 1; versions 2 and 3"),
        ("bad-version-4", gguf([ARCH], version=4), "EUNSUPPORTED", "GGUF version 4"),
        ("bad-big-endian", struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "EUNSUPPORTED", "big-endian"),
        ("bad-header-cut", full[:20], "EFORMAT",
         "byte 16: header: the number of keys takes 8 bytes and the file ends after 4: 4 bytes"),
        ("bad-tensors-negative", gguf([ARCH], [A], n_tensors=-1), "EFORMAT", "promises 18446744073709551615 tensors"),
        ("bad-tensors-many", gguf([ARCH], [A], n_tensors=2), "EFORMAT", "offset 0 where 32 must stand"),
        ("bad-tensors-huge", gguf([ARCH], [A], n_tensors=1 << 40), "EFORMAT", "byte 8: the header promises"),
        ("bad-keys-negative", gguf([ARCH], [A], n_keys=-1), "EFORMAT", "byte 16: the header promises"),
        ("bad-keys-huge", gguf([ARCH], [A], n_keys=1 << 32), "EFORMAT", "cannot hold as many"),
        ("bad-keys-many", gguf([ARCH], n_keys=2), "EFORMAT", "byte 69: key number 2: the length of a string takes 8"),
        ("bad-keys-few", gguf([key("b", U8, 1), ARCH], [A], n_keys=1), "EFORMAT", "8 dimensions"),
    ]


def gguf_keys():
    return [
        ("bad-key-empty", gguf([key("", U8, 1), ARCH]), "EFORMAT", "byte 24: key number 1: its name is empty"),
        ("bad-key-twice", gguf([key("a", U8, 1), key("b", U8, 1), key("a", I8, 2)]), "EFORMAT",
         "byte 52: key 'a' occurs twice, first at byte 24"),
        ("bad-key-past-end", gguf([u64(99) + b"general.name" + u32(U8) + b"\1"]), "EFORMAT", "its name takes 99 bytes"),
        ("bad-key-length-huge", gguf([u64(1 << 63) + b"general.name" + u32(U8) + b"\1"]), "EFORMAT",
         "passes the format's limit of 2^30"),
        ("bad-key-nul", gguf([key("a\0b", U8, 1)]), "EFORMAT", "byte 33: key number 1: its name holds a NUL"),
        ("bad-key-not-utf8", gguf([key(b"a\xffb", U8, 1)]), "EFORMAT", "byte 33: key number 1: its name is not UTF-8"),
        ("bad-value-type", gguf([text("a") + u32(13) + b"\1"]), "EFORMAT", "key 'a': its type 13 is none of GGUF's"),
        ("bad-value-type-huge", gguf([text("a") + u32(-1) + b"\1"]), "EFORMAT", "type 4294967295"),
        ("bad-value-cut", gguf([text("abc") + u32(U64) + bytes(7)]), "EFORMAT",
         "key 'abc': its value takes 8 bytes and the file ends after 7: 1 bytes are missing"),
        ("bad-string-past-end", gguf([text("a") + u32(STRING) + u64(5) + b"1234"]), "EFORMAT",
         "key 'a': its string takes 5 bytes and the file ends after 4: 1 bytes"),
        ("bad-string-huge", gguf([text("a") + u32(STRING) + u64(-1) + b"1234"]), "EFORMAT", "limit of 2^30"),
        ("bad-array-nested", gguf([text("a") + u32(ARRAY) + u32(ARRAY) + u64(0)]), "EFORMAT",
         "arrays of arrays"),
        ("bad-array-type", gguf([text("a") + u32(ARRAY) + u32(99) + u64(0)]), "EFORMAT", "the type of its items 99"),
        ("bad-array-past-end", gguf([array("a", U32, [1, 2], count=3)]), "EFORMAT",
         "key 'a': the array takes 12 bytes"),
        ("bad-array-huge", gguf([array("a", U8, [1, 2], count=-1)]), "EFORMAT", "items passes the format's limit"),
        ("bad-array-limit", gguf([array("a", U8, [1, 2], count=(1 << 30) + 1)]), "EFORMAT", "limit of 2^30"),
        ("bad-array-overflow", gguf([array("a", F64, [1, 2], count=1 << 61)]), "EFORMAT", "limit of 2^30"),
        ("bad-array-cut", gguf([text("a") + u32(ARRAY) + u32(U8) + u32(0)]), "EFORMAT",
         "the count of the items takes 8"),
        ("bad-strings-many", gguf([array("a", STRING, ["x", "y"], count=1 << 29)]), "EFORMAT",
         "key 'a': an array of strings takes 4294967296 bytes"),
        ("bad-strings-past-end", gguf([array("a", STRING, ["x"], count=2) + u64(9) + b"1234"]), "EFORMAT",
         "key 'a': a string of the array takes 9 bytes and the file ends after 4: 5 bytes"),
        ("bad-alignment-type", gguf([key("general.alignment", U64, 32)], [A]), "EFORMAT",
         "must be a u32, it is of type u64"),
        ("bad-alignment-string", gguf([key("general.alignment", STRING, "32")], [A]), "EFORMAT", "must be a u32"),
        ("bad-alignment-array", gguf([array("general.alignment", U32, [32])], [A]), "EFORMAT", "of type array"),
        ("bad-alignment-0", gguf([key("general.alignment", U32, 0)], [A]), "EFORMAT", "a power of two, it is 0"),
        ("bad-alignment-24", gguf([key("general.alignment", U32, 24)], [A], alignment=24), "EFORMAT", "it is 24"),
    ]


def gguf_tensors():
    full = gguf([ARCH], [Tensor("a", (40,)), Tensor("b", (3,))])
    header = 24 + len(ARCH) + 2 * (8 + 1 + 4 + 8 + 4 + 8)
    big = 1 << 40
    return [
        ("bad-name-64", gguf([], [Tensor("n" * 64, (1,))]), "EFORMAT", "a name of 64 bytes, GGUF has at most 63"),
        ("bad-name-past-end", gguf(n_tensors=1) + u64(60) + b"abcdefghijklmnopqrst", "EFORMAT",
         "its name takes 60 bytes"),
        ("bad-name-twice", gguf([], [A, Tensor("b", (1,)), A]), "EFORMAT", "tensor 'a' occurs twice, first at byte 24"),
        ("bad-name-nul", gguf([], [Tensor("a\0b", (1,))]), "EFORMAT", "tensor number 1: its name holds a NUL"),
        ("bad-name-not-utf8", gguf([], [Tensor(b"\xc3", (1,))]), "EFORMAT", "is not UTF-8"),
        ("bad-rank-5", gguf([], [Tensor("a", (1, 1, 1, 1, 1))]), "EFORMAT", "5 dimensions, GGUF has at most 4"),
        ("bad-rank-huge", gguf([], [Tensor("a", (1,), rank=-1)]), "EFORMAT", "4294967295 dimensions"),
        ("bad-dim-negative", gguf([], [Tensor("a", (2, -1), data=b"")]), "EFORMAT", "dimension 1 is negative (-1)"),
        ("bad-dims-overflow", gguf([], [Tensor("a", (big, big), data=b"")]), "EFORMAT", "multiply to 2^63"),
        ("bad-dims-overflow-empty", gguf([], [Tensor("a", (big, big, 0), data=b"")]), "EFORMAT", "multiply to 2^63"),
        ("bad-dims-largest", gguf([], [Tensor("a", (2 ** 63 - 1,), "i8", data=b"")]), "EFORMAT", "multiply to 2^63"),
        ("bad-bytes-overflow", gguf([], [Tensor("a", (2 ** 62,), "f64", data=b"")]), "EFORMAT", "its size passes 2^64"),
        ("bad-row", gguf([], [Tensor("a", (33,), "q8_0")]), "EFORMAT",
         "rows of 33 elements are not whole blocks of q8_0"),
        ("bad-row-k", gguf([], [Tensor("a", (32, 8), "q4_k")]), "EFORMAT", "rows of 32 elements"),
        ("bad-row-rank-0", gguf([], [Tensor("a", (), "q4_0")]), "EFORMAT", "rows of 1 elements"),
        ("bad-type-removed", gguf([], [Tensor("a", (32,), number=4)]), "EUNSUPPORTED", "tensor 'a': type 4 is not one"),
        ("bad-type-removed-36", gguf([], [Tensor("a", (32,), number=36)]), "EUNSUPPORTED", "type 36"),
        ("bad-type-unknown", gguf([], [Tensor("blk.0.w", (32,), number=99)]), "EUNSUPPORTED",
         "tensor 'blk.0.w': type 99"),
        ("bad-type-huge", gguf([], [Tensor("a", (32,), number=-1)]), "EUNSUPPORTED", "type 4294967295"),
        ("bad-offset-first", gguf([], [Tensor("a", (4,), offset=32)]), "EFORMAT",
         "tensor 'a': offset 32 where 0 must stand"),
        ("bad-offset-hole", gguf([], [A, Tensor("b", (4,), offset=64)]), "EFORMAT", "offset 64 where 32 must stand"),
        ("bad-offset-overlap", gguf([], [A, Tensor("b", (4,), offset=0)]), "EFORMAT", "offset 0 where 32 must stand"),
        ("bad-offset-unaligned", gguf([], [A, Tensor("b", (4,), offset=16)]), "EFORMAT",
         "offset 16 where 32 must stand"),
        ("bad-offset-order", gguf([], [Tensor("a", (4,), offset=32), Tensor("b", (4,), offset=0)]), "EFORMAT",
         "offset 32 where 0"),
        ("bad-offset-huge", gguf([], [A, Tensor("b", (4,), offset=-32)]), "EFORMAT", "offset 18446744073709551584"),
        ("bad-offset-alignment", gguf([key("general.alignment", U32, 64)], [A, Tensor("b", (4,))]), "EFORMAT",
         "each padded to 64 bytes"),
        ("bad-sum-overflow", gguf([], [Tensor("a", (2 ** 61 - 8,), "f64", data=b""),
                                       Tensor("b", (2 ** 61 - 8,), "f64", data=b"")]), "EFORMAT", "pass 2^64 bytes"),
        ("bad-tensor-cut", full[:header - 20], "EFORMAT", "tensor 'b': a dimension takes 8 bytes"),
        ("bad-padding-cut", full[:header], "EFORMAT", "bytes are missing; the download is incomplete"),
        ("bad-data-missing", full[:len(full) - 32 - 160], "EFORMAT",
         "172 bytes are missing; the download is incomplete"),
        ("bad-data-cut", full[:len(full) - 21], "EFORMAT", "1 bytes are missing; the download is incomplete"),
        ("bad-data-huge", gguf([], [Tensor("a", (1 << 50,), data=b"1234")]), "EFORMAT", "are missing; the download"),
    ]


# ---- safetensors ---------------------------------------------------------------------------------------------------
def header(json_text, data=b"", size=None):
    b = json_text if isinstance(json_text, bytes) else json_text.encode()
    return u64(len(b) if size is None else size) + b + data


def tensors(entries, metadata=None, data=None, padding=""):
    top = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, (dtype, shape, offsets) in entries.items():
        top[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end = max([end] + [o for o in offsets if isinstance(o, int) and o < 1 << 20])
    return header(json.dumps(top, separators=(",", ":")) + padding, pattern(end) if data is None else data)


BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}


def of_types(names):
    entries, at = {}, 0
    for name in names:
        size = BITS[name] * 4 // 8
        entries["t." + name] = (name, [4], [at, at + size])
        at += size
    return tensors(entries)


def raw(dtype='"F32"', shape="[1]", offsets="[0,4]", more="", data=4):
    return header('{"a":{"dtype":%s,"shape":%s,"data_offsets":%s%s}}' % (dtype, shape, offsets, more), pattern(data))


def safetensors_by_python(directory):
    import numpy as np
    from safetensors.numpy import save
    return save({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "h": np.arange(4, dtype=np.float16),
                 "i": np.array([-1], np.int64)}, {"format": "pt", "note": "d\u00e9j\u00e0"})


def safetensors_valid(directory):
    one = {"a": ("F32", [1], [0, 4])}
    names = list(BITS)
    return [
        ("ok-by-python", safetensors_by_python(directory), 3),
        ("ok-empty", header("{}"), 0),
        ("ok-padded", header("{}      "), 0),
        ("ok-padded-newlines", header("{}\n\t \n"), 0),
        ("ok-spaces-inside",
         header('{ "a" : { "dtype" : "U8" , "shape" : [ 1 ] , "data_offsets" : [ 0 , 1 ] } }', b"1"),
         1),
        ("ok-one", tensors(one), 1),
        ("ok-metadata", tensors(one, {"format": "pt", "k": "v"}), 1),
        ("ok-metadata-alone", tensors({}, {"format": "pt"}), 0),
        ("ok-metadata-empty", tensors(one, {}), 1),
        ("ok-metadata-null", header('{"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
         1),
        ("ok-metadata-last", header('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"a":"b"}}',
         b"1"),
         1),
        ("ok-metadata-long", tensors(one, {"k": "v" * 500}), 1),
        ("ok-metadata-unicode", tensors(one, {"\u00fc": "\u6587 \U0001f600"}), 1),
        ("ok-metadata-escapes", header('{"__metadata__":{"\\n":"\\u00e9\\ud83d\\ude00\\\\\\""}}'), 0),
        ("ok-types-narrow", of_types(names[:11]), 11),
        ("ok-types-wide", of_types(names[11:]), 11),
        ("ok-types-mixed", of_types(["F64", "U8", "F32", "I8", "F16"]), 5),
        ("ok-rank-0", tensors({"a": ("F64", [], [0, 8])}), 1),
        ("ok-rank-10", tensors({"a": ("U8", [1] * 9 + [3], [0, 3])}), 1),
        ("ok-zero", tensors({"a": ("F32", [3, 0, 7], [0, 0])}), 1),
        ("ok-zero-first", tensors({"a": ("F32", [0], [0, 0]), "b": ("F32", [2], [0, 8])}), 2),
        ("ok-zero-middle", tensors({"a": ("F32", [1], [0, 4]), "z": ("U8", [0], [4, 4]), "b": ("F32", [1], [4, 8])}),
         3),
        ("ok-zero-last", tensors({"a": ("F32", [1], [0, 4]), "b": ("F32", [0], [4, 4])}), 2),
        ("ok-zero-many", tensors({"z%d" % i: ("F16", [0], [0, 0]) for i in range(5)}), 5),
        ("ok-odd-start", tensors({"abc": ("F64", [2], [0, 16])}, padding=" " * 3), 1),
        ("ok-odd-middle", tensors({"a": ("U8", [1], [0, 1]), "b": ("F32", [2], [1, 9])}), 2),
        ("ok-not-sorted", tensors({"z": ("U8", [2], [4, 6]), "a": ("F32", [1], [0, 4])}), 2),
        ("ok-name-empty", tensors({"": ("U8", [1], [0, 1])}), 1),
        ("ok-name-unicode", tensors({"sch\u00f6n/\u6587": ("U8", [1], [0, 1])}), 1),
        ("ok-name-escaped", header('{"\\u0061\\/b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"), 1),
        ("ok-name-long", tensors({"n" * 400: ("U8", [1], [0, 1])}), 1),
        ("ok-order-of-fields", header('{"a":{"data_offsets":[0,2],"shape":[2],"dtype":"I8"}}', b"12"), 1),
        ("ok-nan", tensors({"a": ("F32", [2], [0, 8])}, data=b"\0\0\xc0\x7f\0\0\x80\xff"), 1),
        ("ok-bool-2", tensors({"a": ("BOOL", [2], [0, 2])}, data=b"\2\xff"), 1),
        ("ok-many", tensors({"t%02d" % i: ("U8", [1], [i, i + 1]) for i in range(12)}), 12),
        ("ok-nibbles", tensors({"a": ("F4", [3, 2], [0, 3]), "b": ("F6_E3M2", [8], [3, 9])}), 2),
        ("ok-fields-unknown", raw(more=',"more":[1.5,null]'), 1),
    ]


def safetensors_header():
    one = tensors({"a": ("F32", [1], [0, 4])})
    deep = "[" * 300 + "]" * 300
    return [
        ("bad-gguf", gguf([ARCH], [A]), "EFORMAT", "this is a GGUF file, not a safetensors file"),
        ("bad-short", b"1234567", "EFORMAT", "has only 7"),
        ("bad-size-alone", u64(2), "EFORMAT", "does not fit the file"),
        ("bad-size-0", u64(0) + b"{}", "EFORMAT", "does not begin with '{'"),
        ("bad-size-huge", u64(-1) + b"{}", "EFORMAT", "passes the format's limit"),
        ("bad-size-limit", u64(100000001) + b"{}", "EFORMAT", "passes the format's limit"),
        ("bad-size-past-end", header("{}", size=3), "EFORMAT", "does not fit the file"),
        ("bad-header-cut", one[:40], "EFORMAT", "does not fit the file"),
        ("bad-header-cut-like-gzip", u64(0x8b1f) + one[8:], "EFORMAT", "does not fit the file"),
        ("bad-header-cut-like-json", u64(0x7b) + one[8:], "EFORMAT", "does not fit the file"),
        ("bad-leading-space", header(" {}"), "EFORMAT", "does not begin with '{'"),
        ("bad-top-array", header("[]"), "EFORMAT", "does not begin with '{'"),
        ("bad-bom", header("\ufeff{}"), "EFORMAT", "does not begin with '{'"),
        ("bad-utf8", header(b'{"a\xff":1}'), "EFORMAT", "byte 11: the header is not UTF-8"),
        ("bad-utf8-overlong", header(b'{"\xc0\xaf":1}'), "EFORMAT", "byte 10: the header is not UTF-8"),
        ("bad-surrogate", header('{"\\ud800":1}'), "EFORMAT", "not JSON"),
        ("bad-json", header('{"a":}'), "EFORMAT", "not JSON"),
        ("bad-json-open", header('{"a":{"dtype":"U8"'), "EFORMAT", "not JSON"),
        ("bad-json-tail", header("{} x"), "EFORMAT", "not JSON"),
        ("bad-json-comma", header("{},"), "EFORMAT", "not JSON"),
        ("bad-json-nul", header(b"{}\0"), "EFORMAT", "not JSON"),
        ("bad-json-deep", header('{"a":%s}' % deep), "EFORMAT", "the entry must be an object"),
        ("bad-twice", header('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                             '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"), "EFORMAT", "occurs twice"),
        ("bad-metadata-array", header('{"__metadata__":[]}'), "EFORMAT", "__metadata__ is an array"),
        ("bad-metadata-number", header('{"__metadata__":{"k":1}}'), "EFORMAT", "'k' is an integer, not a string"),
        ("bad-metadata-nested", header('{"__metadata__":{"k":{"a":"b"}}}'), "EFORMAT", "'k' is an object"),
        ("bad-metadata-twice", header('{"__metadata__":{"k":"1","k":"2"}}'), "EFORMAT", "occurs twice"),
    ]


def safetensors_entries():
    big = 1 << 32
    return [
        ("bad-entry", header('{"a":1}'), "EFORMAT", "tensor 'a' in the header"),
        ("bad-entry-null", header('{"a":null}'), "EFORMAT", "the entry must be an object, it is null"),
        ("bad-entry-empty", header('{"a":{}}'), "EFORMAT", "it is missing"),
        ("bad-dtype", raw('"F31"'), "EFORMAT", "unknown dtype 'F31'"),
        ("bad-dtype-case", raw('"f32"'), "EFORMAT", "unknown dtype 'f32'"),
        ("bad-dtype-number", raw("32"), "EFORMAT", "dtype must be a string"),
        ("bad-dtype-nul", raw('"F32\\u0000"'), "EFORMAT", "unknown dtype"),
        ("bad-shape-number", raw(shape="1"), "EFORMAT", "shape must be an array"),
        ("bad-shape-real", raw(shape="[1.0]"), "EFORMAT", "whole numbers"),
        ("bad-shape-string", raw(shape='["1"]'), "EFORMAT", "whole numbers"),
        ("bad-shape-negative", raw(shape="[-1]"), "EFORMAT", "whole numbers"),
        ("bad-shape-null", raw(shape="null"), "EFORMAT", "shape must be an array"),
        ("bad-shape-overflow", raw(shape="[%d,%d]" % (big, big)), "EFORMAT", "overflows 64 bits"),
        ("bad-shape-overflow-zero", raw(shape="[%d,%d,0]" % (big, big), offsets="[0,0]", data=0), "EFORMAT",
         "overflows 64 bits"),
        ("bad-bits-overflow", raw('"F64"', "[%d]" % (1 << 59)), "EFORMAT", "overflows 64 bits"),
        ("bad-shape-past-64-bits", raw(shape="[18446744073709551616]"), "EFORMAT", "whole numbers"),
        ("bad-offsets-one", raw(offsets="[4]"), "EFORMAT", "data_offsets must be two"),
        ("bad-offsets-three", raw(offsets="[0,4,4]"), "EFORMAT", "data_offsets must be two"),
        ("bad-offsets-negative", raw(offsets="[-4,0]"), "EFORMAT", "data_offsets must be two"),
        ("bad-offsets-real", raw(offsets="[0,4.0]"), "EFORMAT", "data_offsets must be two"),
        ("bad-offsets-missing", header('{"a":{"dtype":"U8","shape":[1]}}', b"1"), "EFORMAT", "it is missing"),
        ("bad-offsets-backwards", raw(shape="[0]", offsets="[4,0]"), "EFORMAT", "where 0 must begin"),
        ("bad-offsets-huge", raw(offsets="[0,9223372036854775807]"), "EFORMAT", "its data_offsets span"),
        ("bad-hole-first", raw(offsets="[4,8]", data=8), "EFORMAT", "there is a hole"),
        ("bad-hole", tensors({"a": ("U8", [1], [0, 1]), "b": ("U8", [1], [2, 3])}), "EFORMAT",
         "tensor 'b': data_offsets [2, 3] where 1 must begin: there is a hole"),
        ("bad-overlap", tensors({"a": ("U8", [4], [0, 4]), "b": ("U8", [4], [2, 6])}), "EFORMAT", "tensors overlap"),
        ("bad-overlap-same", tensors({"a": ("U8", [4], [0, 4]), "b": ("U8", [4], [0, 4])}), "EFORMAT", "overlap"),
        ("bad-nibble", tensors({"a": ("F4", [3], [0, 2])}), "EFORMAT", "do not fill whole bytes"),
        ("bad-bits-6", tensors({"a": ("F6_E2M3", [2], [0, 2])}), "EFORMAT", "do not fill whole bytes"),
        ("bad-span", tensors({"a": ("F32", [2], [0, 4])}), "EFORMAT",
         "2 elements of F32 need 8 bytes, its data_offsets span 4"),
        ("bad-truncated", raw(data=3), "EFORMAT", "it is truncated"),
        ("bad-trailing", raw(data=5), "EFORMAT", "there are trailing bytes"),
        ("bad-trailing-none", header("{}", b"x"), "EFORMAT", "there are trailing bytes"),
    ]


def shards(directory):
    """Directories of shards: name, what is in it, status, words."""
    a = tensors({"a": ("U8", [2], [0, 2])})
    b = tensors({"b": ("F32", [1], [0, 4])})
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    both = {first: a, second: b}
    cases = [
        ("ok-shards", both, {"a": first, "b": second}, "ok", "2"),
        ("ok-shards-unused", {**both, "unused.safetensors": b"x"}, {"a": first, "b": second}, "ok", "2"),
        ("bad-shard-missing", {first: a}, {"a": first, "b": second}, "EIO",
         "safetensors: the index names it, and no such file is there"),
        ("bad-shard-broken", {first: a, second: b[:-1]}, {"a": first, "b": second}, "EFORMAT", "it is truncated"),
        ("bad-shards-share", {first: a, second: a}, {"a": first, "b": second}, "EFORMAT",
         "tensor 'a' lies in two shards"),
        ("bad-shard-not-indexed", {first: a, second: tensors({"b": ("U8", [1], [0, 1]), "c": ("U8", [1], [1, 2])})},
         {"a": first, "b": second}, "EFORMAT", "tensor 'c' is in"),
        ("bad-shard-without-it", both, {"a": first, "b": second, "c": second}, "EFORMAT", "which does not have it"),
        ("bad-shard-other", both, {"a": second, "b": first}, "EFORMAT", "it lies in"),
        ("bad-shard-dots", {first: a}, {"a": "../ok-shards/" + first}, "EFORMAT", "must be a bare file name"),
        ("bad-shard-absolute", {first: a}, {"a": "/" + first}, "EFORMAT", "must be a bare file name"),
        ("bad-shard-parent", {first: a}, {"a": ".."}, "EFORMAT", "must be a bare file name"),
        ("bad-shard-nul", {first: a}, {"a": first + "\0x"}, "EFORMAT", "must be a bare file name"),
        ("bad-shard-number", {first: a}, {"a": 1}, "EFORMAT", "must be a bare file name"),
        ("bad-index-empty", {first: a}, {}, "EFORMAT", "names no tensor"),
        ("bad-index-array", {first: a}, [], "EFORMAT", "weight_map must be an object"),
    ]
    for name, files, weight_map, status, words in cases:
        index = json.dumps({"metadata": {"total_size": 6, "more": None}, "weight_map": weight_map}, indent=1).encode()
        yield name, {**files, "model.safetensors.index.json": index}, status, words
    yield "bad-directory", {"readme.txt": b"nothing here\n"}, "EIO", "no model.safetensors"


# ---- Writing -------------------------------------------------------------------------------------------------------
def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def collect(directory):
    """{format: [(name, bytes or {file: bytes}, status, words)]}"""
    found = {
        "gguf": [(n, b, "ok", str(c)) for n, b, c in gguf_valid(directory)] + gguf_counts() + gguf_keys() +
        gguf_tensors() + foreign(),
        "safetensors": [(n, b, "ok", str(c)) for n, b, c in safetensors_valid(directory)] + safetensors_header() +
        safetensors_entries() + [(n if n != "bad-json" else "bad-json-text", *r) for n, *r in foreign()] +
        list(shards(directory)),
    }
    for kind, cases in found.items():
        names = [c[0] for c in cases]
        assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
        for name, data, status, words in cases:
            assert name.startswith("ok-") == (status == "ok") and "\t" not in words, name
    return found


def write_all(out, corpus):
    os.makedirs(out, exist_ok=True)
    found = collect(out)
    for kind, cases in found.items():
        folder = os.path.join(out, kind)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for name, data, status, words in cases:
            if isinstance(data, dict):
                os.makedirs(os.path.join(folder, name))
                for file, b in data.items():
                    write(os.path.join(folder, name, file), b)
            else:
                write(os.path.join(folder, name), data)
        lines = ["%s\t%s\t%s\n" % (name, status, words) for name, data, status, words in cases]
        write(os.path.join(folder, "expected.txt"), "".join(lines).encode())
        print("%s: %d valid, %d broken" % (kind, sum(c[2] == "ok" for c in cases), sum(c[2] != "ok" for c in cases)))
    if corpus:
        shutil.rmtree(corpus, ignore_errors=True)
        os.makedirs(corpus)
        taken = ("ok-", "bad-array", "bad-data", "bad-dims", "bad-key", "bad-offset", "bad-string")
        for name, data, status, words in found["gguf"]:
            if name.startswith(taken):
                write(os.path.join(corpus, name), data)
    return found


# ---- Comparing -----------------------------------------------------------------------------------------------------
ASK_GGML = """
import ctypes, glob, os, sys, sysconfig
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
import importlib.util
root = os.path.dirname(importlib.util.find_spec("llama_cpp").origin)
lib = ctypes.CDLL(os.path.join(root, "lib", "libggml-base.so"))
class Params(ctypes.Structure):
    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]
lib.gguf_init_from_file.restype = ctypes.c_void_p
lib.gguf_init_from_file.argtypes = [ctypes.c_char_p, Params]
slot = ctypes.c_void_p()
data = sys.argv[2] == "data"
p = Params(not data, ctypes.addressof(slot) if data else None)
sys.exit(0 if lib.gguf_init_from_file(sys.argv[1].encode(), p) else 3)
"""
ASK = {
    "ggml": lambda path: [sys.executable, "-c", ASK_GGML, path, "header"],
    "ggml+data": lambda path: [sys.executable, "-c", ASK_GGML, path, "data"],
    "gguf.py": lambda path: [sys.executable, "-c", "import sys, gguf; gguf.GGUFReader(sys.argv[1])", path],
    "safetensors": lambda path: [sys.executable, "-c", "import sys, safetensors as s\n"
                                 "with s.safe_open(sys.argv[1], 'np') as f: f.keys()", path],
}


def ask(peer, path):
    try:
        status = subprocess.run(ASK[peer](path), capture_output=True, timeout=5).returncode
    except subprocess.TimeoutExpired:
        return "hung"
    return "ok" if status == 0 else "died" if status < 0 else "refused"


def compare(out, found):
    """Prints the verdicts that differ; returns how many are not explained. gguf.py is listed for information alone."""
    unexplained = 0
    for kind, peers in (("gguf", ["ggml", "ggml+data", "gguf.py"]), ("safetensors", ["safetensors"])):
        print("%-32s %-8s %s" % (kind, "lathe", "  ".join("%-11s" % p for p in peers)))
        for name, data, status, words in found[kind]:
            if isinstance(data, dict):
                continue
            ours = "ok" if status == "ok" else "refused"
            theirs = [ask(p, os.path.join(out, kind, name)) for p in peers]
            if all(t == ours for t in theirs):
                continue
            why = DIFFERENT[kind].get(name, "")
            if not why and any(t != ours for p, t in zip(peers, theirs) if p != "gguf.py"):
                unexplained += 1
                why = "NOT EXPLAINED"
            print("%-32s %-8s %s  %s" % (name, ours, "  ".join("%-11s" % t for t in theirs), why))
    return unexplained


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="tests/files")
    parser.add_argument("--corpus", default="tests/fuzz/corpus/gguf")
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    found = write_all(args.out, args.corpus)
    return 1 if args.compare and compare(args.out, found) else 0


if __name__ == "__main__":
    sys.exit(main())
