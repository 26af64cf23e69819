#!/usr/bin/env python3
"""Tests of lathe tokenize: ids, text, files, a tokenizer learned from a text.

usage: tokenize_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The models are the small GGUF vocabularies of tests/golden/gguf_tokenizers and what the
program learns itself. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import os
import subprocess
import sys

from cli_tests import run_all

GOLDEN = os.path.abspath("tests/golden/gguf_tokenizers")


def model(name):
    return os.path.join(GOLDEN, name + ".gguf")


def golden(name):
    with open(os.path.join(GOLDEN, name + ".json")) as file:
        return json.load(file)


def numbers(line):
    return [int(word) for word in line.split()]


def put(t, name, data):
    with open(t.path(name), "wb") as file:
        file.write(data)
    return name


def test_encode(t):
    for name in ("gpt2", "llama3", "spm", "bert"):
        want = golden(name)
        texts = [x for x in want["texts"] if "\n" not in x and "\r" not in x and x]
        ids = [want["ids"][want["texts"].index(x)] for x in texts]
        put(t, "lines.txt", "\n".join(texts).encode())
        out = t.expect(name + ": --file", ["tokenize", "--model", model(name), "--file", "lines.txt"], 0)
        t.check(name + ": a line of ids a line", [numbers(x) for x in out.splitlines()] == ids, out)
        got = t.answer(name + ": --json", ["tokenize", "--model", model(name), "--file", "lines.txt"])
        t.check(name + ": ids of --json", got.get("ids") == ids, got)
        t.check(name + ": tokens of --json", [len(x) for x in got.get("tokens", [])] == [len(x) for x in ids], got)
        t.check(name + ": their number", got.get("count") == sum(len(x) for x in ids), got.get("count"))
        out = t.expect(name + ": --special", ["tokenize", "--model", model(name), "--special", "Hello world"], 0)
        t.check(name + ": what is put around a text", numbers(out) == want["around"], out)
    plain = t.expect("a control token is text", ["tokenize", "--model", model("gpt2"), "<|endoftext|>"], 0)
    parsed = t.expect("--parse-special", ["tokenize", "--model", model("gpt2"), "--parse-special", "<|endoftext|>"], 0)
    t.check("unless asked", numbers(parsed) == [700] and len(numbers(plain)) > 3, (plain, parsed))
    t.check("an empty text", t.expect("an empty text", ["tokenize", "--model", model("gpt2"), ""], 0) == "\n")


def test_lines(t):
    base = ["tokenize", "--model", model("gpt2"), "--file"]
    for name, data, lines in (("none", b"", 0), ("one", b"a", 1), ("ended", b"a\nb\n", 2), ("empty", b"a\n\nb", 3)):
        put(t, name, data)
        out = t.expect("lines: " + name, base + [name], 0)
        t.check("lines: %s has %d" % (name, lines), len(out.splitlines()) == lines, out)
        whole = t.expect("--whole: " + name, base + [name, "--whole"], 0)
        t.check("--whole: one text", len(whole.splitlines()) == 1, whole)
    joined = t.expect("--whole keeps line ends", base + ["ended", "--whole"], 0)
    t.check("--whole: the line ends have ids", numbers(joined).count(198) == 2, joined)
    result = subprocess.run([t.program] + base + ["-"], input=b"a\nb\n", capture_output=True, cwd=t.root)
    t.check("--file - is standard input", result.returncode == 0 and len(result.stdout.splitlines()) == 2, result)


def test_decode(t):
    text = "Gr\u00fc\u00df Gott,\n  3.14 \U0001f600\t\u4f60\u597d\nend"
    put(t, "text.txt", text.encode())
    for name in ("gpt2", "llama3", "smollm", "spm", "gemma"):
        base = ["tokenize", "--model", model(name), "--whole", "--file"]
        put(t, "ids.txt", t.expect(name + ": encode", base + ["text.txt"], 0).encode())
        result = subprocess.run([t.program] + base + ["ids.txt", "--decode"], capture_output=True, cwd=t.root)
        t.check(name + ": the file comes back", result.stdout == text.encode(), result)
    base = ["tokenize", "--model", model("gpt2"), "--decode"]
    hello = t.expect("ids of a word", ["tokenize", "--model", model("gpt2"), "Hello"], 0).strip()
    t.check("decode: a word of ids", t.expect("decode", base + [hello], 0) == "Hello\n")
    t.check("decode: commas", t.expect("decode: commas", base + [hello.replace(" ", ", ")], 0) == "Hello\n")
    put(t, "lines.ids", (hello + "\n\n" + hello + " 700\n").encode())
    t.check("decode: lines", t.expect("decode: lines", base + ["--file", "lines.ids"], 0) == "Hello\n\nHello\n")
    out = t.expect("decode: --special", base + ["--file", "lines.ids", "--special"], 0)
    t.check("decode: control tokens when asked", out == "Hello\n\nHello<|endoftext|>\n", out)
    got = t.answer("decode: --json", base + ["--file", "lines.ids"])
    t.check("decode: texts", got.get("texts") == ["Hello", "", "Hello"], got)
    got = t.answer("decode: bytes that are no text", base + [hello + " 127"])
    t.check("decode: U+FFFD", got.get("texts") == ["Hello\ufffd"], got)


def test_train(t):
    words = "the cat and the dog sat on the mat; that cat had 42 hats. It's the cat's hat\n" * 20
    put(t, "train.txt", (words + "<|endoftext|>\n" + words).encode())
    base = ["tokenize", "--train", "train.txt", "--vocab", "280"]
    for like in ("gpt2", "llama3", "qwen2", "smollm"):
        got = t.answer("train " + like, base + ["--like", like, "--out", like])
        t.check("train %s: the answer" % like, got.get("vocab") == 280 and got.get("out") == like, got)
        with open(t.path(like + "/tokenizer.json")) as file:
            files = json.load(file)
        t.check("train %s: the file" % like, len(files["model"]["vocab"]) == 280, like)
        t.check("train %s: its config" % like, os.path.exists(t.path(like + "/tokenizer_config.json")))
        ids = t.expect(like + ": ids", ["tokenize", "--model", like, "the cat's hat 42 \u00e9"], 0)
        out = t.expect(like + ": back", ["tokenize", "--model", like, "--decode", ids.strip()], 0)
        t.check(like + ": a text comes back", out == "the cat's hat 42 \u00e9\n", out)
        one = t.expect(like + ": a learned word", ["tokenize", "--model", like, " cat"], 0)
        t.check(like + ": is one token", len(numbers(one)) == 1, one)
    t.expect("train again", base + ["--out", "again"], 0)
    with open(t.path("gpt2/tokenizer.json")) as a, open(t.path("again/tokenizer.json")) as b:
        t.check("the same text gives the same file", a.read() == b.read())
    t.expect("too many tokens", ["tokenize", "--train", "train.txt", "--vocab", "5000", "--out", "x"], 3, "train.txt",
             "fills a vocabulary of")
    t.expect("too few", ["tokenize", "--train", "train.txt", "--vocab", "256", "--out", "x"], 2, "--vocab")
    t.expect("no pattern", ["tokenize", "--train", "train.txt", "--like", "gpt4", "--out", "x"], 2, "gpt2|llama3")
    t.expect("no place", ["tokenize", "--train", "train.txt"], 2, "--out DIR")
    t.expect("no text", ["tokenize", "--train", "none.txt", "--out", "x"], 3, "none.txt")
    t.expect("a place that cannot be", base + ["--out", "/proc/x"], 6, "/proc/x")
    t.expect("both", base + ["--out", "x", "--model", model("gpt2")], 2, "--train makes")


def test_errors(t):
    base = ["tokenize", "--model", model("gpt2")]
    put(t, "bad.txt", b"fine\nalso fine\nb\xffd\n")
    put(t, "bad.ids", b"1 2\n3 x\n")
    put(t, "far.ids", b"1 2\n3 701\n")
    t.expect("nothing", ["tokenize"], 2, "--model M", "--train")
    t.expect("no text", base, 2, "TEXT or --file")
    t.expect("two inputs", base + ["a", "--file", "bad.txt"], 2, "two inputs")
    t.expect("--whole alone", base + ["a", "--whole"], 2, "--whole")
    t.expect("--vocab alone", base + ["a", "--vocab", "300"], 2, "--train")
    t.expect("a missing model", ["tokenize", "--model", "none", "a"], 3, "none")
    t.expect("a missing file", base + ["--file", "none.txt"], 3, "none.txt")
    t.expect("a directory", base + ["--file", "."], 3, r"\.: cannot be read")
    t.expect("not UTF-8", base + ["--file", "bad.txt"], 3, "bad.txt:3: not UTF-8")
    t.expect("not UTF-8, whole", base + ["--file", "bad.txt", "--whole"], 3, "bad.txt:3: not UTF-8")
    t.expect("no id", base + ["--decode", "--file", "bad.ids"], 3, "bad.ids:2: 'x' is no id")
    t.expect("an id out of range", base + ["--decode", "--file", "far.ids"], 3,
             "far.ids:2: id 701 is outside the vocabulary of 701")
    t.expect("an id out of range, as a word", base + ["--decode", "701"], 2, "id 701 is outside")
    t.expect("a negative id", base + ["--decode", "1 -1"], 2, "id -1 is outside")
    t.expect("a huge id", base + ["--decode", "99999999999999999999"], 2, "is no id")
    bad = t.answer("an error as JSON", base + ["--decode", "701"], 2)
    t.check("an error as JSON: keys", bad.get("exit_code") == 2 and "701" in bad.get("error", ""), bad)
    help_text = t.expect("--help", ["tokenize", "--help"], 0)
    t.check("--help names the options", all("--" + x in help_text for x in ("decode", "parse-special", "train", "like")),
            help_text)


def main():
    tests = (test_encode, test_lines, test_decode, test_train, test_errors)
    return run_all("tokenize", tests)


if __name__ == "__main__":
    sys.exit(main())
