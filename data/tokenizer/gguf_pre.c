/* gguf_pre.c - tokenizer.ggml.pre: one word for how a byte-level tokenizer treats text before it merges.
 *
 * llama.cpp has a regular expression for each name; here are the names whose expression is one that lathe has; not its
 * "default", which no model was trained with. The
 * normalizer is not in the file at all: where the family's tokenizer.json has NFC, it is applied, as that file does
 * (llama.cpp does not: ids differ for text that is not composed). */
#include "data/tokenizer/regex.h"
#include "data/tokenizer/tokenizer_making.h"

#include <string.h>

static const lti_pre names[] = {
    {"gpt-2", LTI_CUT_GPT2},
    {"phi-2", LTI_CUT_GPT2},
    {"jina-es", LTI_CUT_GPT2},
    {"jina-de", LTI_CUT_GPT2},
    {"jina-v2-es", LTI_CUT_GPT2},
    {"jina-v2-de", LTI_CUT_GPT2},
    {"gigachat", LTI_CUT_GPT2},
    {"a.x-4.0", LTI_CUT_GPT2},
    {"mellum", LTI_CUT_GPT2},
    {"jais", LTI_CUT_GPT2},
    {"trillion", LTI_CUT_GPT2},
    {"granite-docling", LTI_CUT_GPT2},
    {"exaone4", LTI_CUT_GPT2},
    {"olmo", LTI_CUT_GPT2, .nfc = true},
    {"mpt", LTI_CUT_GPT2, .nfc = true},
    {"modern-bert", LTI_CUT_GPT2, .nfc = true},
    {"smollm", LTI_CUT_DIGITS},
    {"starcoder", LTI_CUT_DIGITS},
    {"refact", LTI_CUT_DIGITS},
    {"codeshell", LTI_CUT_DIGITS},
    {"exaone", LTI_CUT_DIGITS},
    {"minerva-7b", LTI_CUT_DIGITS},
    {"mellum2", LTI_CUT_DIGITS},
    {"command-r", LTI_CUT_DIGITS, .nfc = true},
    {"llama-bpe", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"llama3", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"llama-v3", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"falcon3", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"falcon-h1", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"pixtral", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"midm-2.0", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"lfm2", LTI_CUT_LLAMA3, .ignore_merges = true, .adds_bos = true},
    {"smaug-bpe", LTI_CUT_LLAMA3},
    {"dbrx", LTI_CUT_LLAMA3},
    {"chatglm-bpe", LTI_CUT_LLAMA3},
    {"glm4", LTI_CUT_LLAMA3},
    {"qwen2", LTI_CUT_QWEN2, .nfc = true},
    {"megrez", LTI_CUT_QWEN2, .nfc = true},
    {"stablelm2", LTI_CUT_QWEN2, .nfc = true},
    {"deepseek-r1-qwen", LTI_CUT_QWEN2},
    {"hunyuan", LTI_CUT_QWEN2},
    {"solar-open", LTI_CUT_QWEN2},
    {"grok-2", LTI_CUT_QWEN2},
};

static const char gpt2_pattern[] = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const lti_pre *lti_pre_find(const char *name, size_t length)
{
    for (int i = 0; i < LTI_COUNT(names); i++)
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0) return &names[i];
    return NULL;
}

/* ---- Writing ---- */

json_t *lti_byte_level_json(bool pattern)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     pattern);
}

json_t *lti_pre_tokenizer_json(lti_cut cut)
{
    if (cut == LTI_CUT_GPT2) return lti_byte_level_json(true);
    if (cut == LTI_CUT_DIGITS)
        return json_pack("{s:s, s:[{s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Digits",
                         "individual_digits", 1, lti_byte_level_json(true));
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                     "pattern", "Regex", cut == LTI_CUT_LLAMA3 ? LTI_PATTERN_LLAMA3 : LTI_PATTERN_QWEN2, "behavior",
                     "Isolated", "invert", 0, lti_byte_level_json(false));
}

/* ---- Recognising ---- */

static const char *type_of(json_t *node)
{
    const char *type = json_string_value(json_object_get(node, "type"));
    return type ? type : "";
}

static int flatten(json_t *node, const char *members, int limit, json_t **nodes, int count, int depth)
{
    if (!node || json_is_null(node)) return count;
    if (strcmp(type_of(node), "Sequence") != 0) {
        if (count == limit) return -1;
        nodes[count] = node;
        return count + 1;
    }
    json_t *list = json_object_get(node, members);
    for (size_t i = 0; i < json_array_size(list) && count >= 0; i++)
        count = depth > 4 ? -1 : flatten(json_array_get(list, i), members, limit, nodes, count, depth + 1);
    return count;
}

int lti_flatten(json_t *node, const char *members, int limit, json_t **nodes)
{
    return flatten(node, members, limit, nodes, 0, 0);
}

const char *lti_pattern(json_t *node, const char *kind)
{
    return json_string_value(json_object_get(json_object_get(node, "pattern"), kind));
}

/* Each match of the pattern is a word: cut out, or all else removed, which is the same where the pattern covers all. */
static bool isolates(json_t *split)
{
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    bool invert = json_is_true(json_object_get(split, "invert"));
    return behavior && strcmp(behavior, invert ? "Removed" : "Isolated") == 0;
}

/* The cut of a list of pre-tokenizers that ends in ByteLevel; false when it is none of ours. */
static bool cut_of(json_t *const *nodes, int count, bool merges, lti_cut *cut)
{
    json_t *last = nodes[count - 1], *first = nodes[0];
    bool pattern = !json_is_false(json_object_get(last, "use_regex"));
    if (json_is_true(json_object_get(last, "add_prefix_space"))) return false;
    *cut = LTI_CUT_GPT2;
    if (count == 1) return pattern || !merges; /* where nothing merges, cutting changes nothing */
    if (count != 2) return false;
    if (strcmp(type_of(first), "Digits") == 0) {
        *cut = LTI_CUT_DIGITS;
        return pattern && json_is_true(json_object_get(first, "individual_digits"));
    }
    const char *text = lti_pattern(first, "Regex");
    if (strcmp(type_of(first), "Split") != 0 || pattern || !text || !isolates(first)) return false;
    if (strcmp(text, LTI_PATTERN_LLAMA3) == 0) return *cut = LTI_CUT_LLAMA3, true;
    if (strcmp(text, LTI_PATTERN_QWEN2) == 0) return *cut = LTI_CUT_QWEN2, true;
    return strcmp(text, gpt2_pattern) == 0 || strcmp(text, LTI_PATTERN_GPT2) == 0;
}

lt_status lti_pre_recognise(lt_ctx *ctx, json_t *root, const lti_pre **pre)
{
    json_t *model = json_object_get(root, "model"), *normalizers[4], *nodes[4];
    int n_normalizers = lti_flatten(json_object_get(root, "normalizer"), "normalizers", 4, normalizers);
    int count = lti_flatten(json_object_get(root, "pre_tokenizer"), "pretokenizers", 4, nodes);
    bool nfc = n_normalizers == 1 && strcmp(type_of(normalizers[0]), "NFC") == 0;
    bool whole = json_is_true(json_object_get(model, "ignore_merges"));
    lti_cut cut;
    if (n_normalizers != 0 && !nfc)
        return lti_fail(ctx, LT_EUNSUPPORTED,
                        "tokenizer: GGUF has no name for a byte-level tokenizer with the normalizer '%s'; keep the "
                        "model as a Hugging Face directory",
                        n_normalizers > 0 ? type_of(normalizers[0]) : "Sequence");
    if (count < 1 || !cut_of(nodes, count, json_array_size(json_object_get(model, "merges")) > 0, &cut))
        return lti_fail(ctx, LT_EUNSUPPORTED,
                        "tokenizer: GGUF has no name that lathe knows for the pre-tokenizer '%s' (%s); keep the model "
                        "as a Hugging Face directory",
                        count > 0 ? type_of(nodes[0]) : "none",
                        count > 0 && lti_pattern(nodes[0], "Regex") ? lti_pattern(nodes[0], "Regex") : "no pattern");
    for (int i = 0; i < LTI_COUNT(names); i++) {
        *pre = &names[i];
        if (names[i].cut == cut && names[i].nfc == nfc && names[i].ignore_merges == whole) return LT_OK;
    }
    return lti_fail(ctx, LT_EUNSUPPORTED,
                    "tokenizer: GGUF has no name for the pre-tokenizer of '%s' %s; keep the model as a Hugging Face "
                    "directory",
                    cut == LTI_CUT_LLAMA3  ? "llama-bpe"
                    : cut == LTI_CUT_QWEN2 ? "qwen2"
                    : cut == LTI_CUT_GPT2  ? "gpt-2"
                                           : "smollm",
                    nfc && whole ? "with NFC and ignore_merges"
                    : nfc        ? "with NFC"
                                 : "with ignore_merges");
}
