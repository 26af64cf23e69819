/* type_mix.c - see type_mix.h.
 *
 * The rules are a table, first match first, in place of a function a mix: what llama-quantize (src/llama-quant.cpp of
 * llama.cpp) decides in nested conditions is for dense models no more than this. tests/golden/mixes.json holds what it
 * chose itself. It counts tensors as they pass; here the layer is read from the name, which is the same number as long as
 * every layer has one of a kind. */
#include "data/formats/type_mix.h"

#include <stdio.h>
#include <string.h>

static const lti_mix mixes[] = {{"q2_k", LT_Q2_K, 10},   {"q2_k_s", LT_Q2_K, 21}, {"q3_k_s", LT_Q3_K, 11},
                                {"q3_k_m", LT_Q3_K, 12}, {"q3_k_l", LT_Q3_K, 13}, {"q4_0", LT_Q4_0, 2},
                                {"q4_1", LT_Q4_1, 3},    {"q4_k_s", LT_Q4_K, 14}, {"q4_k_m", LT_Q4_K, 15},
                                {"q5_0", LT_Q5_0, 8},    {"q5_1", LT_Q5_1, 9},    {"q5_k_s", LT_Q5_K, 16},
                                {"q5_k_m", LT_Q5_K, 17}, {"q6_k", LT_Q6_K, 18},   {"q8_0", LT_Q8_0, 7},
                                {"tq1_0", LT_TQ1_0, 36}, {"tq2_0", LT_TQ2_0, 37}, {"iq4_nl", LT_IQ4_NL, 25}};

static const char *const aliases[][2] = {{"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};

typedef enum part { OTHER, EMBEDDING, HEAD, VALUES, ATTENTION_OUT, DOWN } part;

/* Of the n tensors of a part this is number i. */
typedef enum when {
    ALWAYS,
    SHARED_BY_FOUR, /* four query heads or more share a head of keys: the tensor is small */
    FIRST_TWO,
    FIRST_FOUR,
    FIRST_EIGHTH,
    FIRST_SIXTEENTH,
    ENDS_AND_THIRDS /* the first and the last eighth, and every third between */
} when;

static const struct rule {
    const char *mix;
    part part;
    when when;
    lt_dtype type;
} rules[] = {
    {"q2_k", VALUES, SHARED_BY_FOUR, LT_Q4_K},
    {"q2_k", VALUES, ALWAYS, LT_Q3_K},
    {"q2_k", DOWN, ALWAYS, LT_Q3_K},
    {"q2_k", ATTENTION_OUT, ALWAYS, LT_Q3_K},
    {"q2_k_s", VALUES, SHARED_BY_FOUR, LT_Q4_K},
    {"q2_k_s", DOWN, FIRST_EIGHTH, LT_Q4_K},
    {"q3_k_m", VALUES, FIRST_TWO, LT_Q5_K},
    {"q3_k_m", VALUES, ALWAYS, LT_Q4_K},
    {"q3_k_m", DOWN, FIRST_SIXTEENTH, LT_Q5_K},
    {"q3_k_m", DOWN, ALWAYS, LT_Q4_K},
    {"q3_k_m", ATTENTION_OUT, ALWAYS, LT_Q4_K},
    {"q3_k_l", VALUES, ALWAYS, LT_Q5_K},
    {"q3_k_l", DOWN, ALWAYS, LT_Q5_K},
    {"q3_k_l", ATTENTION_OUT, ALWAYS, LT_Q5_K},
    {"q4_k_s", VALUES, FIRST_FOUR, LT_Q5_K},
    {"q4_k_s", DOWN, FIRST_EIGHTH, LT_Q5_K},
    {"q4_k_m", VALUES, ENDS_AND_THIRDS, LT_Q6_K},
    {"q4_k_m", DOWN, ENDS_AND_THIRDS, LT_Q6_K},
    {"q5_k_m", VALUES, ENDS_AND_THIRDS, LT_Q6_K},
    {"q5_k_m", DOWN, ENDS_AND_THIRDS, LT_Q6_K},
    {"tq1_0", EMBEDDING, ALWAYS, LT_Q4_K},
    {"tq2_0", EMBEDDING, ALWAYS, LT_Q4_K},
    {"iq4_nl", VALUES, SHARED_BY_FOUR, LT_Q5_K},
    {"iq4_nl", DOWN, FIRST_EIGHTH, LT_Q5_K},
};

enum { COUNT = sizeof mixes / sizeof *mixes, RULES = sizeof rules / sizeof *rules, LARGEST = 80 };

const lti_mix *lti_mix_named(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i][0]) == 0) name = aliases[i][1];
    for (int i = 0; i < COUNT; i++)
        if (strcmp(name, mixes[i].name) == 0) return &mixes[i];
    return NULL;
}

const char *lti_mix_names(void)
{
    return "q2_k, q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_0, q4_1, q4_k_s, q4_k_m, q5_0, q5_1, q5_k_s, q5_k_m, q6_k, q8_0, "
           "tq1_0, tq2_0";
}

lti_mix lti_mix_of(lt_dtype type)
{
    const lti_mix *mix = lti_mix_named(lt_dtype_name(type));
    return mix ? *mix : (lti_mix){lt_dtype_name(type), type, 0};
}

static part part_of(const char *name, bool tied)
{
    if (strcmp(name, "output.weight") == 0) return HEAD;
    if (strcmp(name, "token_embd.weight") == 0) return tied ? HEAD : EMBEDDING;
    if (strstr(name, "attn_v.weight") || strstr(name, "attn_qkv.weight")) return VALUES;
    if (strstr(name, "attn_output.weight")) return ATTENTION_OUT;
    return strstr(name, "ffn_down.weight") ? DOWN : OTHER;
}

lti_mix_facts lti_mix_facts_new(void)
{
    return (lti_mix_facts){.shared = 1, .tied = true};
}

void lti_mix_count(lti_mix_facts *facts, const char *name, int64_t rows)
{
    part p = part_of(name, false);
    if (p == HEAD) facts->tied = false;
    facts->values += p == VALUES;
    facts->downs += p == DOWN;
    if (strcmp(name, "blk.0.attn_q.weight") == 0) facts->queries = rows;
    if (strcmp(name, "blk.0.attn_k.weight") == 0) facts->keys = rows;
    facts->shared = facts->queries > facts->keys && facts->keys > 0 ? facts->queries / facts->keys : 1;
}

static bool holds(when w, int64_t i, int64_t n, int64_t shared)
{
    switch (w) {
    case ALWAYS: return true;
    case SHARED_BY_FOUR: return shared >= 4;
    case FIRST_TWO: return i < 2;
    case FIRST_FOUR: return i < 4;
    case FIRST_EIGHTH: return i < n / 8;
    case FIRST_SIXTEENTH: return i < n / 16;
    case ENDS_AND_THIRDS: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    }
    return false;
}

lt_dtype lti_mix_type(const lti_mix *mix, const lti_mix_facts *f, const char *name, int64_t columns)
{
    part p = part_of(name, f->tied);
    lt_dtype type = mix->base;
    long long layer = 0;
    if (!lt_dtype_is_lattice(type)) return type;
    if (p == HEAD) return columns % lt_dtype_block(type) || type == LT_Q8_0 ? LT_Q8_0 : LT_Q6_K;
    sscanf(name, "blk.%lld.", &layer);
    int64_t n = p == VALUES ? f->values : f->downs;
    for (int i = 0; i < RULES; i++)
        if (rules[i].part == p && strcmp(rules[i].mix, mix->name) == 0 && holds(rules[i].when, layer, n, f->shared)) {
            type = rules[i].type;
            break;
        }
    /* the 70B models of Llama and Qwen, where eight heads share one and attn_v is an eighth of attn_q */
    bool large = p == VALUES && f->values == LARGEST && f->shared > 1;
    return large && (type == LT_Q3_K || type == LT_Q4_K) ? LT_Q5_K : type;
}

bool lti_mix_leaves(const char *name)
{
    size_t n = strlen(name);
    return n < 6 || strcmp(name + n - 6, "weight") != 0 || strstr(name, "_norm.weight") ||
           strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0;
}

lt_dtype lti_type_that_fits(lt_dtype type, int64_t columns)
{
    if (columns % lt_dtype_block(type) == 0) return type;
    if (lt_dtype_block(type) == 256)
        type = type == LT_Q4_K ? LT_Q5_0 : type == LT_Q5_K ? LT_Q5_1 : type == LT_Q6_K ? LT_Q8_0 : LT_Q4_0;
    return columns % lt_dtype_block(type) ? LT_F16 : type;
}
