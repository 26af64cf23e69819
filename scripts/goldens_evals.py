#!/usr/bin/env python3
"""Writes tests/golden/evals.json: what choices, continuations, labels and texts are worth to models, by Transformers.

usage: goldens_evals.py [--data ../shared/data] [--out tests/golden/evals.json]
needs: torch, transformers 5, tokenizers.

Run by hand and never in CI: tests/test_evals.c reads what is committed. Models are those of tests/golden/families, and
stories260K where the shared data are. Each case has rows as lathe reads them and, a row, what is expected: tokens, nll
(mean over the right choice's ids), accuracy and accuracy_norm (0 or 1), and with a reference kl and top1_agreement
over the ids of all choices. Rules are written here anew, from their definitions: ids of the whole behind as many as the
prompt alone has, trailing blanks moved to the choice.
"""
import argparse
import json
import os

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
FAMILIES = "tests/golden/families"


class Model:
    def __init__(self, path, kind=AutoModelForCausalLM):
        self.net = kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
        self.tok = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        with_special, without = (self.tok.encode("a", add_special_tokens=s).ids for s in (True, False))
        self.bos = with_special[:1] if with_special[:1] != without[:1] else []

    def ids(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids

    def log_probabilities(self, ids):
        with torch.no_grad():
            return self.net(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def score(model, reference, prompt, rest):
    """[(log p, greedy, kl, agrees)] of the ids of `rest`."""
    kept = prompt.rstrip(" \t\r\n")
    rest = prompt[len(kept):] + rest
    context = model.ids(kept)
    whole = model.ids(kept + rest)
    start = len(model.bos) + min(len(context), len(whole) - 1)
    ids = model.bos + whole
    out = []
    own = model.log_probabilities(ids)
    other = reference.log_probabilities(ids) if reference else own
    for t in range(start, len(ids)):
        p, q = own[t - 1], other[t - 1]
        out.append((p[ids[t]].item(), int(p.argmax()) == ids[t], (q.exp() * (q - p)).sum().item(),
                    int(p.argmax()) == int(q.argmax())))
    return out


def compare(scores, reference):
    if not reference:
        return {}
    flat = [s for one in scores for s in one]
    return {"kl": sum(s[2] for s in flat) / len(flat), "top1_agreement": sum(s[3] for s in flat) / len(flat)}


def choice(model, reference, pairs, gold):
    """pairs: (prompt with delimiter, choice, bytes that normalise)."""
    scores = [score(model, reference, prompt, text) for prompt, text, _ in pairs]
    sums = [sum(s[0] for s in one) for one in scores]
    normed = [total / n for total, (_, _, n) in zip(sums, pairs)]
    right = scores[gold]
    return {"tokens": len(right), "nll": -sums[gold] / len(right), "accuracy": int(sums.index(max(sums)) == gold),
            "accuracy_norm": int(normed.index(max(normed)) == gold), **compare(scores, reference)}


def delimiter(prompt, text):
    bare = not prompt or prompt[-1] in " \t\r\n=([{<#$@/-" or text[0] in " \t\r\n"
    return "" if bare else " "


def of_choice(model, reference, row):
    if "context_options" in row:
        rest = row["continuation"]
        return choice(model, reference, [(o + delimiter(o, rest), rest, len(rest.encode())) for o in
                                         row["context_options"]], row["gold"])
    query = (row["context"] + "\n" if "context" in row else "") + row["query"]
    return choice(model, reference, [(query + delimiter(query, c), c, len(c.encode())) for c in row["choices"]],
                  row["gold"])


def of_cloze(model, reference, row):
    prompt, rest = row["context"], row["continuation"]
    scores = score(model, reference, prompt + delimiter(prompt, rest), rest)
    return {"tokens": len(scores), "nll": -sum(s[0] for s in scores) / len(scores),
            "accuracy": int(all(s[1] for s in scores)), **compare([scores], reference)}


def of_text(model, reference, row):
    ids = model.bos + model.ids(row["text"])
    own = model.log_probabilities(ids)
    other = reference.log_probabilities(ids) if reference else own
    n, kl, same = len(ids) - 1, 0, 0
    for t in range(n):
        kl += (other[t].exp() * (other[t] - own[t])).sum().item() / n
        same += int(int(own[t].argmax()) == int(other[t].argmax())) / n
    return {"tokens": n, "nll": -sum(own[t, ids[t + 1]].item() for t in range(n)) / n,
            **({"kl": kl, "top1_agreement": same} if reference else {})}


def of_labels(model, reference, row, labels):
    prompt = row["text"] + "\nLabel:"
    return choice(model, reference, [(prompt + delimiter(prompt, k), k, len(k.encode())) for k in labels],
                  labels.index(row["label"]))


def of_class(model, row):
    with torch.no_grad():
        logits = model.net(torch.tensor([model.tok.encode(row["text"]).ids])).logits[0].double()
    gold = model.net.config.label2id[row["label"]]
    return {"tokens": 1, "nll": -logits.log_softmax(-1)[gold].item(), "accuracy": int(int(logits.argmax()) == gold)}


CHOICE = [{"query": "ab ab", "choices": ["abc", "cba", "c"], "gold": 0},
          {"query": "a", "choices": ["b", "bc", "ccc"], "gold": 1},
          {"query": "abc abc ", "choices": ["a a", "b"], "gold": 1},
          {"query": "c c c c a b ab ab cab", "choices": [" ab", "ac ab c", "c"], "gold": 2}]
CONTEXTS = [{"context_options": ["ab c", "a b cc", "c"], "continuation": "ab ab", "gold": 2},
            {"context_options": ["ba ", "b"], "continuation": "bbb a", "gold": 0}]
CLOZE = [{"context": "ab ab ab", "continuation": "ab"}, {"context": "c c", "continuation": " ba"},
         {"context": "a b ", "continuation": "c"}, {"context": "cc cc b", "continuation": "a"}]
TEXT = [{"text": "ab abc cab ab a b c"}, {"text": "cc cab"}, {"text": "ababab aaa bbb ccc cabcab a"}]
CLASSES = [{"text": "ab ab c", "label": "LABEL_0"}, {"text": "ccc a ab", "label": "LABEL_2"},
           {"text": "b", "label": "LABEL_1"}, {"text": "cab cab cab b a", "label": "LABEL_2"}]
STORY_CHOICE = [{"query": "Once upon a time, there was a little girl named",
                 "choices": ["Lily.", "Thursday.", "because it rained."], "gold": 0},
                {"query": "Tom fell and hurt his knee. He was very", "choices": ["sad", "happy", "triangle"], "gold": 0},
                {"context": "The ball is red.", "query": "The color of the ball is", "choices": ["blue.", "red."],
                 "gold": 1}]
STORY_CLOZE = [{"context": "They lived happily ever", "continuation": "after."},
               {"context": "Once upon a", "continuation": "time"}]


def cases(data):
    def family(name):
        return os.path.join(FAMILIES, name)

    for name, other in (("llama", "mistral"), ("qwen3", None), ("gpt2", None), ("gemma3", "llama3")):
        model, reference = Model(family(name)), Model(family(other)) if other else None
        for kind, rows, judge in (("choice", CHOICE, of_choice), ("choice", CONTEXTS, of_choice),
                                  ("cloze", CLOZE, of_cloze), ("text", TEXT, of_text)):
            yield {"model": "families/" + name, "reference": other and "families/" + other, "kind": kind, "rows": rows,
                   "expected": [judge(model, reference, row) for row in rows]}
    bert = Model(family("bert"), AutoModelForSequenceClassification)
    yield {"model": "families/bert", "reference": None, "kind": "classification", "rows": CLASSES,
           "expected": [of_class(bert, row) for row in CLASSES]}
    stories = Model(os.path.join(data, "models/stories260K/hf"))
    named = [{"text": "I lost my toy and cried.", "label": "sad"}, {"text": "We played and laughed!", "label": "happy"}]
    labels = list(dict.fromkeys(r["label"] for r in named))
    for kind, rows, judge in (("choice", STORY_CHOICE, of_choice), ("cloze", STORY_CLOZE, of_cloze),
                              ("classification", named, lambda m, r, row: of_labels(m, r, row, labels))):
        yield {"model": "stories260K", "reference": None, "kind": kind, "rows": rows,
               "expected": [judge(stories, None, row) for row in rows]}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", default="../shared/data")
    ap.add_argument("--out", default="tests/golden/evals.json")
    a = ap.parse_args()
    with open(a.out, "w") as file:
        json.dump({"cases": list(cases(a.data))}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
