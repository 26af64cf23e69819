#!/usr/bin/env python3
"""Writes tests/golden/gguf_tokenizers/: small GGUF vocabularies of every kind, and the ids other programs give.

usage: goldens_gguf_tokenizers.py TEXT [--out tests/golden/gguf_tokenizers] [--corpus tests/fuzz/corpus/gguf_tokenizer]
needs: tokenizers, transformers 5, gguf, llama_cpp. TEXT is what the vocabularies are trained on (tinyshakespeare.txt).

Run by hand and never in CI: tests/test_gguf_tokenizer.c reads what is committed.

    NAME.gguf        keys alone, as llama.cpp's converter writes them for the tokenizer
    NAME.json        {"texts": [...], "ids": [[...]], "around": [...]}: the ids that Hugging Face's tokenizers gives for
                     the tokenizer.json the vocabulary comes from; "around" is texts[0] with what is put around a text

llama.cpp reads each file, too. Where its ids differ from Hugging Face's, the texts are printed with both, and left out
of the goldens unless the reason is known (DIFFERENT). Small vocabularies for the fuzz corpus are cut from these."""
import argparse
import json
import os
import random
import unicodedata

import gguf
import llama_cpp
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.tokenization_utils_base import generate_merges

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
LOW_LINE = "\u2581"
# Not composed text: the families with NFC compose it, llama.cpp does not.
DIFFERENT = {"qwen2": lambda text: unicodedata.normalize("NFC", text) != text}

PARTS = ["Hello", " world", "the", " The", " and", "'s", "'T", "'ll", "'RE", "n't", " I'm", "1", "23", "456", "7890", " 12",
         " 3.14", "\u00bd", "\u2167", "\u0661\u0662", "\u4e09", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ",
         "\u00a0", "\u3000", "\u2028", "\u00e9", "e\u0301", "\u00c5", "\u212b", "\u1ec7", "na\u00efve", "\u0410\u0431\u0432",
         "\u03b1\u03b2\u03b3", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u4f60\u597d", "\u65e5\u672c\u8a9e",
         "\ud55c\uad6d\uc5b4", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e44\u0e17\u0e22", "\u1780\u17b6\u1793\u17cb",
         "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001d49c", "\u200b", "\u200d",
         "\ufeff", "\ufffd", "\u2581", "\u0120", "\u010a", "!", "?!", "...", "()", "{}", "[x]", "<|", "|>", "//", "##", "a_b",
         "<s>", "</s>", "<unk>", "<0x0A>", "<|endoftext|>", "<|im_start|>", "<|user|>", "[CLS]", "[UNK]", "[MASK]", "http://a.b/c?d=e",
         "x" * 40, "\x00", "\x01", "\x7f", "\x85", "\u00ad", "\ue000", "\u0300", "\u20ac", "\u00df", "\u0130", "\u017f", "\ufb01"]
FIXED = ["", "Hello world", " Hello  world ", "3.14159", "naive caf\u00e9", "a\n\n\nb", "Don't you've I'LL", "\n", "  ", "\t\t"]


def hard_strings(count, seed=1):
    """Strings of parts that tokenizers stumble over, next to each other in random order."""
    rng, texts = random.Random(seed), list(FIXED)
    while len(texts) < count:
        text = "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 9)))
        texts.append(text)
    return texts


# ---- Vocabularies ----

def train_bytes(path, size, cut, special):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = cut
    tok.decoder = decoders.ByteLevel()
    tok.train([path], trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False,
                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def around(before, after=None):
    single = " ".join(part for part in (before[0] if before else None, "$A", after[0] if after else None) if part)
    return processors.TemplateProcessing(single=single, special_tokens=[x for x in (before, after) if x])


def make_gpt2(path):
    tok = train_bytes(path, 700, pre_tokenizers.ByteLevel(add_prefix_space=False), [])
    tok.add_special_tokens(["<|endoftext|>"])
    end = tok.token_to_id("<|endoftext|>")
    return tok, dict(model="gpt2", pre="gpt-2", bos=end, eos=end)


def make_llama3(path):
    tok = train_bytes(path, 700, split(LLAMA3), [])
    model = json.loads(tok.to_str())
    model["model"]["ignore_merges"] = True
    tok = Tokenizer.from_str(json.dumps(model))
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = around(("<|begin_of_text|>", bos))
    return tok, dict(model="gpt2", pre="llama-bpe", bos=bos, eos=bos + 1, add_bos=True)


def make_qwen2(path):
    tok = train_bytes(path, 700, split(QWEN2), [])
    tok.normalizer = normalizers.NFC()
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    end = tok.token_to_id("<|endoftext|>")
    return tok, dict(model="gpt2", pre="qwen2", eos=end + 2, pad=end, rows=tok.get_vocab_size() + 5, chat="{{ messages }}")


def make_smollm(path):
    cut = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok = train_bytes(path, 700, cut, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tok, dict(model="gpt2", pre="smollm", bos=1, eos=2, unknown=0, pad=2)


def make_llama(path, prefix=True, size=900, special=("<unk>", "<s>", "</s>")):
    """SentencePiece: bytes, then pieces with scores; the merges Hugging Face derives from them."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    replace = normalizers.Replace(" ", LOW_LINE)
    learner.normalizer = normalizers.Sequence([normalizers.Prepend(LOW_LINE), replace]) if prefix else replace
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(LOW_LINE + r"?[^" + LOW_LINE + r"\n]+|" + LOW_LINE + "+"), "isolated")
    learner.train([path], trainers.BpeTrainer(vocab_size=size - 256, special_tokens=list(special), show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    merged = ["".join(m) for m in learned["merges"]]
    pieces = merged + sorted(set(learned["vocab"]) - set(merged) - set(special))
    names = list(special) + ["<0x%02X>" % b for b in range(256)] + pieces
    vocab = {name: i for i, name in enumerate(names)}
    first = len(special) + 256
    scores = [0.0] * first + [-float(i) for i in range(len(pieces))]
    merges = generate_merges({p: vocab[p] for p in pieces}, {p: scores[vocab[p]] for p in pieces})
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = learner.normalizer
    steps = [decoders.Replace(LOW_LINE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tok.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    tok.add_special_tokens(list(special))
    return tok, scores


def make_spm(path):
    tok, scores = make_llama(path)
    tok.post_processor = around(("<s>", 1))
    return tok, dict(model="llama", pre="default", bos=1, eos=2, unknown=0, scores=scores, add_bos=True, prefix=True)


def make_gemma(path):
    tok, scores = make_llama(path, prefix=False, special=("<pad>", "<eos>", "<bos>", "<unk>"))
    tok.post_processor = around(("<bos>", 2))
    return tok, dict(model="llama", pre="default", bos=2, eos=1, unknown=3, pad=0, scores=scores, add_bos=True,
                     prefix=False, arch="gemma3")


def make_bert(path):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tok.train([path], trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False))
    tok.post_processor = around(("[CLS]", 2), ("[SEP]", 3))
    tok.decoder = decoders.WordPiece()
    return tok, dict(model="bert", pre="default", bos=2, cls=2, sep=3, pad=0, unknown=1, mask=4, arch="bert")


# ---- Files ----

def token_types(tok, how):
    """(text, type) of every row, as llama.cpp's converter has them."""
    state = json.loads(tok.to_str())
    added = {t["id"]: t for t in state["added_tokens"]}
    names = {i: t for t, i in tok.get_vocab(with_added_tokens=True).items()}
    rows = []
    for i in range(how.get("rows", tok.get_vocab_size())):
        name = names.get(i)
        if name is None:
            rows.append(("[PAD%d]" % i, UNUSED))
        elif how["model"] == "llama" and i == how["unknown"]:
            rows.append((name, UNKNOWN))
        elif i in added:
            rows.append((name, CONTROL if added[i]["special"] else USER))
        elif how["model"] == "llama" and len(name) == 6 and name.startswith("<0x"):
            rows.append((name, BYTE))
        elif how["model"] == "bert":
            rows.append((name[2:] if name.startswith("##") else LOW_LINE + name, NORMAL))
        else:
            rows.append((name, NORMAL))
    return rows


def write_gguf(path, tok, how):
    arch = how.get("arch", "llama")
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(64), w.add_embedding_length(64), w.add_block_count(1), w.add_feed_forward_length(64)
    w.add_head_count(4), w.add_layer_norm_rms_eps(1e-5), w.add_layer_norm_eps(1e-5), w.add_key_length(16)
    if arch == "bert":
        w.add_causal_attention(False), w.add_token_type_count(2)
    w.add_tokenizer_model(how["model"])
    w.add_tokenizer_pre(how["pre"])
    rows = token_types(tok, how)
    w.add_token_list([name for name, _ in rows])
    w.add_token_types([kind for _, kind in rows])
    merges = json.loads(tok.to_str())["model"].get("merges")
    if how["model"] == "gpt2":
        w.add_token_merges([" ".join(m) for m in merges])
    if "scores" in how:
        w.add_token_scores(how["scores"])
    for key, add in (("bos", w.add_bos_token_id), ("eos", w.add_eos_token_id), ("unknown", w.add_unk_token_id),
                     ("pad", w.add_pad_token_id), ("sep", w.add_sep_token_id), ("mask", w.add_mask_token_id)):
        if key in how:
            add(how[key])
    w.add_add_bos_token(how.get("add_bos", how["model"] == "bert"))
    if "prefix" in how:
        w.add_add_space_prefix(how["prefix"])
    if "chat" in how:
        w.add_chat_template(how["chat"])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def check(name, path, tok, texts):
    """The texts both programs agree on, and those whose difference is explained."""
    tok.encode_special_tokens = True  # what spells a control token is text
    llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    kept, wrong = [], 0
    for text in texts:
        ours = tok.encode(text, add_special_tokens=False).ids
        theirs = llama.tokenize(text.encode(), add_bos=False, special=False) if text else []
        if name in DIFFERENT and DIFFERENT[name](text) or ours == theirs:
            kept.append(text)
        else:
            wrong += 1
            print("%s: %r\n   tokenizers %s\n   llama.cpp  %s" % (name, text, ours, theirs))
    print("%s: %d texts, %d left out for a difference" % (name, len(kept), wrong))
    return kept


# ---- Seeds for the fuzz target: a few tokens each ----

def seed(path, model, tokens, types, **more):
    w = gguf.GGUFWriter(path, more.pop("arch", "llama"))
    w.add_tokenizer_model(model)
    if "pre" in more:
        w.add_tokenizer_pre(more["pre"])
    w.add_array("tokenizer.ggml.tokens", tokens)
    if types:
        w.add_array("tokenizer.ggml.token_type", types)
    if "scores" in more:
        w.add_array("tokenizer.ggml.scores", more["scores"])
    if "merges" in more:
        w.add_array("tokenizer.ggml.merges", more["merges"])
    for key, value in more.get("ids", {}).items():
        w.add_uint32("tokenizer.ggml.%s_token_id" % key, value)
    for key, value in more.get("flags", {}).items():
        w.add_bool("tokenizer.ggml." + key, value)
    if "chat" in more:
        w.add_chat_template(more["chat"])
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def write_corpus(out):
    def at(name):
        return os.path.join(out, name)

    os.makedirs(out, exist_ok=True)
    gpt2 = ["a", "b", "c", "\u0120", "ab", "\u0120ab", "<|endoftext|>", "<think>"]
    merges = ["a b", "\u0120 ab"]
    kinds = [NORMAL] * 6 + [CONTROL, USER]
    llama = ["<unk>", "<s>", "</s>", "<0x0A>", LOW_LINE, "a", "b", LOW_LINE + "a", "ab", LOW_LINE + "ab", "  "]
    llama_kinds = [UNKNOWN, CONTROL, CONTROL, BYTE] + [NORMAL] * 6 + [USER]
    scores = [0.0] * 4 + [-9.0, -8.0, -7.0, -2.0, -1.0, -3.0, 0.0]
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", LOW_LINE + "a", "a", "b", LOW_LINE + "ab", LOW_LINE + "!"]
    ids = {"bos": 6, "eos": 6}
    for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        seed(at("ok-" + pre), "gpt2", gpt2, kinds, pre=pre, merges=merges, ids=ids)
    seed(at("bad-old"), "gpt2", gpt2, None, merges=merges)
    seed(at("ok-holes"), "gpt2", gpt2[:6] + ["[PAD6]", "<|x|>", "[PAD8]"], [NORMAL] * 6 + [UNUSED, CONTROL, UNUSED],
         pre="gpt-2", merges=merges, chat="{{ messages }}")
    seed(at("ok-llama"), "llama", llama, llama_kinds, scores=scores, ids={"bos": 1, "eos": 2, "unknown": 0},
         flags={"add_bos_token": True, "add_eos_token": True, "add_space_prefix": True})
    seed(at("ok-gemma"), "llama", llama, llama_kinds, scores=scores, arch="gemma3", flags={"add_space_prefix": False})
    seed(at("ok-llama-merges"), "llama", llama, llama_kinds, scores=scores, merges=["a b", LOW_LINE + " ab"])
    seed(at("ok-llama-far"), "llama", llama, llama_kinds, scores=scores, ids={"unknown": 256})
    seed(at("ok-bert"), "bert", bert, [CONTROL] * 5 + [NORMAL] * 5, arch="bert",
         ids={"bos": 2, "seperator": 3, "unknown": 1, "padding": 0, "mask": 4})
    seed(at("bad-pre"), "gpt2", gpt2, kinds, pre="tekken", merges=merges)
    seed(at("bad-model"), "t5", gpt2, kinds, scores=[0.0] * 8)
    seed(at("bad-no-merges"), "gpt2", gpt2, kinds, pre="gpt-2")
    seed(at("bad-no-scores"), "llama", llama, llama_kinds)
    seed(at("bad-twice"), "gpt2", gpt2[:7] + ["a"], kinds[:7] + [NORMAL], pre="gpt-2", merges=merges)
    seed(at("bad-few-types"), "gpt2", gpt2, kinds[:7], pre="gpt-2", merges=merges)
    seed(at("bad-text-types"), "gpt2", gpt2, ["1"] * 8, pre="gpt-2", merges=merges)
    seed(at("bad-merge"), "gpt2", gpt2, kinds, pre="gpt-2", merges=["a x"])
    seed(at("bad-score"), "llama", llama, llama_kinds, scores=[float("nan")] * 11)
    seed(at("bad-twice-llama"), "llama", llama[:10] + ["a"], llama_kinds[:10] + [NORMAL], scores=scores)
    seed(at("bad-utf8"), "gpt2", gpt2[:5] + [b"\xff"] + gpt2[6:], kinds, pre="gpt-2", merges=merges[:1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--out", default="tests/golden/gguf_tokenizers")
    parser.add_argument("--corpus", default="tests/fuzz/corpus/gguf_tokenizer")
    parser.add_argument("--hf", help="also write NAME/tokenizer.json here")
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    write_corpus(args.corpus)
    for name, make in (("gpt2", make_gpt2), ("llama3", make_llama3), ("qwen2", make_qwen2), ("smollm", make_smollm),
                       ("spm", make_spm), ("gemma", make_gemma), ("bert", make_bert)):
        tok, how = make(args.text)
        path = os.path.join(args.out, name + ".gguf")
        write_gguf(path, tok, how)
        texts = check(name, path, tok, hard_strings(args.count))
        golden = {"texts": texts, "ids": [tok.encode(t, add_special_tokens=False).ids for t in texts],
                  "around": tok.encode("Hello world").ids}
        with open(os.path.join(args.out, name + ".json"), "w") as file:
            file.write("{\"around\": %s,\n\"texts\": %s,\n\"ids\": %s}\n" % (
                json.dumps(golden["around"]), json.dumps(golden["texts"], ensure_ascii=True),
                json.dumps(golden["ids"], separators=(",", ":"))))
        if args.hf:
            os.makedirs(os.path.join(args.hf, name), exist_ok=True)
            tok.save(os.path.join(args.hf, name, "tokenizer.json"))


if __name__ == "__main__":
    main()
