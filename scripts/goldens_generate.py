#!/usr/bin/env python3
"""Writes tests/golden/generate.json: what Transformers continues prompts with, greedily, in float32.

usage: goldens_generate.py [--families tests/golden/families] [--stories ../shared/data/models/stories260K/hf]
                           [--out tests/golden/generate.json]
needs: torch, transformers 5.

Run by hand and never in CI: tests/test_generate.c reads what is committed. The models are those of
goldens_families.py, and stories260K (without --stories its entry is kept as it is). A model has prompts of several
lengths, each continued alone, with no id that ends a text; "gap" is the least distance of the two largest logits on the
way. Of the prompts drawn, those count whose gap says that rounding cannot turn a choice; the one with the most
different ids is kept."""
import argparse
import json
import os

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
LENGTHS, NEW, LEAST_GAP = (3, 12, 7, 1), 24, 1e-3
STORIES = ("Once upon a time", "One day, Lily and Tom went to the park", "The dog")


@torch.no_grad()
def continued(model, prompt, count):
    ids, gap, cache = list(prompt), float("inf"), None
    step = torch.tensor([prompt])
    for _ in range(count):
        out = model(input_ids=step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        two = torch.topk(out.logits[0, -1].double(), 2)
        gap = min(gap, float(two.values[0] - two.values[1]))
        ids.append(int(two.indices[0]))
        step = torch.tensor([ids[-1:]])
    return {"prompt": list(prompt), "ids": ids[len(prompt):], "gap": round(gap, 6)}


def as_generate_does(model, entry):
    out = model.generate(torch.tensor([entry["prompt"]]), max_new_tokens=len(entry["ids"]), do_sample=False,
                         eos_token_id=None, pad_token_id=0, attention_mask=torch.ones(1, len(entry["prompt"])).long())
    assert out[0, len(entry["prompt"]):].tolist() == entry["ids"], entry


def family(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    entries = []
    for k, length in enumerate(LENGTHS):
        best = None
        for seed in range(40):
            generator = torch.Generator().manual_seed(1000 * k + seed)
            prompt = torch.randint(3, model.config.vocab_size, (length,), generator=generator).tolist()
            entry = continued(model, prompt, NEW)
            clear, varied = entry["gap"] >= LEAST_GAP, len(set(entry["ids"]))
            if clear and (best is None or varied > len(set(best["ids"]))):
                best = entry
        assert best, "%s: no prompt of %d ids with a clear continuation" % (path, length)
        entry = best
        as_generate_does(model, entry)
        entries.append(entry)
    return entries


def stories(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    entries = []
    for text in STORIES:
        entry = continued(model, tokenizer(text).input_ids, 64)
        as_generate_does(model, entry)
        entry["text"] = text
        whole = tokenizer.decode(entry["prompt"] + entry["ids"])
        entry["continuation"] = whole[len(tokenizer.decode(entry["prompt"])):]
        entries.append(entry)
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default="tests/golden/families")
    parser.add_argument("--stories", default="../shared/data/models/stories260K/hf")
    parser.add_argument("--out", default="tests/golden/generate.json")
    o = parser.parse_args()
    golden = {}
    if os.path.exists(o.out):
        with open(o.out) as file:
            golden = json.load(file)
    for name in sorted(os.listdir(o.families)):
        with open(os.path.join(o.families, name, "config.json")) as file:
            if json.load(file)["model_type"] != "bert":
                golden[name] = family(os.path.join(o.families, name))
    if os.path.isdir(o.stories):
        golden["stories260K"] = stories(o.stories)
    lines = []
    for name in sorted(golden):
        entries = ",\n".join("  " + json.dumps(entry, sort_keys=True) for entry in golden[name])
        lines.append("%s: [\n%s\n ]" % (json.dumps(name), entries))
    with open(o.out, "w") as file:
        file.write("{\n " + ",\n ".join(lines) + "\n}\n")
    for name in sorted(golden):
        print(name, [e["gap"] for e in golden[name]])


if __name__ == "__main__":
    main()
