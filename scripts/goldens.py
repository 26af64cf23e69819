#!/usr/bin/env python3
"""Writes tests/golden/*: what PyTorch in float64 computes, for tests/test_goldens.c to reproduce.

usage: goldens.py [--out tests/golden] [--data ../shared/data]
needs: torch; for stories260K also transformers and the directory models/stories260K/hf under --data.

PyTorch runs here, by hand, and never in CI: the files this writes are committed. They hold no weights. Whatever goes
in is made by a linear congruential generator that both sides know, so that C needs nothing but the numbers that come
out. Array number i of a model (tensors first, in the listed order, then data) has its own stream:

    uint32 s = 1 + i;  per element:  s = s * 1664525 + 1013904223  (mod 2^32)
    real:     scale * (double)(int32)s * 2^-31,  "gain": 1 + that      computed in double, then rounded to the engine's
    integer:  (s >> 8) % bound

Models are written from the papers in plain tensor operations, so that the oracle shares no code with anything:
Llama (Touvron et al. 2023), RoPE (Su et al. 2021), RMSNorm (Zhang and Sennrich 2019), SwiGLU (Shazeer 2020), GQA
(Ainslie et al. 2023). Gradients, optimizers and clipping are PyTorch's own.
"""
import argparse
import json
import math
import os
import re

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


# ---- The generator -------------------------------------------------------------------------------------------------
def lcg(stream, count):
    s, out = (1 + stream) & 0xFFFFFFFF, np.empty(count, np.uint32)
    for i in range(count):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = s
    return out


def reals(stream, shape, scale, gain=False):
    v = scale * (lcg(stream, math.prod(shape)).view(np.int32).astype(np.float64) * 2.0 ** -31)
    return torch.from_numpy((1 + v if gain else v).reshape(shape))


def integers(stream, shape, bound):
    return torch.from_numpy(((lcg(stream, math.prod(shape)) >> 8) % bound).astype(np.int64).reshape(shape))


def make(tensors):
    """{name: leaf} of a list of {name, shape, scale, gain}"""
    return {t["name"]: reals(i, t["shape"], t["scale"], t["gain"]).requires_grad_() for i, t in enumerate(tensors)}


def tensor(name, shape, scale, gain=False):
    return {"name": name, "shape": shape, "scale": scale, "gain": gain}


# ---- Training ------------------------------------------------------------------------------------------------------
def summary(x):
    x = x.detach().flatten()
    return {"sum": x.sum().item(), "sumsq": (x * x).sum().item(), "first": x[:8].tolist()}


def train(tensors, loss_of, run):
    """`run` holds the optimizer's settings and receives what it did. loss_of(params, micro): the share of one
    micro-batch in the loss of a step."""
    p = make(tensors)
    if run["optimizer"] == "sgd":
        opt = torch.optim.SGD(p.values(), run["lr"], momentum=run["momentum"], nesterov=run["nesterov"],
                              weight_decay=run["weight_decay"])
    else:
        opt = torch.optim.AdamW(p.values(), run["lr"], betas=(run["beta1"], run["beta2"]), eps=run["eps"],
                                weight_decay=run["weight_decay"])
    run["losses"], run["norms"] = [], []
    for step in range(run["steps"]):
        opt.zero_grad()
        total = 0.0
        for micro in range(run.get("micro_batches", 1)):
            loss = loss_of(p, micro)
            loss.backward()
            total += loss.item()
        run["losses"].append(total)
        if step == 0:
            run["gradient_norms"] = {n: w.grad.norm().item() for n, w in p.items()}
        norm = torch.nn.utils.clip_grad_norm_(p.values(), run["clip_norm"] or math.inf)
        run["norms"].append(norm.item())
        opt.step()
    run["final"] = {n: summary(w) for n, w in p.items()}
    return run


def sgd(lr, momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=0.0, steps=10, **more):
    return {"optimizer": "sgd", "lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay,
            "clip_norm": clip_norm, "steps": steps, **more}


def adamw(lr, weight_decay, clip_norm=0.0, steps=10, **more):
    return {"optimizer": "adamw", "lr": lr, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
            "clip_norm": clip_norm, "steps": steps, **more}


# ---- (a) a perceptron ----------------------------------------------------------------------------------------------
def mlp_golden():
    tensors = [tensor("fc1.weight", [32, 64], 0.2), tensor("fc1.bias", [32], 0.1),
               tensor("fc2.weight", [10, 32], 0.3), tensor("fc2.bias", [10], 0.1)]
    x, y = reals(4, [16, 64], 1.0), integers(5, [16], 10)

    def logits(p):
        return F.relu(x @ p["fc1.weight"].T + p["fc1.bias"]) @ p["fc2.weight"].T + p["fc2.bias"]

    runs = [sgd(0.1, 0.9, weight_decay=1e-4), sgd(0.1, 0.9, nesterov=True, weight_decay=1e-4), adamw(1e-2, 0.01)]
    for run in runs:
        train(tensors, lambda p, _: F.cross_entropy(logits(p), y), run)
    return {"tensors": tensors, "x": {"stream": 4, "shape": [16, 64], "scale": 1.0},
            "target": {"stream": 5, "shape": [16], "bound": 10}, "logits": points(logits(make(tensors))), "runs": runs}


def points(z):
    z = z.detach().flatten()
    index = [k * (len(z) - 1) // 7 for k in range(8)]
    return {"sum": z.sum().item(), "sumsq": (z * z).sum().item(), "index": index, "value": [z[i].item() for i in index]}


# ---- (b) Llama -----------------------------------------------------------------------------------------------------
SMALL = {"vocab": 61, "dim": 32, "hidden": 44, "layers": 2, "heads": 4, "kv_heads": 2, "theta": 10000.0, "eps": 1e-5}


def llama_tensors(c):
    d, h, kv = c["dim"], c["hidden"], c["dim"] // c["heads"] * c["kv_heads"]
    out = [tensor("token_embd.weight", [c["vocab"], d], 0.5)]
    for i in range(c["layers"]):
        out += [tensor(f"blk.{i}.{name}.weight", shape, 0.1 if len(shape) == 1 else 0.3, len(shape) == 1)
                for name, shape in [("attn_norm", [d]), ("attn_q", [d, d]), ("attn_k", [kv, d]), ("attn_v", [kv, d]),
                                    ("attn_output", [d, d]), ("ffn_norm", [d]), ("ffn_gate", [h, d]),
                                    ("ffn_up", [h, d]), ("ffn_down", [d, h])]]
    out.append(tensor("output_norm.weight", [d], 0.1, True))
    return out if c["tied"] else out + [tensor("output.weight", [c["vocab"], d], 0.5)]


def rms_norm(x, w, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * w


def rope(x, theta, interleaved, first=0):
    """x [B, T, H, D]; pair i turns by position * theta^(-2i/D)"""
    B, T, H, D = x.shape
    angle = torch.arange(first, first + T)[:, None] * theta ** (-2 * torch.arange(D // 2) / D)  # [T, D/2]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]                                       # [T, 1, D/2]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :D // 2], x[..., D // 2:])
    u, v = a * cos - b * sin, a * sin + b * cos
    return torch.stack([u, v], -1).reshape(x.shape) if interleaved else torch.cat([u, v], -1)


def attention(q, k, v, causal=True):
    """q [B, T, H, D]; k, v [B, S, G, D]; query t sees keys 0 .. S - T + t"""
    T, S, share = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(share, 2), v.repeat_interleave(share, 2)
    s = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
    if causal:
        s = s.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), -math.inf)
    return torch.einsum("bhts,bshd->bthd", torch.softmax(s, -1), v)


def llama(p, tokens, c, transform=lambda w: w):
    """logits [B, T, V]; `transform` maps the weight of each linear layer of a block to the one used"""
    B, T = tokens.shape
    x = p["token_embd.weight"][tokens]                                                          # [B, T, C]
    for i in range(c["layers"]):
        def lin(h, name):
            return h @ transform(p[f"blk.{i}.{name}.weight"]).T
        h = rms_norm(x, p[f"blk.{i}.attn_norm.weight"], c["eps"])
        q, k, v = (lin(h, n).view(B, T, n_heads, -1) for n, n_heads in
                   [("attn_q", c["heads"]), ("attn_k", c["kv_heads"]), ("attn_v", c["kv_heads"])])
        q, k = (rope(u, c["theta"], c["interleaved"]) for u in (q, k))
        x = x + lin(attention(q, k, v).reshape(B, T, -1), "attn_output")
        h = rms_norm(x, p[f"blk.{i}.ffn_norm.weight"], c["eps"])
        x = x + lin(F.silu(lin(h, "ffn_gate")) * lin(h, "ffn_up"), "ffn_down")
    x = rms_norm(x, p["output_norm.weight"], c["eps"])
    return x @ p["token_embd.weight" if c["tied"] else "output.weight"].T


def batches(first_stream, c, B=3, T=17):
    """two micro-batches; a target is masked (-1) where the mask's draw is 0, more often in the second"""
    out = []
    for m, mask in enumerate([5, 2]):
        s = first_stream + 3 * m
        out.append({"shape": [B, T], "tokens": s, "targets": s + 1, "mask": s + 2, "mask_bound": mask})
    return out


def batch_data(b, c):
    target = integers(b["targets"], b["shape"], c["vocab"])
    target[integers(b["mask"], b["shape"], b["mask_bound"]) == 0] = -1
    return integers(b["tokens"], b["shape"], c["vocab"]), target


def llama_case(name, config, runs, transform=lambda w: w):
    c = {**config, "name": name}
    c["tensors"] = llama_tensors(c)
    c["batches"] = batches(len(c["tensors"]), c)
    data = [batch_data(b, c) for b in c["batches"]]

    def loss_of(p, micro, used):
        tokens, target = data[micro]
        nll = F.cross_entropy(llama(p, tokens, c, transform).flatten(0, 1), target.flatten(), ignore_index=-1,
                              reduction="sum")
        return nll / sum(int((t >= 0).sum()) for _, t in data[:used])

    for run in runs:
        train(c["tensors"], lambda p, m: loss_of(p, m, run.get("micro_batches", 1)), run)
    c["logits"] = points(llama(make(c["tensors"]), data[0][0], c, transform))
    return {**c, "runs": runs}


def llama_golden():
    tied = {**SMALL, "tied": True, "interleaved": False}
    runs = [adamw(1e-2, 0.1, 1.0), sgd(0.05), adamw(1e-2, 0.1, 1.0, steps=3, micro_batches=2),
            sgd(0.05, steps=3, micro_batches=2)]
    other = {**SMALL, "tied": False, "interleaved": True}
    return {"cases": [llama_case("tied, rope in halves", tied, runs),
                      llama_case("untied, rope interleaved", other, [adamw(1e-2, 0.1, 1.0), sgd(0.05)])]}


# ---- (d) Llama on the Q4_0 lattice ---------------------------------------------------------------------------------
def q4_0(w):
    """The value GGUF's Q4_0 gives w: per 32 along a row, d = extreme / -8 in float32, codes from the unrounded d,
    values from d rounded to half precision."""
    x = w.detach().numpy().astype(np.float32).reshape(-1, 32)
    ext = np.take_along_axis(x, np.abs(x).argmax(1)[:, None], 1)
    d = (ext / np.float32(-8)).astype(np.float32)
    inv = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    code = np.minimum(15, np.trunc((x * inv).astype(np.float32) + np.float32(8.5)))
    value = (code.astype(np.float64) - 8) * d.astype(np.float16).astype(np.float64)
    return torch.from_numpy(value.reshape(w.shape))


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w):
        return q4_0(w)

    @staticmethod
    def backward(ctx, dy):
        return dy


def qat_golden():
    config = {**SMALL, "hidden": 64, "tied": True, "interleaved": False}
    return {"cases": [llama_case("q4_0 linear layers", config, [sgd(0.05, steps=5)], StraightThrough.apply)]}


# ---- (c) single operators ------------------------------------------------------------------------------------------
def op_case(op, inputs, fn, attrs=None, **constants):
    """inputs: [(name, shape, scale)]: streams 0, 1, ..; the cotangent is the stream after them, scale 1. Constants
    are stored and not differentiated."""
    given = [{"name": n, "stream": i, "shape": s, "scale": scale} for i, (n, s, scale) in enumerate(inputs)]
    x = [reals(i, s, scale).requires_grad_() for i, (_, s, scale) in enumerate(inputs)]
    y = fn(*x)
    dy = reals(len(x), list(y.shape), 1.0)
    grads = torch.autograd.grad(y, x, dy, allow_unused=True)
    return {"op": op, **(attrs or {}), **{k: v.tolist() for k, v in constants.items()}, "inputs": given,
            "cotangent": {"stream": len(x), "scale": 1.0}, "shape": list(y.shape), "y": y.detach().flatten().tolist(),
            "gradients": [None if g is None else g.flatten().tolist() for g in grads]}


def kl(student, teacher, T):
    return F.kl_div(F.log_softmax(student / T, -1), F.log_softmax(teacher / T, -1), reduction="batchmean",
                    log_target=True) * T * T


def head_loss(x, w, teacher, target, T, weights):
    z, rows = x @ w.T, target >= 0
    ce = F.cross_entropy(z, target, ignore_index=-1)
    return weights[0] * ce + weights[1] * kl(z[rows], teacher.detach()[rows], T)


def op_golden():
    out = [op_case(name, [("x", [5, 7], 4.0)], fn) for name, fn in [
        ("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), ("silu", F.silu),
        ("softmax", lambda x: F.softmax(x, -1)), ("log_softmax", lambda x: F.log_softmax(x, -1))]]
    out.append(op_case("swiglu", [("gate", [5, 7], 4.0), ("up", [5, 7], 2.0)], lambda a, b: F.silu(a) * b))
    out.append(op_case("layer_norm", [("x", [5, 7], 2.0), ("w", [7], 1.5), ("b", [7], 1.0)],
                       lambda x, w, b: F.layer_norm(x, (7,), w, b, 1e-5), {"eps": 1e-5}))
    out.append(op_case("rms_norm", [("x", [5, 7], 2.0), ("w", [7], 1.5)], lambda x, w: F.rms_norm(x, (7,), w, 1e-5),
                       {"eps": 1e-5}))
    for interleaved in (False, True):
        for first in (0, 3):
            out.append(op_case("rope", [("x", [2, 5, 3, 8], 1.0)], lambda x: rope(x, 10000.0, interleaved, first),
                               {"theta": 10000.0, "interleaved": interleaved, "first": first}))
    for T, S, causal in ((5, 5, True), (3, 7, True), (5, 5, False)):
        def sdpa(q, k, v):
            mask = torch.ones(T, S, dtype=torch.bool).tril(S - T) if causal else None
            y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask,
                                               enable_gqa=True)
            assert torch.allclose(y.transpose(1, 2), attention(q, k, v, causal), rtol=0, atol=1e-14)
            return y.transpose(1, 2).contiguous()
        out.append(op_case("attention", [("q", [2, T, 4, 4], 2.0), ("k", [2, S, 2, 4], 2.0), ("v", [2, S, 2, 4], 1.0)],
                           sdpa, {"causal": causal}))
    target = torch.tensor([3, -1, 0, 6, 2])
    out.append(op_case("cross_entropy", [("z", [5, 7], 4.0)],
                       lambda z: F.cross_entropy(z, target, ignore_index=-1), target=target))
    out.append(op_case("cross_entropy", [("z", [5, 7], 4.0)],
                       lambda z: F.cross_entropy(z, target, ignore_index=-1, reduction="sum") / 11.0, {"norm": 11.0},
                       target=target))
    out.append(op_case("kl_div", [("student", [5, 7], 4.0), ("teacher", [5, 7], 3.0)],
                       lambda s, t: kl(s, t.detach(), 2.0), {"temperature": 2.0}))
    weights = [0.4, 0.6]
    out.append(op_case("head_loss", [("x", [5, 6], 1.0), ("w", [7, 6], 1.0), ("teacher", [5, 7], 3.0)],
                       lambda x, w, t: head_loss(x, w, t, target, 2.0, weights),
                       {"temperature": 2.0, "weights": weights}, target=target))
    return {"cases": out}


# ---- (e) a published model -----------------------------------------------------------------------------------------
def stories_golden(data, out):
    """Logits of the first story. transformers normalises in float32 whatever the model's type, so they come from the
    float64 model above, and transformers in float32 has to agree."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    where = os.path.join(data, "models/stories260K/hf")
    text = open(os.path.join(data, "text/tinystories-1700.txt"), encoding="utf-8", newline="").read()
    story = [p for p in re.split(r"(?:^|\n)<\|endoftext\|>(?:\n|$)", text) if p][0]
    tok = AutoTokenizer.from_pretrained(where)
    ids = [tok.bos_token_id] + tok(story, add_special_tokens=False).input_ids[:511]
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
    hf, p = model.state_dict(), {}
    names = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    c = {"layers": model.config.num_hidden_layers, "heads": model.config.num_attention_heads, "tied": True,
         "kv_heads": model.config.num_key_value_heads, "theta": 10000.0, "eps": 1e-5, "interleaved": False}
    p["token_embd.weight"] = hf["model.embed_tokens.weight"].double()
    p["output_norm.weight"] = hf["model.norm.weight"].double()
    for i in range(c["layers"]):
        p.update({f"blk.{i}.{b}.weight": hf[f"model.layers.{i}.{a}.weight"].double() for a, b in names.items()})
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        z, z32 = llama(p, tokens, c)[0], model(input_ids=tokens).logits[0]
    apart = (z - z32.double()).abs().max().item()
    print(f"stories260K: {len(ids)} positions; transformers float32 within {apart:.2g} of the float64 logits")
    assert apart < 1e-4
    z.numpy().astype("<f4").tofile(os.path.join(out, "stories260K_logits.f32"))
    nll = F.cross_entropy(z[:-1], tokens[0, 1:]).item()
    return {"positions": len(ids), "vocab": z.shape[1], "tokens": ids, "nll": nll, "perplexity": math.exp(nll),
            "logits": "stories260K_logits.f32"}


def write(out, name, value):
    """one line a key of depth 1 or 2, so that a change shows in a diff"""
    text = json.dumps(value, allow_nan=False)
    text = re.sub(r'(?<=[\]}]), (?=\{|"(?:runs|batches|tensors|logits|final|losses|gradients|y)")', ",\n", text)
    with open(os.path.join(out, name), "w", newline="\n") as f:
        f.write(text + "\n")
    size = os.path.getsize(os.path.join(out, name))
    assert size < 200_000, (name, size)
    print(f"{name}: {size} bytes")


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.path.join(root, "tests", "golden"))
    ap.add_argument("--data", default=os.path.join(root, "..", "shared", "data"))
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    write(a.out, "mlp.json", mlp_golden())
    write(a.out, "llama.json", llama_golden())
    write(a.out, "ops.json", op_golden())
    write(a.out, "qat.json", qat_golden())
    if os.path.isdir(os.path.join(a.data, "models/stories260K/hf")):
        write(a.out, "stories260K.json", stories_golden(a.data, a.out))
    else:
        print(f"stories260K: skipped, no models under {a.data}")


if __name__ == "__main__":
    main()
