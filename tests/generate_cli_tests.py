#!/usr/bin/env python3
"""Tests of lathe generate and lathe bench --model: prompts from everywhere, how texts end, what is refused.

usage: generate_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The models are the small ones of tests/golden/families; what needs ../shared/data is
skipped without it (LT_DATA names another place). The last line holds the totals; the exit code is 1 when a check
failed."""
import json
import os
import signal
import subprocess
import sys
import time

from cli_tests import run_all

FAMILIES = os.path.abspath("tests/golden/families")
STORIES = os.path.join(os.environ.get("LT_DATA") or os.path.abspath("../shared/data"), "models/stories260K")
KEYS = {"prompt", "text", "ids", "prompt_tokens", "tokens", "reason", "seconds", "tokens_per_second",
        "first_token_seconds"}
LLAMA = ["generate", "--model", os.path.join(FAMILIES, "llama")]


def golden(name):
    with open("tests/golden/generate.json") as file:
        return json.load(file)[name]


def piped(t, words, text):
    result = subprocess.run([t.program] + words, input=text, capture_output=True, cwd=t.root)
    return result.returncode, result.stdout, result.stderr.decode()


def test_answers(t):
    three = LLAMA + ["--prompt", "ab", "--prompt", "c", "--prompt", "a b c", "--max-tokens", "6"]
    got = t.answer("three prompts", three)
    one = got.get("generations", [])
    t.check("a generation a prompt", [x.get("prompt") for x in one] == ["ab", "c", "a b c"], got)
    for x in one:
        t.check("its keys", set(x) == KEYS, x)
        t.check("its numbers", 0 < x["first_token_seconds"] <= x["seconds"] and x["tokens"] == len(x["ids"]) <= 6, x)
        t.check("its reason", x["reason"] == ("length" if x["tokens"] == 6 else "end"), x)
    t.check("ids of prompts", [x["prompt_tokens"] for x in one] == [1, 1, 5], one)
    t.check("the sum", got.get("tokens") == sum(x["tokens"] for x in one) and got.get("template", 1) is None, got)
    for size in ("1", "2"):
        again = t.answer("batches of " + size, three + ["--batch-size", size])
        t.check("batches of %s: equal texts" % size, [x["ids"] for x in again.get("generations", [])] ==
                [x["ids"] for x in one], again)
    short = t.answer("--context", LLAMA + ["--prompt", "a b c", "--context", "7", "--temperature", "1"])
    t.check("--context ends the text", short["generations"][0]["reason"] in ("context", "end") and
            short["generations"][0]["tokens"] <= 3 and short["context"] == 7, short)
    out = t.expect("several prompts as text", LLAMA + ["--prompt", "ab", "--prompt", "c"], 0, r"tok/s")
    t.check("headings", "==> 1: ab <==\n" in out and "==> 2: c <==\n" in out, out)
    out = t.expect("--quiet", LLAMA + ["--prompt", "ab", "--quiet"], 0)
    t.check("--quiet: the text alone", out.endswith("\n") and "==>" not in out, out)


def test_sampling(t):
    base = LLAMA + ["--prompt", "abc", "--max-tokens", "20", "--temperature", "1.5"]

    def ids(name, more):
        return t.answer(name, base + more)["generations"][0]["ids"]
    first = ids("seed 1", ["--seed", "1"])
    t.check("equal seeds, equal texts", ids("seed 1 again", ["--seed", "1", "--threads", "1"]) == first)
    t.check("another seed, another text", ids("seed 2", ["--seed", "2"]) != first)
    greedy = t.answer("greedy", LLAMA + ["--prompt", "abc", "--max-tokens", "20"])["generations"][0]["ids"]
    for more in (["--top-k", "1"], ["--top-p", "0"], ["--min-p", "1"]):
        t.check("%s is greedy" % more[0], ids(" ".join(more), more) == greedy, more)
    other = ids("--repetition-penalty", ["--top-k", "1", "--repetition-penalty", "5"])
    t.check("--repetition-penalty", len(set(other)) == len(other) or other != greedy, other)


def test_files(t):
    t.write("lines.txt", "ab\n\nc b a\r\n")
    t.write("rows.jsonl", '{"prompt": "ab"}\n\n{"prompt": "c b a", "note": 1}\n')
    want = [x["ids"] for x in t.answer("words", LLAMA + ["--prompt", "ab", "--prompt", "c b a"])["generations"]]
    for name in ("lines.txt", "rows.jsonl"):
        got = t.answer(name, LLAMA + ["--prompts", name])["generations"]
        t.check(name + ": the same texts", [x["ids"] for x in got] == want, got)
        with open(t.path(name), "rb") as file:
            code, out, err = piped(t, LLAMA + ["--prompts", "-", "--json"], file.read())
        got = json.loads(out)["generations"] if code == 0 else []
        t.check("standard input like " + name, [x["ids"] for x in got] == want, err)
    got = t.answer("--prompt and --prompts", LLAMA + ["--prompt", "c", "--prompts", "lines.txt"])["generations"]
    t.check("all of them", [x["prompt"] for x in got] == ["c", "ab", "c b a"], got)
    for name, text, words in (("array", "[1]", "prompt"), ("both", '{"prompt": "a", "messages": []}', "one of them"),
                              ("neither", '{"text": "a"}', "one of them"), ("number", '{"prompt": 3}', "no text"),
                              ("json", '{"prompt": "a"', "rows.jsonl:2: .*byte"),
                              ("twice", '{"prompt": "a", "prompt": "b"}', "duplicate"),
                              ("empty", '{"prompt": ""}', "rows.jsonl:2: the prompt is empty"),
                              ("turns", '{"messages": []}', "1 to 256 turns"),
                              ("turn", '{"messages": [{"role": "user"}]}', "message 1 has no"),
                              ("no template", '{"messages": [{"role": "user", "content": "a"}]}', "template")):
        t.write("rows.jsonl", '{"prompt": "ab"}\n%s\n' % text)
        t.expect("a bad row: " + name, LLAMA + ["--prompts", "rows.jsonl"], 3 if name != "no template" else 2, words)
    with open(t.path("bad.txt"), "wb") as file:
        file.write(b"ab\nb\xff\n")
    t.expect("not UTF-8", LLAMA + ["--prompts", "bad.txt"], 3, "bad.txt:2: .*UTF-8")
    t.write("none.txt", "\n\n")
    t.expect("no prompt in it", LLAMA + ["--prompts", "none.txt"], 3, "no prompt in it")
    t.expect("no such file", LLAMA + ["--prompts", "gone.txt"], 3, "gone.txt: cannot be opened")
    t.expect("a directory", LLAMA + ["--prompts", "."], 3, "cannot be read")


def test_refused(t):
    t.expect("no model", ["generate", "--prompt", "a"], 2, "--model M")
    t.expect("no prompt", LLAMA, 2, "--prompt TEXT or --prompts")
    t.expect("no such model", ["generate", "--model", "gone", "--prompt", "a"], 3, "gone")
    t.expect("an encoder", ["generate", "--model", os.path.join(FAMILIES, "bert"), "--prompt", "a"], 3,
             "bert is an encoder")
    t.expect("an empty prompt", LLAMA + ["--prompt", ""], 2, "the prompt is empty")
    t.expect("a long prompt", LLAMA + ["--prompt", "a b c", "--context", "5"], 2, "has 5 ids, but the cache has 5")
    t.expect("more than GPT-2 learned", ["generate", "--model", os.path.join(FAMILIES, "gpt2"), "--prompt", "a",
                                         "--context", "99"], 2, "gpt2 learned 64")
    t.write("many.txt", "a\n" * 400)
    t.expect("a cache larger than memory", LLAMA + ["--prompts", "many.txt"] + ["--batch-size", "400"] +
             ["--max-tokens", "16000000", "--context", "16000000"], 4, "smaller --batch-size or --context")
    t.expect("--raw and --chat", LLAMA + ["--prompt", "a", "--raw", "--chat"], 2, "give one")
    t.expect("--system alone", LLAMA + ["--prompt", "a", "--system", "b"], 2, "--system goes with --chat")
    t.expect("--chat-template alone", LLAMA + ["--prompt", "a", "--chat-template", "none"], 2, "goes with --chat")
    t.expect("no template", LLAMA + ["--prompt", "a", "--chat"], 2, "template")
    t.expect("an empty stop text", LLAMA + ["--prompt", "a", "--stop", ""], 2, "--stop ''")
    t.expect("--top-p 2", LLAMA + ["--prompt", "a", "--top-p", "2"], 2, "top-p")
    t.expect("--draft", LLAMA + ["--prompt", "a", "--draft", "b"], 2, "later version")
    bad = t.answer("an error as JSON", LLAMA + ["--prompt", ""], 2)
    t.check("an error as JSON: keys", bad.get("exit_code") == 2 and "empty" in bad.get("error", ""), bad)
    out = t.expect("--help", ["generate", "--help"], 0)
    t.check("--help says what is done without --chat", "as it stands" in out and "--chat " in out, out)


def test_chat(t):
    base = LLAMA + ["--max-tokens", "5"]
    custom = r"custom:user=a |\s;assistant=b |\s;system=c |\s".replace(r"\s", " ")
    got = t.answer("--chat", base + ["--chat", "--chat-template", custom, "--prompt", "c", "--system", "a"])
    t.write("talk.jsonl", json.dumps({"messages": [{"role": "system", "content": "a"},
                                                   {"role": "user", "content": "c"}]}) + "\n")
    same = t.answer("messages", base + ["--chat-template", custom, "--prompts", "talk.jsonl"])
    one, two = (x.get("generations", [{}])[0] for x in (got, same))
    t.check("--chat and messages agree", one.get("ids") == two.get("ids") and one.get("ids"), (one, two))
    t.check("a prompt of messages", two.get("prompt") == [{"role": "system", "content": "a"},
                                                          {"role": "user", "content": "c"}], two)
    t.check("turns are counted", one.get("prompt_tokens") == two.get("prompt_tokens", 0) > 8, one)
    t.check("the template is named", got.get("template") == "custom", got)


def test_raw(t):
    marked = t.answer("--raw", LLAMA + ["--prompt", "<s>ab", "--raw", "--max-tokens", "3"])
    t.check("control tokens by name", marked["generations"][0]["prompt_tokens"] == 2, marked)
    plain = t.answer("else they are text", LLAMA + ["--prompt", "<s>ab", "--max-tokens", "3"])
    t.check("which has letters this vocabulary lacks", plain["generations"][0]["prompt_tokens"] == 1, plain)


def test_quantized(t):
    base = LLAMA + ["--prompt", "abc", "--max-tokens", "4"]
    plain, coarse = (t.answer("--qat", base + words)["generations"][0] for words in ([], ["--qat", "int2:tensor"]))
    t.check("--qat generates from the grid (more in qat_cli_tests.py)", coarse["tokens"] > 0 and
            coarse["ids"] != plain["ids"], (plain, coarse))


def test_signals(t):
    endless = ["--prompt", "ax", "--max-tokens", "200000", "--context", "200000"]
    process = subprocess.Popen([t.program] + LLAMA + endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               cwd=t.root)
    time.sleep(1.0)
    running = process.poll() is None
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1].decode()
    if running:
        t.check("SIGTERM: exit 143", process.returncode == 143 and "stopped by a signal" in err, err)
    else:
        t.skipped += 1


def test_bench(t):
    base = ["bench", "--model", os.path.join(FAMILIES, "llama"), "--prompt-tokens", "8", "--tokens", "4"]
    got = t.answer("bench --model", base + ["--batch-size", "3"])
    rows = got.get("batches", [])
    t.check("batches of 1 and 3", [x.get("batch") for x in rows] == [1, 3], got)
    for x in rows:
        for key in ("first_token_seconds", "first_token_cold_seconds", "ms_per_token_p50", "ms_per_token_p95",
                    "tokens_per_second", "prompt_tokens_per_second", "gigabytes_per_second", "bandwidth_share",
                    "weight_bytes_per_token", "cache_bytes"):
            t.check("bench --model: " + key, x.get(key, 0) > 0, x)
        t.check("p50 is not above p95", x["ms_per_token_p50"] <= x["ms_per_token_p95"], x)
        joules, reason = x.get("joules_per_token", 1), got.get("no_joules_because")
        t.check("joules, or why not", (joules is None) == bool(reason), got)
    out = t.expect("a table", base + ["--batch-size", "1"], 0)
    lines = [x for x in out.splitlines() if x.startswith("1 ")]
    t.check("a table: a line a batch", "ms/token p50" in out and len(lines) == 1, out)
    t.expect("--tokens alone", ["bench", "--tokens", "4"], 2, "--model M")
    t.expect("--shape with --model", base + ["--shape", "tiny"], 2, "leave it out with --model")
    t.expect("bench: an encoder", ["bench", "--model", os.path.join(FAMILIES, "bert")], 3, "encoder")
    t.expect("bench: no such model", ["bench", "--model", "gone"], 3, "gone")


def test_stories(t):
    if not os.path.exists(os.path.join(STORIES, "hf/config.json")):
        print("skipped: stories260K (no %s)" % STORIES)
        t.skipped += 1
        return
    for name in ("hf", "stories260K-f32.gguf"):
        base = ["generate", "--model", os.path.join(STORIES, name), "--max-tokens", "64"]
        words = [word for x in golden("stories260K") for word in ("--prompt", x["text"])]
        got = t.answer(name, base + words).get("generations", [])
        t.check(name + ": texts of Transformers", [x["text"] for x in got] ==
                [x["continuation"] for x in golden("stories260K")], got)
        want = golden("stories260K")[0]
        out = t.expect(name + ": streamed", base + ["--prompt", want["text"]], 0, "ended by: length")
        t.check(name + ": the same, streamed", out == want["continuation"] + "\n", out)
        out = t.expect(name + ": --stop", base + ["--prompt", want["text"], "--stop", "nothing of it", "--stop", "y pl",
                                                  "--stop", "red ball. S"], 0, "ended by: stop")
        t.check(name + ": before the stop text",
                out == want["continuation"].split("red ball. S")[0].split("y pl")[0] + "\n", out)


def main():
    tests = (test_answers, test_sampling, test_files, test_refused, test_chat, test_raw, test_quantized,
             test_signals, test_bench, test_stories)
    return run_all("generate", tests)


if __name__ == "__main__":
    sys.exit(main())
