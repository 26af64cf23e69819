#!/usr/bin/env python3
"""Tests of lathe eval beyond plain perplexity: tasks, references, slices, perturbations, suites, gates.

usage: eval_cli_tests.py [PATH_TO_LATHE]     (else $LATHE, else build/release/lathe)
No module outside Python's own. Models are the small ones of tests/golden/families; what needs ../shared/data is skipped
without it (LT_DATA names another place). The last line holds the totals; the exit code is 1 when a check failed."""
import json
import math
import os
import shutil
import sys

from cli_tests import EVAL_KEYS, run_all

FAMILIES = os.path.abspath("tests/golden/families")
DATA = os.environ.get("LT_DATA") or os.path.abspath("../shared/data")
LLAMA, MISTRAL, BERT = (os.path.join(FAMILIES, n) for n in ("llama", "mistral", "bert"))
LETTERS = ["ab ab", "c a b", "abc cab", "a a a", "cc b", "b c ab", "cab b a c", "ab c ab c"]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def make_files(t):
    t.write("choice.jsonl", lines({"query": LETTERS[i % 8], "choices": [LETTERS[(i + 1) % 8], LETTERS[(i + 3) % 8]],
                                   "gold": i % 2, "kind": ["x.y", "z"][i % 3 == 0]} for i in range(24)))
    t.write("cloze.jsonl", lines({"context": x, "continuation": "ab"} for x in LETTERS))
    t.write("text.txt", "\n<|endoftext|>\n".join(x.replace("\n", " ") for x in LETTERS))
    t.write("labels.jsonl", lines({"text": x, "label": "LABEL_%d" % (i % 3)} for i, x in enumerate(LETTERS)))
    t.write("labels.csv", "text,category\n" + "".join('"%s",LABEL_%d\n' % (x, i % 3) for i, x in enumerate(LETTERS)))
    t.write("bad.jsonl", '{"query": "a", "choices": ["b", "c"], "gold": 0}\n{"query": "a", "choices": "b", "gold": 0}\n')
    os.makedirs(t.path("suite"))
    for name in ("choice.jsonl", "cloze.jsonl", "text.txt"):
        shutil.copy(t.path(name), t.path(os.path.join("suite", name.replace(".", "-1."))))


def test_tasks(t):
    base = ["eval", "--model", LLAMA]
    got = t.answer("choice", base + ["--data", "choice.jsonl", "--slice", "kind"])
    t.check("choice: keys", EVAL_KEYS | {"kind", "items", "accuracy", "accuracy_norm", "intervals"} <= set(got), got)
    t.check("choice: kind and items", got["kind"] == "choice" and got["items"] == 24, got)
    t.check("choice: slices by size", list(got["slices"]) == ["x.y", "z"] and
            [s["items"] for s in got["slices"].values()] == [16, 8], got["slices"])
    parts = sum(s["accuracy"] * s["items"] for s in got["slices"].values()) / 24
    t.check("choice: slices add up", math.isclose(parts, got["accuracy"]), got)
    t.check("choice: --limit", t.answer("limit", base + ["--data", "choice.jsonl", "--limit", "5"])["items"] == 5)
    got = t.answer("cloze", base + ["--data", "cloze.jsonl"])
    t.check("cloze: keys", got["kind"] == "cloze" and "accuracy" in got and "accuracy_norm" not in got, got)
    for name in ("labels.jsonl", "labels.csv"):
        got = t.answer(name, ["eval", "--model", BERT, "--data", name])
        t.check(name + ": by the head", got["kind"] == "classification" and 0 <= got["macro_f1"] <= 1 and
                got["items"] == 8, got)
    plain = t.answer("text", base + ["--data", "text.txt"])
    more = t.answer("text: --details", base + ["--data", "text.txt", "--details"])
    t.check("text: details", "by_position" in more and math.isclose(more["nll"], plain["nll"], rel_tol=1e-6), more)
    out = t.expect("choice: for people", base + ["--data", "choice.jsonl", "--slice", "kind"], 0)
    t.check("choice: tables", "accuracy_norm" in out and "slices" in out and "x.y" in out, out)
    t.expect("a bad row", base + ["--data", "bad.jsonl"], 3, "bad.jsonl:2: 'choices' is a string")
    got = t.answer("bad rows left out", base + ["--data", "bad.jsonl", "--skip-bad-rows"])
    t.check("bad rows are counted", got.get("skipped_rows") == 1 and got["items"] == 1, got)
    t.expect("an encoder on text", ["eval", "--model", BERT, "--data", "text.txt"], 2, "is an encoder")


def test_reference(t):
    base = ["eval", "--model", LLAMA, "--reference", MISTRAL]
    got = t.answer("reference", base + ["--data", "text.txt"])
    t.check("reference: keys", got["kl"] > 0 and 0 <= got["top1_agreement"] <= 1, got)
    t.check("reference: its own numbers", got["reference"]["perplexity"] != got["perplexity"], got)
    t.check("reference: worst", got["worst"][0]["where"].startswith("text.txt:") and
            got["worst"][0]["kl"] >= got["worst"][-1]["kl"], got["worst"])
    own = t.answer("reference: itself", ["eval", "--model", LLAMA, "--reference", LLAMA, "--data", "text.txt"])
    t.check("reference: itself", own["kl"] == 0 and own["top1_agreement"] == 1 and
            own["intervals"]["difference"]["perplexity"] == [0, 0], own)
    got = t.answer("reference: choices", base + ["--data", "choice.jsonl", "--perturb", "whitespace,case"])
    t.check("reference: flips", got["flipped"] == len(got["flips"]) or got["flipped"] > 10, got)
    t.check("perturbed: side by side", all("reference" in got["perturbed"][k] for k in ("whitespace", "case")), got)
    t.expect("another vocabulary", ["eval", "--model", LLAMA, "--reference", BERT, "--data", "text.txt"], 2,
             "only models of one vocabulary")
    out = t.expect("reference: for people", base + ["--data", "choice.jsonl"], 0)
    t.check("reference: tables", "what changed most" in out and "reference" in out, out)


def test_suite(t):
    got = t.answer("suite", ["eval", "--model", LLAMA, "--suite", "suite"])
    t.check("suite: tasks and families", list(got["tasks"]) == ["choice-1", "cloze-1", "text-1"] and
            list(got["families"]) == ["choice", "cloze", "text"], got)
    mean = (got["tasks"]["choice-1"]["accuracy"] + got["tasks"]["cloze-1"]["accuracy"]) / 2
    t.check("suite: the mean over tasks", math.isclose(got["accuracy"], mean), got)
    t.check("suite: keys", EVAL_KEYS <= set(got), got)
    out = t.expect("suite: for people", ["eval", "--model", LLAMA, "--suite", "suite"], 0)
    t.check("suite: tables", "families" in out and "tasks" in out, out)
    t.expect("suite and data", ["eval", "--model", LLAMA, "--suite", "suite", "--data", "text.txt"], 2, "exclude")


def test_gates(t):
    base = ["eval", "--model", LLAMA, "--data", "choice.jsonl", "--slice", "kind"]
    t.expect("a nested gate holds", base + ["--gate", "slices.x.y.accuracy>=0", "--gate", "intervals.accuracy.0>=0"], 0)
    got = t.answer("a nested gate fails", base + ["--gate", "slices.z.accuracy>1"], 1)
    t.check("gates are in the report", got["gates"][0]["passed"] is False, got.get("gates"))
    t.expect("an unknown nested gate", base + ["--gate", "slices.z.acuracy>0"], 2, "did you mean 'slices.z.accuracy'")
    t.expect("a gate this data has not", base + ["--gate", "kl<1"], 2, "'kl'")
    t.expect("relative without reference", base + ["--gate", "perplexity<=1.03x"], 2, "give --reference")
    both = base + ["--reference", MISTRAL]
    t.expect("relative gates hold", both + ["--gate", "perplexity<=1000x", "--gate", "slices.z.nll>0.001x",
                                            "--gate", "parameters<=1x"], 0)
    code, _, err = t.run(*both, "--gate", "perplexity<=0.0001x")
    t.check("a relative gate fails", code == 1 and "gate missed: perplexity<=0.0001x" in err, err)
    t.expect("no operator", base + ["--gate", "slices.z.accuracy=0.5"], 2, "no comparison")
    t.expect("an unknown perturbation", base + ["--perturb", "typo"], 2, "'typo' is none of")
    t.expect("no such slice", base[:-1] + ["nothing"], 2, "no row has a field 'nothing'")
    t.expect("a prompt without a place", base + ["--label-prompt", "x"], 2, r"no place \{text\}")


def test_stories(t):
    model = os.path.join(DATA, "models/stories260K")
    if not os.path.isdir(model):
        t.skipped += 1
        print("SKIPPED what needs %s" % DATA)
        return
    story = os.path.join(DATA, "text/tinystories-1700.txt")
    gguf, hf = os.path.join(model, "stories260K-f32.gguf"), os.path.join(model, "hf")
    got = t.answer("stories: GGUF and HF agree", ["eval", "--model", gguf, "--reference", hf, "--data", story,
                                                   "--limit", "10"])
    t.check("stories: no divergence", got["kl"] < 1e-7 and got["top1_agreement"] > 0.999, got)
    base = ["eval", "--model", hf, "--data", story, "--limit", "20", "--perturb", "all", "--samples", "3",
            "--sample-tokens", "16"]
    got = t.answer("stories: perturbed", base + ["--qat", "q4_0", "--reference", hf])
    t.check("stories: typos cost", got["perturbed"]["typos"]["perplexity"] > got["perplexity"] and
            got["perturbed"]["shift"]["perplexity"] < 2 * got["perplexity"], got["perturbed"])
    t.check("stories: samples", 0 < got["diversity"]["distinct_2"] <= 1, got.get("diversity"))
    copa = os.path.join(DATA, "eval/copa.jsonl")
    got = t.answer("stories: copa", ["eval", "--model", hf, "--data", copa])
    t.check("stories: copa", got["kind"] == "choice" and got["items"] == 100 and got["accuracy"] > 0.5, got)
    got = t.answer("stories: trec", ["eval", "--model", hf, "--data", os.path.join(DATA, "classify/trec-test.txt"),
                                     "--limit", "10"])
    t.check("stories: trec", got["kind"] == "classification" and got["items"] == 10, got)


def main():
    tests = (test_tasks, test_reference, test_suite, test_gates, test_stories)
    return run_all("eval", tests, make_files)


if __name__ == "__main__":
    sys.exit(main())
