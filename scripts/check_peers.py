#!/usr/bin/env python3
"""Checks lathe's files against other programs: what it writes loads elsewhere, what others write loads in lathe.

usage: check_peers.py LATHE [--only NAME] [--text TEXT] [--smol DIR --valid TEXT] [--keep DIR]
needs: torch, transformers 5, tokenizers, safetensors, gguf, llama_cpp (llama-cpp-python), numpy.

Run by hand and never in CI. Prints a table, a line a check, and leaves with 1 when one was missed. Random small models
of every family come from Transformers, with tokenizers trained on --text by goldens_gguf_tokenizers.py; each is saved
as F32, F16 and BF16, and

    to GGUF    `lathe convert DIR X.gguf` loads in llama.cpp, with Transformers' logits and tokens. llama.cpp rounds
               what enters a 16-bit matrix and looks tanh-GELU up in a table of half floats: hooks here do both
    f32        16-bit weights written with --type f32 are the same numbers: no rounding, the narrow limit
    back       `lathe convert X.gguf DIR` has every tensor's bytes, config.json with unknown keys, the chat template,
               generation_config.json; Transformers computes the same bits and reads the same tokens
    by others  a file the gguf package wrote, with permutation, transposes and (1 + w) done here: `lathe eval
               --dump-logits` and `lathe convert` read it

--smol names a directory with hf/ (SmolLM2-135M as a Hugging Face directory) and smollm2.gguf (the same, quantized):
their perplexity on the beginning of --valid, in lathe and in llama.cpp: q8_0 within 0.4 %, q4_0 within 1 %, and what
lathe decodes from that q4_0 file to 5 digits.

Texts llama.cpp splits otherwise than Hugging Face, also when the gguf package wrote the vocabulary, are left out and
counted."""
import argparse
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np
import torch
import transformers
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer,
                          BertConfig, BitNetConfig, Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen3Config)

import goldens_gguf_tokenizers as vocabularies

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
torch.set_num_threads(2)
LIMIT, LIMIT_16, LIMIT_EVAL = 5e-4, 5e-3, 1e-4
LIMIT_PPL, LIMIT_PPL_4 = 4e-3, 1e-2  # llama.cpp rounds activations to int8; with 4 bits that costs more
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SAMPLE = "First Citizen:\nBefore we proceed any further, hear me speak. 1623 words, or more?\n"
UNKNOWN = {"of_somebody_else": {"a": [1, 2.5, None], "b": "\u00e9"}}
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"

# ---- Models ----

SMALL = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256)


def rope(theta=10000.0, kind="default", **more):
    return {"rope_theta": theta, "rope_type": kind, **more}


def gemma(layers, **more):
    kinds = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)]
    return Gemma3TextConfig, {**SMALL, "num_hidden_layers": layers, "head_dim": 32, "query_pre_attn_scalar": 32,
                              "sliding_window": 24, "layer_types": kinds, **more,
                              "rope_parameters": {"full_attention": rope(1e6), "sliding_attention": rope(1e4)}}


LLAMA3 = rope(500000.0, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
SHORT3 = rope(5000.0, "llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
YARN = rope(10000.0, "yarn", factor=4.0, original_max_position_embeddings=64)
YARN_OWN = rope(10000.0, "yarn", factor=4.0, beta_fast=16.0, beta_slow=2.0, original_max_position_embeddings=64,
                attention_factor=1.1)
# name: (maker of the tokenizer, config's class, its options)
CASES = {
    "llama": ("make_spm", LlamaConfig, SMALL),
    "llama-tied": ("make_smollm", LlamaConfig, {**SMALL, "tie_word_embeddings": True, "head_dim": 32}),
    "llama-bias": ("make_spm", LlamaConfig, {**SMALL, "attention_bias": True, "rms_norm_eps": 1e-3}),
    "llama3": ("make_llama3", LlamaConfig, {**SMALL, "rope_parameters": LLAMA3}),
    "llama3-short": ("make_llama3", LlamaConfig, {**SMALL, "rope_parameters": SHORT3, "head_dim": 32}),
    "llama-linear": ("make_smollm", LlamaConfig, {**SMALL, "rope_parameters": rope(kind="linear", factor=3.0)}),
    "llama-yarn": ("make_smollm", LlamaConfig, {**SMALL, "rope_parameters": YARN}),
    "llama-yarn-own": ("make_smollm", LlamaConfig, {**SMALL, "rope_parameters": YARN_OWN}),
    "mistral": ("make_spm", MistralConfig, {**SMALL, "sliding_window": None}),
    "mistral-window": ("make_spm", MistralConfig, {**SMALL, "sliding_window": 200}),
    "qwen2": ("make_qwen2", Qwen2Config, {**SMALL, "tie_word_embeddings": True, "rope_parameters": rope(1e6)}),
    "qwen3": ("make_qwen2", Qwen3Config, {**SMALL, "head_dim": 32, "rope_parameters": rope(1e6)}),
    "gemma3": ("make_gemma", *gemma(6)),
    "gemma3-odd": ("make_gemma", *gemma(7, num_attention_heads=2, num_key_value_heads=1)),
    "bitnet": ("make_llama3", BitNetConfig, {**SMALL, "hidden_act": "silu", "tie_word_embeddings": True}),
    "gpt2": ("make_gpt2", GPT2Config, dict(n_embd=64, n_layer=2, n_head=4, n_positions=256)),
    "bert": ("make_bert", BertConfig, dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_labels=3,
                                           num_attention_heads=4, max_position_embeddings=256,
                                           id2label={0: "bad", 1: "so so", 2: "good"},
                                           label2id={"bad": 0, "so so": 1, "good": 2})),
}


def kind_of(config):
    return AutoModelForSequenceClassification if config.model_type == "bert" else AutoModelForCausalLM


def open_hf(where):
    kind = kind_of(AutoConfig.from_pretrained(where))
    return kind.from_pretrained(where, dtype=torch.float32, attn_implementation="eager").eval()


def draw(model, seed):
    rng = torch.Generator().manual_seed(seed)  # what passes through keeps its size; gains near 1; biases that count
    plus_one = model.config.model_type.startswith("gemma3")
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=rng)
        low = name.lower()
        if "norm" in low or "ln_" in low:
            x = 0.2 * x + (0 if plus_one or low.endswith("bias") else 1)
        elif p.dim() == 1 or any(word in low for word in ("embed", "wte", "wpe")):
            x = 0.3 * x
        else:
            x = x / 8
        with torch.no_grad():
            p.copy_(x)


def save_case(where, name, kind, text, seed):
    maker, make_config, options = CASES[name]
    tok, how = getattr(vocabularies, maker)(text)
    rows = -(-max(tok.get_vocab_size(), how.get("rows", 0)) // 32) * 32
    names = {i: t for t, i in tok.get_vocab().items()}
    roles = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "pad": "pad_token", "cls": "cls_token",
             "sep": "sep_token", "mask": "mask_token"}
    ids = {role + "_id": how[key] for key, role in roles.items() if key in how and role[:3] in ("bos", "eos", "pad")}
    config = make_config(vocab_size=rows, **{"pad_token_id": None, **ids}, **options)
    model = kind_of(config).from_config(config, attn_implementation="eager").eval()
    draw(model, seed)
    model.to(TYPES[kind]).save_pretrained(where)
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, **{roles[k]: names[v] for k, v in how.items() if k in roles})
    if maker not in ("make_bert", "make_gpt2"):
        fast.chat_template = CHAT
    fast.save_pretrained(where)
    path = os.path.join(where, "config.json")
    with open(path, "r+") as file:
        said = json.load(file)
        file.seek(0), file.truncate()
        json.dump({**said, **UNKNOWN}, file, indent=2)
    return tok, {**how, "rows": rows}


# ---- What programs compute ----

def ids_of(tok, text):
    return tok.encode(text, add_special_tokens=False).ids


def rounding_hooks(model, kind):
    """Transformers rounds where llama.cpp does: what enters a matrix of 16 bits, and tanh-GELU's table."""
    linear, gelu = (torch.nn.Linear, transformers.pytorch_utils.Conv1D), ("GELUTanh", "NewGELUActivation")
    hooks = []
    for m in model.modules():
        if type(m).__name__ in gelu:
            hooks.append(m.register_forward_pre_hook(lambda _, args: (args[0].half().float(),)))
            hooks.append(m.register_forward_hook(lambda _, args, y: y.half().float()))
        elif isinstance(m, linear) and kind != "F32":
            hooks.append(m.register_forward_pre_hook(lambda _, args: (args[0].to(TYPES[kind]).float(), *args[1:])))
    return hooks


def hf_logits(model, ids, rounded=None):
    """In float32; or rounded as llama.cpp does for a file of that type."""
    hooks = rounding_hooks(model, rounded) if rounded else []
    with torch.no_grad():
        out = model(torch.tensor([ids])).logits[0].numpy()
    _ = [hook.remove() for hook in hooks]
    return out


def cpp_logits(path, ids):
    """All rows of llama.cpp's logits; of an encoder the classes. -1: as the file says.

    YaRN's betas have keys that llama.cpp reads for some families only; lathe's report says to give them by hand."""
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    encoder = fields["general.architecture"] == "bert"
    betas = [fields.get("llama.rope.scaling.yarn_beta_" + end, -1.0) for end in ("fast", "slow")]
    more = dict(embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_RANK) if encoder else dict(logits_all=True)
    llm = llama_cpp.Llama(path, n_ctx=256, n_batch=256, n_ubatch=256, verbose=False, n_threads=2, type_k=0, type_v=0,
                          yarn_attn_factor=-1.0, yarn_beta_fast=betas[0], yarn_beta_slow=betas[1], **more)
    if not encoder:
        llm.eval(ids)
        return np.array(llm.scores[:len(ids)])
    tokens = (llama_cpp.llama_token * len(ids))(*ids)
    if llama_cpp.llama_decode(llm.ctx, llama_cpp.llama_batch_get_one(tokens, len(ids))):
        raise ValueError("llama_decode failed")
    count = llama_cpp.llama_model_n_cls_out(llm.model)
    labels = [llama_cpp.llama_model_cls_label(llm.model, i).decode() for i in range(count)]
    if labels != ["bad", "so so", "good"]:
        raise ValueError("labels %s" % labels)
    return np.array(llama_cpp.llama_get_embeddings_seq(llm.ctx, 0)[:count])


def cpp_tokens(path, texts):
    llm = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    return [llm.tokenize(t.encode(), add_bos=False, special=False) if t else [] for t in texts]


def check_cpp(t, name, kind, what, got, model, ids):
    """The limit is a fixed one, or 1.5 times what llama.cpp's rounding costs where that is more: it falls elsewhere."""
    plain, rounded = hf_logits(model, ids), hf_logits(model, ids, kind if what.startswith("to") else "F32")
    narrow = LIMIT_16 if kind != "F32" and what.startswith("to") else LIMIT
    t.at_most(name, kind, what, distance(got, rounded), max(narrow, 1.5 * distance(plain, rounded)))


def distance(a, b):
    return float(np.abs(a - b).max()) if a.shape == b.shape else math.inf


# ---- Files of others ----

def permute(w, heads):
    """Rows of a head from halves to neighbours."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def keys_by_others(w, c, arch):
    w.add_context_length(getattr(c, "max_position_embeddings", None) or c.n_positions)
    w.add_embedding_length(c.hidden_size), w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(getattr(c, "intermediate_size", 4 * c.hidden_size))
    w.add_head_count(c.num_attention_heads)
    if arch in ("gpt2", "bert"):
        w.add_layer_norm_eps(c.layer_norm_epsilon if arch == "gpt2" else c.layer_norm_eps)
        if arch == "bert":
            w.add_causal_attention(False), w.add_pooling_type(gguf.PoolingType.RANK), w.add_token_type_count(2)
            w.add_array("bert.classifier.output_labels", [c.id2label[i] for i in range(c.num_labels)])
        return
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_head_count_kv(c.num_key_value_heads), w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_key_length(head), w.add_value_length(head)
    if arch == "gemma3":
        w.add_sliding_window(c.sliding_window)
        w.add_rope_freq_base(c.rope_parameters["full_attention"]["rope_theta"])
        w.add_rope_freq_base_swa(c.rope_parameters["sliding_attention"]["rope_theta"])
        return
    scaling = c.rope_parameters
    w.add_rope_freq_base(scaling["rope_theta"])
    if arch == "llama":
        w.add_vocab_size(c.vocab_size), w.add_rope_dimension_count(head)
    if scaling["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), w.add_rope_scaling_factor(scaling["factor"])
    if scaling["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN), w.add_rope_scaling_factor(scaling["factor"])
        w.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        if "beta_fast" in scaling:
            w.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
        if "attention_factor" in scaling:
            usual = 0.1 * math.log(scaling["factor"]) + 1
            w.add_rope_scaling_attn_factors(scaling["attention_factor"] / usual)
    if scaling["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(scaling, head))


def llama3_factors(s, head):
    """Divisors of the frequencies: by wavelength against the context the model was first trained with."""
    wave = 2 * math.pi * s["rope_theta"] ** (np.arange(0, head, 2) / head)
    turns = s["original_max_position_embeddings"] / wave
    part = np.clip((turns - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"]), 0, 1)
    return (1 / ((1 - part) / s["factor"] + part)).astype(np.float32)


def name_by_others(names, hf):
    if hf.startswith("bert.pooler.dense."):
        return "cls." + hf.rsplit(".", 1)[1]
    if hf.startswith("classifier."):
        return "cls.output." + hf.rsplit(".", 1)[1]
    for ours, theirs in (("attn_sub_norm", "inner_attn_ln"), ("ffn_sub_norm", "ffn_layernorm")):  # the first BitNet's
        hf = hf.replace(ours, theirs)
    return names.get_name(hf.removeprefix("bert."), try_suffixes=(".weight", ".bias"))


def vocabulary_by_others(w, tok, how):
    w.add_tokenizer_model(how["model"]), w.add_tokenizer_pre(how["pre"])
    rows = vocabularies.token_types(tok, how)
    w.add_token_list([name for name, _ in rows]), w.add_token_types([kind for _, kind in rows])
    if how["model"] == "gpt2":
        w.add_token_merges([" ".join(m) for m in json.loads(tok.to_str())["model"]["merges"]])
    if "scores" in how:
        w.add_token_scores(how["scores"] + [0.0] * (len(rows) - len(how["scores"])))
    for key, add in (("bos", w.add_bos_token_id), ("eos", w.add_eos_token_id), ("unknown", w.add_unk_token_id),
                     ("pad", w.add_pad_token_id), ("sep", w.add_sep_token_id), ("mask", w.add_mask_token_id)):
        if key in how:
            add(how[key])
    w.add_add_bos_token(how.get("add_bos", how["model"] == "bert"))
    if "prefix" in how:
        w.add_add_space_prefix(how["prefix"])


def write_by_others(path, where, tok, how):
    model = open_hf(where)
    c = model.config
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(c.model_type, c.model_type)
    w = gguf.GGUFWriter(path, arch)
    w.add_type("model"), w.add_name("by others"), w.add_file_type(0)
    keys_by_others(w, c, arch)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()), c.num_hidden_layers)
    for hf, p in model.state_dict().items():
        if hf == "lm_head.weight" and c.tie_word_embeddings or hf.endswith((".attn.bias", "position_ids")):
            continue
        x = p.numpy()
        if arch == "llama" and (".q_proj." in hf or ".k_proj." in hf):
            x = permute(x, c.num_attention_heads if ".q_proj." in hf else c.num_key_value_heads)
        if arch == "gemma3" and hf.endswith("norm.weight"):
            x = x + np.float32(1)
        if arch == "gpt2" and x.ndim == 2 and ".h." in hf:
            x = x.T
        w.add_tensor(name_by_others(names, hf), np.ascontiguousarray(x))
    vocabulary_by_others(w, tok, how)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


# ---- The table ----

class Table:
    def __init__(self, lathe):
        self.lathe, self.missed, self.count = lathe, 0, 0
        print("%-15s %-5s %-34s %12s %12s" % ("model", "type", "check", "found", "limit"))

    def row(self, name, kind, what, good, found, limit=""):
        self.count += 1
        self.missed += not good
        form = [("%.3g" % v) if isinstance(v, float) else str(v) for v in (found, limit)]
        print("%-15s %-5s %-34s %12s %12s%s" % (name, kind, what, *form, "" if good else "   MISSED"), flush=True)

    def at_most(self, name, kind, what, found, limit):
        self.row(name, kind, what, found <= limit, found, limit)

    def same(self, name, kind, what, good):
        self.row(name, kind, what, good, "same" if good else "DIFFERENT")

    def run(self, *words):
        done = subprocess.run([self.lathe, *words], capture_output=True, text=True)
        if done.returncode:
            raise ValueError("lathe %s: exit %d: %s" % (" ".join(words), done.returncode, done.stderr.strip()[-900:]))
        return done.stdout


def read_safetensors(path):
    """name: (type, shape, bytes)"""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()
            if name != "__metadata__"}


def check_back(t, name, kind, hf, back, ids, texts):
    a, b = (read_safetensors(os.path.join(d, "model.safetensors")) for d in (hf, back))
    t.same(name, kind, "back: bytes of %d tensors" % len(a), a == b)
    said = {(d, f): json.load(open(os.path.join(d, f))) if os.path.exists(os.path.join(d, f)) else None
            for d in (hf, back) for f in ("config.json", "generation_config.json")}
    was, now = said[hf, "config.json"], said[back, "config.json"]
    lost = [key for key in was if was[key] != now.get(key, "absent") and (key in UNKNOWN or was[key] is not None)]
    t.row(name, kind, "back: keys of config.json", not lost, ",".join(lost)[:40] or "same")
    t.same(name, kind, "back: generation_config.json",
           said[hf, "generation_config.json"] == said[back, "generation_config.json"])
    one, two = AutoTokenizer.from_pretrained(hf), AutoTokenizer.from_pretrained(back)
    t.same(name, kind, "back: chat template", one.chat_template == two.chat_template)
    t.same(name, kind, "back: tokens", all(one.encode(x) == two.encode(x) for x in texts))
    was, now = (hf_logits(open_hf(d), ids) for d in (hf, back))
    t.same(name, kind, "back: logits, bit for bit", np.array_equal(was, now))


def check_by_others(t, name, hf, path, ids, place):
    model = open_hf(hf)
    want = hf_logits(model, ids)
    check_cpp(t, name, "F32", "by others: llama.cpp agrees", cpp_logits(path, ids), model, ids)
    back = os.path.join(place, "of-others")
    if name == "llama3-short":  # nothing in the file says what made these factors
        done = subprocess.run([t.lathe, "convert", path, back], capture_output=True, text=True)
        t.row(name, "F32", "by others: refused with a reason", "rope_freqs" in done.stderr, done.returncode, 3)
    else:
        t.run("convert", path, back)
        t.at_most(name, "F32", "by others: converted", distance(hf_logits(open_hf(back), ids), want), 1e-5)
    if model.config.model_type == "bert":
        return
    text, dump = os.path.join(place, "sample.txt"), os.path.join(place, "sample.f32")
    with open(text, "w") as file:
        file.write(SAMPLE)
    for what, source in (("lathe's logits", hf), ("by others: lathe's logits", path)):
        t.run("eval", "--model", source, "--data", text, "--dump-logits", dump, "--max-seq-length", "256")
        got = np.fromfile(dump, np.float32).reshape(-1, want.shape[1])
        bos = model.config.bos_token_id
        row = ids if len(got) == len(ids) else [bos] + ids
        t.at_most(name, "F32", what, distance(got, hf_logits(model, row[:len(got)])), LIMIT_EVAL)


def check_case(t, name, text, place, seed):
    texts = vocabularies.hard_strings(120)
    for kind in TYPES:
        hf, out, back = (os.path.join(place, "%s-%s%s" % (name, kind, end)) for end in ("", ".gguf", "-back"))
        tok, how = save_case(hf, name, kind, text, seed)
        tok.encode_special_tokens = True
        ids = ids_of(tok, SAMPLE)
        if name == "bert":
            ids = tok.encode(SAMPLE).ids
        if kind == "F32":
            others = os.path.join(place, name + "-others.gguf")
            write_by_others(others, hf, tok, how)
            known = [x for x, got in zip(texts, cpp_tokens(others, texts)) if got == ids_of(tok, x)]
            try:
                check_by_others(t, name, hf, others, ids, place)
            except Exception as error:
                t.row(name, kind, "by others: %s" % error, False, "")
        said = t.run("convert", hf, out)
        for note, cases in (("yarn-beta-fast", ["llama-yarn-own"]), ("ignores the window", ["mistral-window"])):
            t.same(name, kind, "to GGUF: notes on " + note, (note in said) == (name in cases))
        model = open_hf(hf)
        got = cpp_logits(out, ids)
        check_cpp(t, name, kind, "to GGUF: logits in llama.cpp", got, model, ids)
        if kind == "F32":
            t.at_most(name, kind, "as by others, in llama.cpp", distance(got, cpp_logits(others, ids)), 1e-5)
        wrong = sum(got != ids_of(tok, x) for x, got in zip(known, cpp_tokens(out, known)))
        t.row(name, kind, "to GGUF: tokens of %d of %d texts" % (len(known), len(texts)), not wrong, wrong, 0)
        if kind != "F32":
            wide = os.path.join(place, "wide.gguf")
            t.run("convert", hf, wide, "--type", "f32")
            check_cpp(t, name, kind, "f32: logits in llama.cpp", cpp_logits(wide, ids), model, ids)
        t.run("convert", out, back)
        check_back(t, name, kind, hf, back, ids, known)


# ---- SmolLM2 ----

def cpp_perplexity(path, text):
    """As lathe eval: windows of 512 that do not overlap, all but the first position scored."""
    llm = llama_cpp.Llama(path, n_ctx=512, n_batch=512, n_ubatch=512, logits_all=True, verbose=False, n_threads=2,
                          type_k=0, type_v=0)
    ids, losses = llm.tokenize(text.encode(), add_bos=False, special=True), []
    for at in range(0, len(ids), 512):
        window = ids[at:at + 512]
        llm.reset()
        llm.eval(window)
        rows = torch.tensor(llm.scores[:len(window) - 1]).double()
        losses.append(torch.nn.functional.cross_entropy(rows, torch.tensor(window[1:]), reduction="none"))
    loss = torch.cat(losses)
    return math.exp(loss.mean().item()), len(loss)


def check_smol(t, smol, valid, place):
    cut = os.path.join(place, "valid.txt")
    with open(valid, encoding="utf-8") as file, open(cut, "w", encoding="utf-8") as out:
        text = file.read(18000)
        out.write(text)
    at = {"as it came": os.path.join(smol, "smollm2.gguf"), "hf": os.path.join(smol, "hf")}
    for kind, source, limit in (("as it came", "", LIMIT_PPL), ("f32", "hf", 1e-5), ("f16", "hf", LIMIT_PPL),
                                ("bf16", "hf", LIMIT_PPL), ("q8_0", "hf", LIMIT_PPL), ("q4_0", "hf", LIMIT_PPL_4),
                                ("f32 of q4_0", "q4_0", 1e-5)):
        if source:
            at[kind] = os.path.join(place, "smol-%s.gguf" % kind.replace(" ", "-"))
            t.run("convert", at[source], at[kind], "--type", kind.split()[0])
        ours = json.loads(t.run("eval", "--model", at[kind], "--data", cut, "--json", "--max-seq-length", "512"))
        theirs, count = cpp_perplexity(at[kind], text)
        t.row("smollm2", kind, "tokens scored", ours["tokens"] == count, ours["tokens"], count)
        t.at_most("smollm2", kind, "perplexity %.5f, theirs %.5f" % (ours["perplexity"], theirs),
                  abs(ours["perplexity"] / theirs - 1), limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lathe")
    parser.add_argument("--only", help="one case, or smollm2")
    parser.add_argument("--text", default="../shared/data/text/tinyshakespeare.txt")
    parser.add_argument("--valid", default="../shared/data/text/wikitext2-valid.txt")
    parser.add_argument("--smol")
    parser.add_argument("--keep", help="a directory for what is made; else it is removed")
    args = parser.parse_args()
    os.makedirs(place := args.keep or tempfile.mkdtemp(prefix="lathe-peers-"), exist_ok=True)
    t = Table(os.path.abspath(args.lathe))
    try:
        for seed, name in enumerate(CASES):
            if args.only not in (None, name):
                continue
            try:
                check_case(t, name, args.text, place, seed)
            except Exception as error:  # other programs raise what they like
                t.row(name, "", "ran through: %s" % error, False, "")
        if args.smol and args.only in (None, "smollm2"):
            check_smol(t, args.smol, args.valid, place)
        elif not args.smol:
            print("smollm2: skipped, no --smol")
    finally:
        if not args.keep:
            shutil.rmtree(place, ignore_errors=True)
    print("%d checks, %d missed" % (t.count, t.missed))
    return 1 if t.missed else 0


if __name__ == "__main__":
    sys.exit(main())
