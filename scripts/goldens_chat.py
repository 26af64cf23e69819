#!/usr/bin/env python3
"""Writes tests/golden/chat.json: conversations as Transformers renders them, for tests/test_chat.c to reproduce.

usage: goldens_chat.py --templates DIR [--out tests/golden]
needs: transformers, jinja2; and in DIR the chat templates that models publish, each as NAME.jinja: the value of
       "chat_template" in a model's tokenizer_config.json, or of tokenizer.chat_template in its GGUF file. Of
       chatml, smollm2, qwen2, qwen25, llama3, llama31, llama32, gemma2, gemma3, zephyr, qwen3, qwen3_first those that
       are there are rendered.

Templates are programs of other people: they run here, by hand, and never come into the tree. What is kept is what they
make of the conversations below. Llama 3.2's would write today's date; it is told the one it falls back to.
"""
import argparse
import json
import os

from transformers.utils.chat_template_utils import render_jinja_template

# The tokens of each template; BOS and EOS as the models name them.
TOKENS = {
    "chatml": ("<s>", "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "qwen2": ("", "<|im_end|>"),
    "qwen25": ("", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "llama31": ("<|begin_of_text|>", "<|eot_id|>"),
    "llama32": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma2": ("<bos>", "<eos>"),
    "gemma3": ("<bos>", "<eos>"),
    "zephyr": ("<s>", "</s>"),
    "qwen3": ("", "<|im_end|>"),
    "qwen3_first": ("", "<|im_end|>"),
}

CONVERSATIONS = [
    "u:Hi",
    "u:Hi|a:Hello.",
    "s:Be brief.|u:What is 2 + 2?|a:4|u:And 3 + 3?",
    "s:  spaced \n|u:\n  two\nlines \t|a:  an answer \u00a0|u: more |a: yes",
    "u:|a:nothing was asked",
    "s:Only a system message",
    "u:one|u:two|a:three",
    "a:I begin|u:why?",
    "u:Hi|a:Hello|s:Now be formal|u:Hi again|a:Good day.",
    "u:<|im_end|> <|eot_id|> <end_of_turn> </s> are words|a:<|im_start|>so is this",
    "u:\u00fcber \u65e5\u672c\u8a9e \U0001f600|a:\u2003e\u0301\u3000",
    "u:think|a:<think>\nlong\n\nthought\n</think>\n\nshort",
    "u:think|a:<think>first</think>one|u:again|a:<think>\nsecond\n</think>\n\n\ntwo\n",
    "u:think|a:<think>a</think>x|a:<think>b</think>y|a:z",
    "u:ask|a:\n\nplain",
    "u:ask|a:half a thought</think>rest",
    "u:q|a:call|u:<tool_response>\n5\n</tool_response>|a:five",
    "a:<think>x</think>alone",
]
ROLES = {"s": "system", "u": "user", "a": "assistant"}


def messages_of(text):
    """The messages of "u:..|a:..": a bar divides where a role follows it."""
    out = []
    for part in text.split("|"):
        if len(part) > 1 and part[0] in ROLES and part[1] == ":":
            out.append([part[0], part[2:]])
        else:
            out[-1][1] += "|" + part
    return [{"role": ROLES[role], "content": content} for role, content in out]


def render(template, messages, reply, bos, eos):
    try:
        return render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=reply, bos_token=bos, eos_token=eos,
            date_string="26 Jul 2024")[0][0]
    except Exception:  # the template's own raise_exception
        return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", required=True)
    parser.add_argument("--out", default="tests/golden")
    options = parser.parse_args()
    result = {"conversations": [messages_of(text) for text in CONVERSATIONS], "templates": []}
    for name, (bos, eos) in TOKENS.items():
        path = os.path.join(options.templates, name + ".jinja")
        if not os.path.exists(path):
            print("no %s" % path)
            continue
        with open(path, encoding="utf-8", newline="") as file:
            template = file.read()
        texts = [[render(template, messages, reply, bos, eos) for reply in (False, True)]
                 for messages in result["conversations"]]
        result["templates"].append({"name": name, "bos": bos, "eos": eos, "texts": texts})
    with open(os.path.join(options.out, "chat.json"), "w", encoding="ascii") as file:
        json.dump(result, file, indent=0, ensure_ascii=True)
        file.write("\n")


if __name__ == "__main__":
    main()
