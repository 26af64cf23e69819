#!/usr/bin/env python3
"""Tests of what lathe eval looks back at: golden outputs, and drift against an earlier report.

usage: golden_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. The models are the small ones of tests/golden/families and one that the program trains
itself. The last line holds the totals; the exit code is 1 when a check failed."""
import json
import math
import os
import sys

from cli_tests import run_all

FAMILIES = os.path.abspath("tests/golden/families")
INIT = "llama:layers=1,dim=32,hidden=64,heads=2,kv_heads=1,context=64"
TEXT = "".join("the cat %d sat on the mat and the dog ran\n<|endoftext|>\n" % n for n in range(40))
OTHER = "".join("ZEBRA QUARTZ %d, VEX! JUMBO FJORD.\n<|endoftext|>\n" % n for n in range(40))
PROMPTS = [{"id": "a", "prompt": "the cat"}, {"id": 7, "prompt": "and the", "max_tokens": 6},
           {"prompt": "the dog", "stop": ["x"]}]


def put_rows(t, name, rows):
    return t.write(name, "".join(json.dumps(row) + "\n" for row in rows))


def rows_of(t, name):
    with open(t.path(name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def make_model(t):
    t.write("text.txt", TEXT)
    t.write("other.txt", OTHER)
    put_rows(t, "p.jsonl", PROMPTS)
    t.expect("a model", ["train", "--init", INIT, "--data", "text.txt", "--out", "model", "--steps", "60", "--quiet",
                         "--learning-rate", "1e-2"], 0)


def without_time(report):
    return {key: value for key, value in report.items() if key != "seconds"}


def test_goldens(t):
    base = ["eval", "--model", "model", "--prompts", "p.jsonl"]
    t.expect("writing", base + ["--golden-write", "g.jsonl", "--max-tokens", "10"], 0, "goldens +g.jsonl")
    written = rows_of(t, "g.jsonl")
    header = written[0]
    t.check("the header", header["lathe_golden"] == 1 and header["model"] == "model" and
            header["sampling"] == {"temperature": 0, "max_tokens": 10}, header)
    t.check("a row a prompt", [row.get("id") for row in written[1:]] == ["a", 7, None], written)
    t.check("their lengths", written[1]["tokens"] <= 10 and written[2]["tokens"] <= 6, written)
    same = t.answer("the same model", base + ["--golden", "g.jsonl", "--gate", "golden.exact>=1", "--gate",
                                              "golden.passed==1", "--gate", "golden.items==3"])
    again = t.answer("once more, one thread", base + ["--golden", "g.jsonl", "--threads", "1"])
    t.check("the report is the same", without_time(same["golden"]) == without_time(again["golden"]), (same, again))
    t.check("without data there is nothing else", set(same) == {"golden", "gates"}, set(same))
    t.check("what it was written with", same["golden"]["source"]["same_model"] is True, same["golden"]["source"])
    for name in ("q4_0", "q8_0"):
        other = t.answer("rounded to " + name, base + ["--golden", "g.jsonl", "--qat", name])["golden"]
        t.check(name + ": another model", other["source"]["same_model"] is False, other["source"])
        t.check(name + ": shares and rows agree", math.isclose(
            other["exact"], sum(row["exact"] for row in other["rows"]) / 3, rel_tol=1e-9), other)
    changed = [dict(row) for row in written]
    changed[1]["output"] = changed[1]["output"][:4] + "\u2603" + changed[1]["output"][5:]
    put_rows(t, "changed.jsonl", changed)
    code, out, err = t.run(*base, "--golden", "changed.jsonl", "--gate", "golden.exact>=0.9")
    t.check("a gate missed: exit 1 and what differs", code == 1 and "golden.exact>=0.9" in err and
            "66.7 %" in out and "byte 4" in out and "\u2603" in out, (code, out, err))
    first = t.answer("a gate missed, as JSON", base + ["--golden", "changed.jsonl", "--gate", "golden.exact>=0.9"], 1)
    row = first["golden"]["rows"][0]
    t.check("where", row["first_divergence"]["byte"] == 4 and row["first_divergence"]["token"] == 4 and
            row["first_divergence"]["expected"].startswith("\u2603"), row)
    t.check("the mean", first["golden"]["first_divergence_mean"] == 4 and first["golden"]["diverged"] == 1, first)


def test_checks(t):
    base = ["eval", "--model", "model", "--prompts", "p.jsonl", "--max-tokens", "10", "--golden", "c.jsonl"]
    put_rows(t, "c.jsonl", [
        {"id": "a", "must_contain": "e", "must_not_contain": ["\u2603", "\u2604"], "note": "easy"},
        {"id": 7, "regex": "[a-z ]", "must_contain": ["\u2603"]}])
    code, out, err = t.run(*base)
    t.check("checks", code == 0 and "passed 50.0 %" in out and "it does not say '\u2603'" in out, (code, out, err))
    t.check("a prompt without a golden is told", "1 of the prompts have no golden" in err, err)
    got = t.answer("checks, as JSON", base)["golden"]
    t.check("their shares", (got["contains"], got["regex"], got["passed"], got["exact"], got["unchecked"]) ==
            (0.5, 1.0, 0.5, None, 1), got)
    put_rows(t, "c.jsonl", [{"id": "a", "regex": "^(.|.|.|.|.|.|.|.)+[\u2603\u2604]$"}])
    got = t.answer("a pattern without end", base)["golden"]
    t.check("it fails its row", got["regex"] == 0 and "limits" in got["rows"][0].get("regex_error", ""), got["rows"][0])


def test_families(t):
    put_rows(t, "ab.jsonl", [{"prompt": "ab c"}, {"prompt": "cab", "max_tokens": 3}])
    for name in ("llama", "gpt2", "gemma3", "qwen3"):
        base = ["eval", "--model", os.path.join(FAMILIES, name), "--prompts", "ab.jsonl"]
        t.expect(name + ": writing", base + ["--golden-write", "ab_golden.jsonl", "--max-tokens", "8", "--quiet"], 0)
        t.expect(name + ": comparing", base + ["--golden", "ab_golden.jsonl", "--gate", "golden.exact==1"], 0)
    t.expect("an encoder", ["eval", "--model", os.path.join(FAMILIES, "bert"), "--prompts", "ab.jsonl",
                            "--golden-write", "x.jsonl"], 3, "encoder")


def test_errors(t):
    base = ["eval", "--model", "model"]
    t.expect("goldens of nothing", base + ["--golden", "g.jsonl"], 2, "--golden needs", "--prompts FILE")
    t.expect("writing nothing", base + ["--golden-write", "g.jsonl"], 2, "--golden-write needs")
    t.expect("prompts for nothing", base + ["--prompts", "p.jsonl"], 2, "--golden FILE", "lathe generate")
    t.expect("--max-tokens alone", base + ["--data", "text.txt", "--max-tokens", "3"], 2, "--max-tokens is for --prompts")
    t.expect("another length", base + ["--prompts", "p.jsonl", "--golden", "g.jsonl", "--max-tokens", "11"], 2,
             "written with 10 new tokens")
    t.expect("no such file", base + ["--prompts", "none.jsonl", "--golden", "g.jsonl"], 3, "none.jsonl")
    t.expect("a place that cannot be", base + ["--prompts", "p.jsonl", "--golden-write", "/proc/g.jsonl"], 6,
             "/proc/g.jsonl")
    t.expect("no such result", base + ["--prompts", "p.jsonl", "--golden", "g.jsonl", "--gate", "golden.exct>=1"], 2,
             "golden.exct", "did you mean 'golden.exact'")
    for what, rows, says in (
            ("a misspelt check", [{"id": "a", "must_contan": "x"}], "bad.jsonl:1: 'must_contan' is no field"),
            ("a bad pattern", [{"id": "a", "output": ""}, {"id": 7, "regex": "a("}],
             "bad.jsonl:2: 'regex' is no pattern: missing closing parenthesis at its byte 2"),
            ("a stranger", [{"id": "b", "output": ""}], "bad.jsonl:1: no prompt has the id b"),
            ("another prompt", [{"id": "a", "prompt": "old", "output": ""}], "another text now"),
            ("nothing", [{"id": "a"}], "bad.jsonl:1: nothing is expected")):
        put_rows(t, "bad.jsonl", rows)
        t.expect(what, base + ["--prompts", "p.jsonl", "--golden", "bad.jsonl"], 3, says.replace("(", r"\("))
    put_rows(t, "bad.jsonl", [{"prompt": 3}] * 12)
    t.expect("many bad prompts", base + ["--prompts", "bad.jsonl", "--golden", "g.jsonl"], 3, "12 of 12 rows",
             "the first 10", "bad.jsonl:10: 'prompt' is an integer")
    put_rows(t, "bad.jsonl", [{"messages": [{"role": "user", "content": "hi"}]}])
    t.expect("no template", base + ["--prompts", "bad.jsonl", "--golden-write", "x.jsonl"], 3, "chat template")
    t.expect("a template", base + ["--prompts", "bad.jsonl", "--golden-write", "x.jsonl", "--max-tokens", "4",
                                   "--chat-template", "custom:user=Q|;assistant=A|"], 0, "template +custom")
    t.check("the messages stand in the golden", rows_of(t, "x.jsonl")[1]["messages"][0]["content"] == "hi")


def test_drift(t):
    base = ["eval", "--model", "model", "--data", "text.txt", "--details"]
    code, out, err = t.run(*base, "--json")
    t.check("a baseline", code == 0, err)
    t.write("before.json", out)
    before = json.loads(out)
    profile = before["data_profile"]
    t.check("a profile", profile["documents"] == 40 and profile["top"].count(":") == profile["distinct"], profile)
    t.check("bytes are tokens here", profile["bytes_per_token"] == 1 and profile["byte_share"] == 0, profile)
    same = t.answer("against itself", base + ["--baseline", "before.json", "--gate", "drift.perplexity.ratio<=1.001"])
    drift = same["drift"]
    t.check("nothing drifts", drift["data"]["same"] is True and drift["data"]["kl"] == 0 and drift["outside"] == [] and
            math.isclose(drift["nll"]["ratio"], 1, rel_tol=1e-6), drift)
    fresh = ["eval", "--model", "model", "--data", "other.txt", "--details", "--baseline", "before.json"]
    code, out, err = t.run(*fresh, "--gate", "drift.perplexity.ratio<=1.05", "--gate", "drift.data.kl<=0.1")
    t.check("fresh data: exit 1 and a table", code == 1 and "drift.data.kl<=0.1" in err and
            "outside both intervals" in out and "data        another" in out, (code, out, err))
    drift = t.answer("fresh data, as JSON", fresh)["drift"]
    t.check("all of it drifts", drift["data"]["same"] is False and drift["data"]["kl"] > 0.5 and
            "perplexity" in drift["outside"] and drift["perplexity"]["outside"] is True and math.isclose(
                drift["perplexity"]["ratio"], drift["perplexity"]["new"] / drift["perplexity"]["old"], rel_tol=1e-9),
            drift)
    t.check("old is the baseline's", drift["perplexity"]["old"] == before["perplexity"], drift["perplexity"])
    t.expect("a missing baseline", base + ["--baseline", "none.json"], 3, "none.json")
    t.write("no.json", "{\"a\": ")
    t.expect("no JSON", base + ["--baseline", "no.json"], 3, "no.json: byte")
    t.write("no.json", "{\"a\": 1}")
    t.expect("no report", base + ["--baseline", "no.json"], 3, "no number in common")
    t.write("no.json", "{\"kind\": \"choice\", \"perplexity\": 1}")
    t.expect("another kind", base + ["--baseline", "no.json"], 3, "of kind choice, this evaluation is of kind text")


def main():
    tests = (make_model, test_goldens, test_checks, test_families, test_errors, test_drift)
    return run_all("golden", tests)


if __name__ == "__main__":
    sys.exit(main())
