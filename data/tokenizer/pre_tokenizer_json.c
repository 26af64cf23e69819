/* pre_tokenizer_json.c - from "pre_tokenizer" to splits. */
#include "data/tokenizer/reading.h"
#include "data/tokenizer/regex.h"
#include "data/utf8.h"

#include <stdio.h>
#include <string.h>

static lt_status new_split(const lti_reading *r, const char *at, lti_pre_split **split)
{
    lti_pre_splits *splits = &r->tok->splits;
    if (splits->count == LTI_PRE_SPLITS)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: %s: more than %d steps in the pre-tokenizer", r->path, at,
                        LTI_PRE_SPLITS);
    *split = &splits->list[splits->count++];
    (*split)->work.ctx = (*split)->spelled.ctx = r->ctx;
    (*split)->prefix = LTI_NEVER;
    return LT_OK;
}

static lt_status compile(const lti_reading *r, const char *at, const char *source, size_t length, bool ours,
                         lti_pre_split *split)
{
    char where[512];
    snprintf(where, sizeof where, "%.300s: %s", r->path, at);
    return lti_regex_compile(r->ctx, where, source, length, ours, &split->pattern);
}

/* A split by one of our own patterns. */
static lt_status add_ours(const lti_reading *r, const char *at, const char *source, lti_behaviour behaviour)
{
    lti_pre_split *split = NULL;
    LTI_TRY(new_split(r, at, &split));
    split->behaviour = behaviour;
    return compile(r, at, source, strlen(source), true, split);
}

/* Text that stands for itself. */
static lt_status compile_text(const lti_reading *r, const char *at, const char *text, size_t length,
                              lti_pre_split *split)
{
    lti_text source = {.ctx = r->ctx};
    for (size_t i = 0; i < length;) {
        int n = lti_utf8_length((const unsigned char *)text + i, length - i);
        lti_text_format(&source, "\\x{%X}", (unsigned)lti_utf8_point((const unsigned char *)text + i, n));
        i += (size_t)n;
    }
    lt_status status = source.failed ? LT_ENOMEM : compile(r, at, source.data, source.length, true, split);
    lti_text_free(&source);
    return status;
}

static lt_status read_behaviour(const lti_reading *r, const char *at, json_t *node, lti_behaviour otherwise,
                                lti_behaviour *behaviour)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"};
    json_t *value = json_object_get(node, "behavior");
    *behaviour = otherwise;
    if (lti_absent(value)) return LT_OK;
    for (int i = 0; i < LTI_COUNT(names); i++) {
        if (!json_is_string(value) || strcmp(json_string_value(value), names[i]) != 0) continue;
        *behaviour = (lti_behaviour)i;
        return LT_OK;
    }
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: %s.behavior '%.60s' is not implemented", r->path, at,
                    json_is_string(value) ? json_string_value(value) : lti_json_kind(value));
}

static lt_status read_split(const lti_reading *r, const char *at, json_t *node)
{
    lti_pre_split *split = NULL;
    const char *text;
    size_t length;
    bool regex;
    LTI_TRY(new_split(r, at, &split));
    LTI_TRY(read_behaviour(r, at, node, LTI_ISOLATED, &split->behaviour));
    LTI_TRY(lti_read_flag(r, at, node, "invert", false, &split->invert));
    LTI_TRY(lti_read_pattern(r, at, node, &text, &length, &regex));
    return regex ? compile(r, at, text, length, false, split) : compile_text(r, at, text, length, split);
}

/* Byte-level without a pattern cuts nothing: it only says how tokens are spelled. */
static lt_status read_byte_level(const lti_reading *r, const char *at, json_t *node)
{
    lti_pre_split *split = NULL;
    bool prefix, pattern;
    if (r->tok->bpe.byte_level)
        return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: %s: a second ByteLevel is not implemented", r->path, at);
    LTI_TRY(lti_read_flag(r, at, node, "add_prefix_space", true, &prefix));
    LTI_TRY(lti_read_flag(r, at, node, "use_regex", true, &pattern));
    r->tok->bpe.byte_level = true;
    if (!prefix && !pattern) return LT_OK;
    LTI_TRY(new_split(r, at, &split));
    split->kind = LTI_PRE_BYTE_LEVEL;
    if (prefix) split->prefix = LTI_ALWAYS;
    return pattern ? compile(r, at, LTI_PATTERN_GPT2, strlen(LTI_PATTERN_GPT2), true, split) : LT_OK;
}

/* Older files say add_prefix_space, newer ones prepend_scheme. */
static lt_status read_metaspace(const lti_reading *r, const char *at, json_t *node)
{
    static const char *const schemes[] = {"always", "first", "never"};
    lti_pre_split *split = NULL;
    bool prefix, cuts;
    json_t *replacement = json_object_get(node, "replacement"), *scheme = json_object_get(node, "prepend_scheme");
    const char *text = json_string_value(replacement);
    size_t length = json_string_length(replacement);
    if (!text || length == 0 || length > 4 || lti_utf8_length((const unsigned char *)text, length) != (int)length)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.replacement must be one character", r->path, at);
    LTI_TRY(new_split(r, at, &split));
    split->kind = LTI_PRE_METASPACE;
    split->behaviour = LTI_MERGED_WITH_NEXT;
    split->replacement_length = length;
    memcpy(split->replacement, text, length);
    LTI_TRY(lti_read_flag(r, at, node, "add_prefix_space", true, &prefix));
    LTI_TRY(lti_read_flag(r, at, node, "split", true, &cuts));
    int found = prefix ? LTI_ALWAYS : LTI_NEVER;
    if (!lti_absent(scheme)) {
        const char *name = json_is_string(scheme) ? json_string_value(scheme) : "";
        for (found = 0; found < LTI_COUNT(schemes) && strcmp(name, schemes[found]) != 0;) found++;
        if (found == LTI_COUNT(schemes))
            return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.prepend_scheme must be always, first or never", r->path, at);
    }
    split->prefix = (lti_scheme)found;
    return cuts ? compile_text(r, at, text, length, split) : LT_OK;
}

static lt_status read_delimiter(const lti_reading *r, const char *at, json_t *node)
{
    json_t *value = json_object_get(node, "delimiter");
    lti_pre_split *split = NULL;
    if (!json_is_string(value) || json_string_length(value) == 0)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.delimiter must be one character", r->path, at);
    LTI_TRY(new_split(r, at, &split));
    split->behaviour = LTI_REMOVED;
    return compile_text(r, at, json_string_value(value), json_string_length(value), split);
}

static lt_status read_one(const lti_reading *r, const char *at, json_t *node)
{
    if (lti_is_type(node, "ByteLevel")) return read_byte_level(r, at, node);
    if (lti_is_type(node, "Split")) return read_split(r, at, node);
    if (lti_is_type(node, "WhitespaceSplit")) return add_ours(r, at, LTI_PATTERN_WHITE, LTI_REMOVED);
    if (lti_is_type(node, "Digits")) {
        bool alone;
        LTI_TRY(lti_read_flag(r, at, node, "individual_digits", false, &alone));
        return add_ours(r, at, LTI_PATTERN_DIGIT, alone ? LTI_ISOLATED : LTI_CONTIGUOUS);
    }
    if (lti_is_type(node, "Whitespace")) {
        LTI_TRY(add_ours(r, at, LTI_PATTERN_WORD_OR_SIGNS, LTI_REMOVED));
        r->tok->splits.list[r->tok->splits.count - 1].invert = true;
        return LT_OK;
    }
    if (lti_is_type(node, "Punctuation")) {
        lti_behaviour behaviour;
        LTI_TRY(read_behaviour(r, at, node, LTI_ISOLATED, &behaviour));
        return add_ours(r, at, LTI_PATTERN_PUNCTUATION, behaviour);
    }
    if (lti_is_type(node, "BertPreTokenizer")) {
        LTI_TRY(add_ours(r, at, LTI_PATTERN_WHITE, LTI_REMOVED));
        return add_ours(r, at, LTI_PATTERN_PUNCTUATION, LTI_ISOLATED);
    }
    if (lti_is_type(node, "CharDelimiterSplit")) return read_delimiter(r, at, node);
    if (lti_is_type(node, "Metaspace") && !r->tok->bpe.byte_level) return read_metaspace(r, at, node);
    return lti_unsupported(r, at, node);
}

/* What comes behind ByteLevel sees bytes spelled as characters. */
static lt_status read_behind_bytes(const lti_reading *r, const char *at, json_t *node)
{
    lti_pre_splits *splits = &r->tok->splits;
    if (r->tok->bpe.byte_level && !splits->spelled) {
        lti_pre_split *split = splits->count ? &splits->list[splits->count - 1] : NULL;
        if (!split || split->kind != LTI_PRE_BYTE_LEVEL) {
            LTI_TRY(new_split(r, at, &split));
            split->kind = LTI_PRE_BYTE_LEVEL;
        }
        split->spell = splits->spelled = true;
    }
    return read_one(r, at, node);
}

lt_status lti_read_pre_tokenizer(const lti_reading *r, const char *at, json_t *node, int depth)
{
    json_t *list;
    if (lti_absent(node)) return LT_OK;
    if (!lti_is_type(node, "Sequence")) return read_behind_bytes(r, at, node);
    LTI_TRY(lti_read_sequence(r, at, node, "pretokenizers", depth, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        lti_place place = lti_place_of(at, "pretokenizers", i);
        LTI_TRY(lti_read_pre_tokenizer(r, place.text, json_array_get(list, i), depth + 1));
    }
    return LT_OK;
}
