#!/usr/bin/env python3
"""Writes tests/golden/families/*: small models of every family, and what Transformers computes with them in float64.

usage: goldens_families.py [--out tests/golden/families]
needs: torch, transformers 5, safetensors, tokenizers.

Run by hand and never in CI: tests/test_families.c reads what is committed. A directory a model, as save_pretrained
writes it (weights F32, drawn here so large that every option shows in the logits), and beside it

    golden.safetensors   tokens, targets, logits, loss and "grad.<name>", the gradient of the mean loss by each tensor;
                         of an encoder also lengths and types
    config_old.json      the config as Transformers 4 spelled it, where that differs

The code that computes is Transformers' own, for its authors know what their configs mean. But it computes norms,
softmax and rotary angles in float32 whatever the model's type: Everywhere64 reads float32 as float64 while it runs.
Each case also names options of its config and other values for them: the script stops when one does not move the
logits, for then the case would not notice an implementation that ignores it.
"""
import argparse
import copy
import json
import os
import shutil
import tempfile

import torch
import transformers
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig,
                          BitNetConfig, Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config)

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
VOCAB, CONTEXT = 40, 64
SMALL = dict(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=2)
NARROW = {k: v for k, v in SMALL.items() if k != "head_dim"}
ENCODERS = ("bert",)


class Everywhere64(TorchFunctionMode):
    """float32 asked for is float64 given."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()

        def wide(v):
            return torch.float64 if v is torch.float32 else v
        return func(*map(wide, args), **{k: wide(v) for k, v in (kwargs or {}).items()})


# ---- Models --------------------------------------------------------------------------------------------------------
def rope(theta=10000.0, kind="default", **more):
    return {"rope_theta": theta, "rope_type": kind, **more}


LLAMA3 = dict(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
YARN = dict(factor=4.0, beta_fast=4.0, beta_slow=1.0, original_max_position_embeddings=64)
GEMMA_LAYERS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]


def gemma_rope(full, local):
    return {"full_attention": rope(full), "sliding_attention": rope(local)}


# name: (config, options that must matter, the config's old spelling: None removes a key)
CASES = {
    "llama": (
        LlamaConfig(**SMALL, rope_parameters=rope(), rms_norm_eps=1e-3),
        dict(rms_norm_eps=1e-5, rope_parameters=rope(500.0)),
        dict(rope_parameters=None, rope_theta=10000.0, torch_dtype="float32", dtype=None)),
    "llama3": (
        LlamaConfig(**{**SMALL, "num_key_value_heads": 1}, rope_parameters=rope(5000.0, "llama3", **LLAMA3),
                    tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
        dict(rope_parameters=rope(5000.0)),
        dict(rope_parameters=None, rope_theta=5000.0, rope_scaling={"rope_type": "llama3", **LLAMA3})),
    "llama_linear": (
        LlamaConfig(**SMALL, rope_parameters=rope(100.0, "linear", factor=3.0)),
        dict(rope_parameters=rope(100.0)),
        dict(rope_parameters=None, rope_theta=100.0, rope_scaling={"type": "linear", "factor": 3.0})),
    "llama_yarn": (
        LlamaConfig(**{**SMALL, "max_position_embeddings": 256}, rope_parameters=rope(10000.0, "yarn", **YARN)),
        dict(rope_parameters=rope(10000.0, "yarn", attention_factor=1.0, **YARN)),
        dict(rope_parameters=None, rope_theta=10000.0, rope_scaling={"type": "yarn", **YARN})),
    "mistral": (
        MistralConfig(**SMALL, rope_parameters=rope(), sliding_window=6),
        dict(sliding_window=None),
        dict(rope_parameters=None, rope_theta=10000.0)),
    "qwen2": (
        Qwen2Config(**NARROW, rope_parameters=rope(1e6),
                    tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1),
        dict(layer_types=["full_attention"] * 2),
        dict(rope_parameters=None, rope_theta=1e6, layer_types=None)),
    "qwen3": (
        Qwen3Config(**{**SMALL, "head_dim": 10}, rope_parameters=rope(1e6), tie_word_embeddings=False),
        dict(rms_norm_eps=1e-2),
        dict(rope_parameters=None, rope_theta=1e6, layer_types=None)),
    "gemma3": (
        Gemma3TextConfig(**{**SMALL, "num_hidden_layers": 4}, rope_parameters=gemma_rope(100000.0, 50.0),
                         sliding_window=8, layer_types=GEMMA_LAYERS, query_pre_attn_scalar=13, pad_token_id=0),
        dict(query_pre_attn_scalar=8, sliding_window=64, rope_parameters=gemma_rope(100000.0, 100000.0),
             layer_types=["full_attention"] + GEMMA_LAYERS[1:]),
        dict(rope_parameters=None, rope_theta=100000.0, rope_local_base_freq=50.0, layer_types=None,
             sliding_window_pattern=3)),
    "gpt2": (
        GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, n_positions=CONTEXT, layer_norm_epsilon=1e-3,
                   bos_token_id=1, eos_token_id=2),
        dict(layer_norm_epsilon=1e-5, activation_function="gelu"),
        dict(n_ctx=CONTEXT)),
    "bert": (
        BertConfig(vocab_size=VOCAB, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                   max_position_embeddings=24, num_labels=3, layer_norm_eps=1e-3),
        dict(layer_norm_eps=1e-5, hidden_act="gelu_new"),
        dict(position_embedding_type="absolute")),
    "bitnet": (  # what GGUF files hold
        BitNetConfig(**NARROW, rope_parameters=rope(100000.0), hidden_act="silu", tie_word_embeddings=True,
                     rms_norm_eps=1e-3),
        dict(hidden_act="relu2", rms_norm_eps=1e-5, rope_parameters=rope(100.0)),
        dict(rope_parameters=None, rope_theta=100000.0)),
    "bitnet_relu2": (  # what the published one computes, and every option of the class
        BitNetConfig(**NARROW, rope_parameters=rope(500000.0), attention_bias=True),
        dict(hidden_act="relu"),
        dict(rope_parameters=None, hidden_act=None)),
}


def build(config):
    encoder = config.model_type in ENCODERS
    kind = AutoModelForSequenceClassification if encoder else AutoModelForCausalLM
    return kind.from_config(config, attn_implementation="eager").eval()


def draw_weights(model, seed):
    """Float32 values: matrices keep the size of what passes through them, about 1; gains about 1; biases count."""
    rng = torch.Generator().manual_seed(seed)
    plus_one = model.config.model_type.startswith("gemma3")
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=rng)
        if "norm" in name.lower() or "ln_" in name:
            x = 0.3 * x + (0 if plus_one or name.endswith("bias") else 1)
        elif p.dim() == 1:
            x = 0.3 * x
        elif any(word in name for word in ("embed", "wte", "wpe")):
            x = 0.5 * x
        else:
            x = 1.3 * x / 16 ** 0.5
        with torch.no_grad():
            p.copy_(x)


def logits_of(config, state, batch):
    """A float64 copy of the model and its logits on the batch; state is float32."""
    model = build(copy.deepcopy(config)).double()
    missing = model.load_state_dict(state, strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    inputs = {"input_ids": batch["tokens"].long()}
    if config.model_type in ENCODERS:
        inputs["token_type_ids"] = batch["types"].long()
        length = batch["tokens"].shape[1]
        inputs["attention_mask"] = (torch.arange(length) < batch["lengths"][:, None]).long()
    return model, model(**inputs).logits


def draw_batch(config, seed):
    rng = torch.Generator().manual_seed(seed)
    encoder = config.model_type in ENCODERS
    B, T = (3, 12) if encoder else (2, 20)
    tokens = torch.randint(3, VOCAB, (B, T), generator=rng)  # 0 may be padding, whose gradient torch drops
    if not encoder:
        targets = torch.cat([tokens[:, 1:], torch.full((B, 1), -1)], 1)
        return {"tokens": tokens.int(), "targets": targets.int()}
    lengths, place = torch.tensor([12, 7, 9]), torch.arange(T)
    tokens[place >= lengths[:, None]] = 0
    types = (place >= lengths[:, None] // 2) & (place < lengths[:, None])
    return {"tokens": tokens.int(), "types": types.int(), "lengths": lengths.int(),
            "targets": torch.tensor([2, 0, 1], dtype=torch.int32)}


# ---- Files ---------------------------------------------------------------------------------------------------------
def write_tokenizer(where):
    """The smallest a reader may ask for: byte-level BPE that knows a few letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    vocab = {t: i for i, t in enumerate(["<pad>", "<s>", "</s>", "\u0120", "a", "b", "c", "ab"])}
    t = Tokenizer(models.BPE(vocab, [("a", "b")]))
    t.add_special_tokens(["<pad>", "<s>", "</s>"])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.decoder = decoders.ByteLevel()
    t.save(os.path.join(where, "tokenizer.json"), pretty=False)


def old_spelling(where, changes):
    """config_old.json, which Transformers must read as the same model."""
    with open(os.path.join(where, "config.json")) as f:
        config = json.load(f)
    for key, value in changes.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    with open(os.path.join(where, "config_old.json"), "w", newline="\n") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(os.path.join(where, "config_old.json"), os.path.join(place, "config.json"))
        return AutoConfig.from_pretrained(place)


def write_case(out, name, seed):
    config, matter, old = CASES[name]
    where = os.path.join(out, name)
    shutil.rmtree(where, ignore_errors=True)
    model = build(copy.deepcopy(config))
    draw_weights(model, seed)
    model.save_pretrained(where)
    state = copy.deepcopy(model.state_dict())
    write_tokenizer(where)
    batch = draw_batch(config, 1000 + seed)
    with Everywhere64():
        model, logits = logits_of(config, state, batch)
        loss = F.cross_entropy(logits.flatten(0, -2), batch["targets"].long().flatten(), ignore_index=-1)
        loss.backward()
        for key, value in matter.items():
            other = copy.deepcopy(config)
            setattr(other, key, value)
            apart = (logits_of(other, state, batch)[1] - logits).abs().max().item()
            assert apart > 5e-4, f"{name}: {key} moves the logits by {apart:.2g} only"
        apart = (logits_of(old_spelling(where, old), state, batch)[1] - logits).abs().max().item()
        assert apart == 0, f"{name}: the old spelling is another model, {apart:.2g} away"
    golden = {**batch, "logits": logits.detach().float(), "loss": loss.detach().reshape(1)}
    for tensor, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, f"{name}: {tensor} has no gradient"
        golden["grad." + tensor] = p.grad.float()
    save_file({k: v.contiguous() for k, v in golden.items()}, os.path.join(where, "golden.safetensors"))
    sizes = [os.path.getsize(os.path.join(where, f)) for f in os.listdir(where)]
    print(f"{name}: logits to {logits.abs().max().item():.3g}, loss {loss.item():.4f}, {sum(sizes)} bytes")
    return sum(sizes)


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.path.join(root, "tests", "golden", "families"))
    a = ap.parse_args()
    total = sum(write_case(a.out, name, seed) for seed, name in enumerate(CASES))
    assert total < 900_000, total


if __name__ == "__main__":
    main()
