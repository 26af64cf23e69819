#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: small tokenizers of every family, hard strings, and what tokenizers says of them.

    python scripts/goldens_tokenizers.py [--train] [../shared/data/text]

A <family>.json that is there already is kept: the trainers break ties by the order of a hash table, so that training
again (--train) gives other vocabularies, and all ids with them.
Needs `tokenizers` (0.23). Trained on public-domain texts (inaugural addresses, Shakespeare) and the lines below.
    strings.json   the strings, once for all families
    <family>.json  a tokenizer
    <family>.ids   line 1: flags ("exact": what is decoded is the string) and the ids of "a b" with what is put around;
                   then a line a string: FNV-1a of its ids with control tokens parsed; p= of the ids without, when
                   those differ; d= of the decoded text, when that is not the string
"""

import json
import os
import random
import struct
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = "tests/golden/tokenizers"
COUNT = 1100
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LINES = """Été à la forêt, où l'âme s'élève; naïve façade, œuvre, ça va?
Straße, Übergrößenträger, Käse, Füße und Möhren.
Ελληνικά γράμματα και λέξεις. Русские слова и буквы, ещё раз. Ёлка.
日本語の文章です。漢字とかな。中文句子，没有空格。한국어 문장입니다.
שלום עולם. مرحبا بالعالم. नमस्ते दुनिया। ไทยไม่มีช่องว่าง
I've they're we'll DON'T it's I'm he'd she'S. 3.14159 2,718 100% $5 #1 @home a_b foo_bar(x[0], y) == {1: 2};
\tif (x < 10)\n\t\treturn  x * 2;\n    for i in range(100):\n        print(i)\n""" * 20
WHITE = [
    chr(c)
    for c in [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
]


# ---- Strings ----


def assigned(low, high, kinds):
    return [chr(c) for c in range(low, high) if unicodedata.category(chr(c))[0] in kinds]


def pools():
    everything = range(0x110000)
    by_kind = {}
    for c in everything:
        by_kind.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    pool = {
        "letters": assigned(0x41, 0x250, "L"),
        "greek": assigned(0x370, 0x530, "L"),
        "rtl": assigned(0x590, 0x700, "LM"),
        "indic": assigned(0x900, 0xE00, "LMN"),
        "thai": assigned(0xE00, 0x1000, "LM"),
        "cjk": [chr(c) for c in range(0x4E00, 0x4E80)] + assigned(0x3040, 0x3100, "L"),
        "ideographs": [chr(c) for c in (0x3400, 0x9FFF, 0xF900, 0xFA0E, 0x20000, 0x2A6DF, 0x2A700, 0x2F800)],
        "hangul": [chr(c) for c in range(0xAC00, 0xAC40)] + [chr(c) for c in range(0x1100, 0x11FF)],
        "marks": [chr(c) for c in range(0x300, 0x370)] + by_kind["Me"] + by_kind["Mc"][:40],
        "all marks": by_kind["Mn"],
        "digits": by_kind["Nd"],
        "numbers": by_kind["No"] + by_kind["Nl"],
        "signs": assigned(0x21, 0x3100, "PS"),
        "all signs": by_kind["Po"] + by_kind["Pd"] + by_kind["So"],
        "controls": by_kind["Cc"] + by_kind["Cf"] + ["\ufffd", "\ufeff", "\ue000", "\U000f0000"],
        "unassigned": ["\u0378", "\u0530", "\U0001fffe", "\U0010ffff", "\U000e0fff", "\uffff"],
        "compatible": assigned(0xFB00, 0xFFF0, "LNPS")
        + assigned(0x2100, 0x2200, "LNS")
        + assigned(0x1D400, 0x1D7FF, "LN"),
        "cased": by_kind["Lu"] + by_kind["Lt"] + list("İıſßẞΣςǅǈŉǰΐ"),
        "modifiers": by_kind["Lm"],
        "composed": assigned(0xC0, 0x180, "L") + assigned(0x1E00, 0x2000, "L"),
        "emoji": list("😀👍🏽👨‍👩‍👧‍👦❤️🇩🇪🏳️‍🌈🧑🏿‍🚀1️⃣") + ["👨‍👩‍👧‍👦", "❤️", "🇩🇪🇫🇷", "🏳️‍🌈", "👍🏽", "1️⃣"],
    }
    for kind in ("Lo", "So", "Sc", "Sk", "Sm", "Ps", "Pi", "Pc", "Zs"):
        pool[kind] = by_kind[kind]
    return pool


WORDS = (
    "the of and to government people liberty Constitution nation shall upon which world hath thou king love "
    "don't I've it's we'll HE'S She'LL they'Re you'd I'M 'tis o'clock rock'n'roll 's 'S 'ſ 've don\u2019t "
    "foo_bar camelCase HTTPServer x1y2 2nd 3.14 1,000,000 192.168.0.1 0xFF 1e-9 a@b.c http://x.y/z?q=1#f "
    "--- ... ?! :-) <br/> \\n {} [] () // /* */ && || == != => -> ##a ▁ ▁a a▁b _ __ Ġ Ċ <0x41> <0xE2> <0x0A> [PAD] "
    "<unk> . , ! ? n't do not 'm 're"
).split(" ")
LOOKALIKES = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "<unk>",
    "<pad>",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[UNK]",
    "<mask>",
    "<|begin|>",
    "<extra_1>",
    "<extra_12>",
    "<extra_",
    "< s>",
    "<|endoftext|",
    "[cls]",
    "WORD",
    "WORDS",
    "Ώmega",
    "<S>",
    "  <mask> ",
    "<|im_start|><|im_end|>",
    "    ",
    "        ",
]


def piece(rng, pool):
    kind = rng.choice(["word"] * 8 + ["white"] * 3 + ["look"] * 2 + list(pool))
    if kind == "word":
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 5)))
    if kind == "look":
        return rng.choice(LOOKALIKES)
    if kind == "white":
        return "".join(
            rng.choice(WHITE if rng.random() < 0.5 else [" ", " ", "\n", "\t", "\r\n"])
            for _ in range(rng.randint(1, 6))
        )
    if kind in ("marks", "all marks"):
        return "".join(
            rng.choice("aeiouAEIOUnc\u0915\u1100") + "".join(rng.choice(pool[kind]) for _ in range(rng.randint(1, 4)))
            for _ in range(rng.randint(1, 4))
        )
    return "".join(rng.choice(pool[kind]) for _ in range(rng.randint(1, 6)))


def fixed():
    digits = "0123456789" * 9
    return [
        "",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\n\n\n",
        "a",
        "ab",
        "  a",
        "a  ",
        " a b ",
        "\u2581",
        "\u2581\u2581a",
        "\0",
        "a\0b",
        "x" * 300,
        " " * 300,
        "\n" * 300,
        "7" * 300,
        "é" * 150,
        "e" + "\u0301" * 100,
        "\u0301\u0323\u0301" * 40,
        "中" * 120,
        "!" * 200,
        "\r\n" * 100,
        " \n" * 100,
        "a " * 150,
        "'s" * 60,
        "word" * 75,
        digits,
        "\u0e01\u0e33" * 60,
        "the " * 60 + "<s>" * 20,
        "".join(WHITE),
        "a".join(WHITE),
        " ".join(WHITE),
        "x" + "\u00a0" * 20 + "y",
        "a" * 99,
        "a" * 100,
        "a" * 101,
        "\u1100\u1161\u11a8" * 10,
        "\uac00\u11a8",
        "\u212b\u2126\ufb01\u33c0",
        "\u0130I\u0131i",
        "\u1e9b\u0323",
        "\ud55c\uae00",
        "½ ⅓ Ⅷ ² ³ ⁴ ₅ ① ㉈ 〇 一 ٣ ४ ๕ 𝟗 𝍩",
        "1²3",
        "12345 67",
        "ＡＢＣ１２３",
        "<s>a</s>",
        "a<s>",
        "<unk><unk>",
        "hello<mask>you",
        "hello   <mask>   you",
        "WORDWORD WORD",
        "xWORD WORDx WORD.",
        "ΏWORD",
        "<extra_12>3",
    ]


def strings():
    rng, pool, out = random.Random(20240229), pools(), fixed()
    seen = set(out)
    while len(out) < COUNT:
        text = "".join(piece(rng, pool) + (" " if rng.random() < 0.4 else "") for _ in range(rng.randint(1, 9)))
        if text not in seen and not any(0xD800 <= ord(c) < 0xE000 for c in text):
            seen.add(text)
            out.append(text)
    return out


# ---- Tokenizers ----


def corpus(folder):
    texts = [LINES]
    for name in ("us-inaugural-1789-2021.txt", "tinyshakespeare.txt"):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts.append(file.read()[:150000])
    return "\n".join(texts).splitlines(keepends=True)


def added(text, special=True, **flags):
    return AddedToken(text, special=special, **flags)


def byte_bpe(lines, pre, vocab=520, normalizer=None, post=None, tokens=(), **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    add(t, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], tokens)
    t.post_processor = post(t) if post else processors.ByteLevel(trim_offsets=False)
    return t


def add(t, special, tokens):
    t.add_special_tokens([added(s, normalized=False) for s in special])
    for token in tokens:
        t.add_special_tokens([token]) if token.special else t.add_tokens([token])


def around(before, after=None):
    def make(t):
        single = ([before] if before else []) + ["$A"] + ([after] if after else [])
        return processors.TemplateProcessing(
            single=" ".join(single), pair=None, special_tokens=[(s, t.token_to_id(s)) for s in (before, after) if s]
        )

    return make


def char_bpe(lines, normalizer, pre, decoder, vocab=560, tokens=(), fallback=True):
    t = Tokenizer(models.BPE(byte_fallback=fallback, fuse_unk=True, unk_token="<unk>"))
    if normalizer:
        t.normalizer = normalizer
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    specials = ["<unk>", "<s>", "</s>"] + (["<0x%02X>" % b for b in range(256)] if fallback else [])
    words.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=vocab, limit_alphabet=100, special_tokens=specials, show_progress=False)
    )
    model = json.loads(words.to_str())["model"]
    t.model = models.BPE(
        vocab=model["vocab"],
        merges=[tuple(m) for m in model["merges"]],
        byte_fallback=fallback,
        fuse_unk=True,
        unk_token="<unk>",
    )
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder
    add(t, ["<unk>", "<s>", "</s>"], tokens)
    t.post_processor = around("<s>")(t)
    return t


def word_piece(lines, lower, post):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(cleanup=lower)
    t.train_from_iterator(
        lines,
        trainers.WordPieceTrainer(
            vocab_size=800,
            limit_alphabet=250,
            show_progress=False,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        ),
    )
    t.post_processor = post(t)
    return t


def words(lines):
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]
    )
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(
        lines, trainers.WordLevelTrainer(vocab_size=700, special_tokens=["[UNK]", "<s>"], show_progress=False)
    )
    return t


def behaviours():
    """A vocabulary of characters that tells where pieces begin; everything beyond ASCII becomes an x."""
    chars = [chr(c) for c in range(33, 127)]
    vocab = {"[UNK]": 0, " ": 1, "## ": 2}
    for c in chars:
        vocab[c] = len(vocab)
        vocab["##" + c] = len(vocab)
    for behaviour in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            t = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=1000))
            t.normalizer = normalizers.Sequence(
                [normalizers.Replace(Regex(r"[^ -~]"), "x"), normalizers.Replace("\\n", "#")]
            )
            t.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d|[aeiou]+|(?<=t)|,"), behaviour, invert=invert)
            t.decoder = decoders.Sequence(
                [
                    decoders.WordPiece(cleanup=False),
                    decoders.Replace(Regex("x+ ?"), "-"),
                    decoders.Fuse(),
                    decoders.Strip("-", 1, 0),
                ]
            )
            yield "split_" + behaviour + ("_inverted" if invert else ""), t


def families(lines):
    byte, split, seq = pre_tokenizers.ByteLevel, pre_tokenizers.Split, pre_tokenizers.Sequence
    tricky = [
        added("WORD", False, single_word=True),
        added("<extra_1>", False, lstrip=True, rstrip=True),
        added("<extra_12>", False, normalized=False),
        added("Ώmega", False, normalized=True),
    ]
    plain = byte(add_prefix_space=False)
    last = byte(add_prefix_space=False, use_regex=False)
    pipe = "▁"
    llama_decoder = decoders.Sequence(
        [decoders.Replace(pipe, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    gemma_decoder = decoders.Sequence([decoders.Replace(pipe, " "), decoders.ByteFallback(), decoders.Fuse()])
    yield "gpt2", byte_bpe(lines, plain)
    yield "roberta", byte_bpe(
        lines,
        byte(add_prefix_space=True),
        tokens=[added("<s>"), added("</s>"), added("<mask>", lstrip=True)],
        post=lambda t: processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>"))),
    )
    yield "llama3", byte_bpe(
        lines,
        seq([split(Regex(LLAMA3), "isolated"), last]),
        tokens=[added("<|begin|>")],
        ignore_merges=True,
        post=lambda t: processors.Sequence([processors.ByteLevel(), around("<|begin|>")(t)]),
    )
    yield "qwen2", byte_bpe(
        lines, seq([split(Regex(QWEN2), "isolated"), last]), normalizer=normalizers.NFC(), tokens=tricky
    )
    yield "smollm", byte_bpe(
        lines, seq([pre_tokenizers.Digits(individual_digits=True), plain]), tokens=tricky[:1] + tricky[2:]
    )
    yield "neox", byte_bpe(
        lines, plain, normalizer=normalizers.NFC(), tokens=[added(" " * n, False, normalized=True) for n in range(2, 9)]
    )
    yield "cased", byte_bpe(lines, seq([split(Regex(CASED), "isolated"), last]), ignore_merges=True)
    yield "deepseek", byte_bpe(
        lines,
        seq(
            [
                split(Regex(r"\p{N}{1,3}"), "isolated"),
                split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated"),
                split(
                    Regex(
                        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                    ),
                    "isolated",
                ),
                last,
            ]
        ),
    )
    yield "falcon", byte_bpe(
        lines,
        seq(
            [
                pre_tokenizers.Punctuation("contiguous"),
                plain,
                pre_tokenizers.Digits(),
                split(Regex("[0-9][0-9][0-9]"), "isolated"),
            ]
        ),
    )
    yield "nfkc", byte_bpe(
        lines,
        seq([pre_tokenizers.WhitespaceSplit(), byte(add_prefix_space=True)]),
        tokens=tricky,
        normalizer=normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=True, right=False)]
        ),
    )
    yield "llama2", char_bpe(
        lines, normalizers.Sequence([normalizers.Prepend(pipe), normalizers.Replace(" ", pipe)]), None, llama_decoder
    )
    yield "gemma", char_bpe(
        lines,
        normalizers.Replace(" ", pipe),
        split(" ", "merged_with_previous"),
        gemma_decoder,
        tokens=[added("\n" * n, False, normalized=False) for n in range(2, 5)],
    )
    yield "metaspace_first", char_bpe(
        lines, None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), llama_decoder
    )
    yield "metaspace_always", char_bpe(
        lines, normalizers.NFD(), pre_tokenizers.Metaspace(), decoders.Metaspace(), fallback=False
    )
    yield "metaspace_never", char_bpe(
        lines,
        normalizers.NFKD(),
        pre_tokenizers.Metaspace(prepend_scheme="never"),
        decoders.Metaspace(prepend_scheme="never"),
        fallback=False,
        tokens=tricky[:3],
    )
    yield "bert_uncased", word_piece(lines, True, around("[CLS]", "[SEP]"))
    yield "bert_cased", word_piece(
        lines,
        False,
        lambda t: processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]"))),
    )
    yield "words", words(lines)
    yield from behaviours()


EXACT = {"gpt2", "llama3", "smollm", "cased", "deepseek", "falcon"}


# ---- What tokenizers says ----


def fnv(data):
    h = 0x811C9DC5
    for b in data:
        h = (h ^ b) * 0x01000193 & 0xFFFFFFFF
    return "%08x" % h


def ids_hash(ids):
    return fnv(struct.pack("<%di" % len(ids), *ids))


def old_spelling(text):
    """Merges as "a b", and Metaspace as files before 0.15 have it."""
    root = json.loads(text)
    root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
    root["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    root["decoder"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    return json.dumps(root, ensure_ascii=False)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--train"]
    folder = arguments[0] if arguments else "../shared/data/text"
    os.makedirs(OUT, exist_ok=True)
    texts, lines = strings(), corpus(folder)
    with open(os.path.join(OUT, "strings.json"), "w", encoding="utf-8") as file:
        file.write(json.dumps(texts, ensure_ascii=False, separators=(",\n", ":")) + "\n")
    for name, tokenizer in families(lines):
        text = tokenizer.to_str()
        if name == "metaspace_always":
            text = old_spelling(text)
        text = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
        path = os.path.join(OUT, name + ".json")
        if os.path.exists(path) and "--train" not in sys.argv:
            with open(path, encoding="utf-8") as file:
                text = file.read().rstrip("\n")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        t, plain = Tokenizer.from_str(text), Tokenizer.from_str(text)
        plain.encode_special_tokens = True
        whole = " ".join(str(i) for i in t.encode("a b").ids)
        rows = [("exact " if name in EXACT else "- ") + whole]
        for x in texts:
            ids, plain_ids = t.encode(x, add_special_tokens=False).ids, plain.encode(x, add_special_tokens=False).ids
            back = t.decode(ids, skip_special_tokens=False)
            row = ids_hash(ids)
            row += "" if ids == plain_ids else " p=" + ids_hash(plain_ids)
            row += "" if back == x else " d=" + fnv(back.encode())
            if name in EXACT and plain.decode(plain_ids, skip_special_tokens=False) != x:
                print(name, "does not give back", repr(x))
            rows.append(row)
        with open(os.path.join(OUT, name + ".ids"), "w") as file:
            file.write("\n".join(rows) + "\n")
        print(name, t.get_vocab_size(), len(text))


if __name__ == "__main__":
    main()
