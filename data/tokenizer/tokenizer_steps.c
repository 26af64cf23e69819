/* tokenizer_steps.c - from "normalizer" and "decoder" to steps.
 *
 * A step that is not implemented is refused by name (see tokenizer_json.c). */
#include "data/tokenizer/reading.h"

#include <stdio.h>
#include <string.h>

static lt_status new_step(const lti_reading *r, const char *at, lti_steps *steps, lti_step **step)
{
    if (steps->count == LTI_STEPS)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: %s: more than %d steps", r->path, at, LTI_STEPS);
    *step = &steps->list[steps->count++];
    return LT_OK;
}

/* ---- In both ---- */

static lt_status read_replace(const lti_reading *r, const char *at, json_t *node, lti_steps *steps)
{
    lti_step *step = NULL;
    const char *text;
    size_t length;
    bool regex;
    LTI_TRY(new_step(r, at, steps, &step));
    step->kind = LTI_REPLACE;
    LTI_TRY(lti_read_pattern(r, at, node, &text, &length, &regex));
    LTI_TRY(lti_read_string(r, at, node, "content", 0, &step->content, &step->content_length));
    if (regex) {
        char where[512];
        snprintf(where, sizeof where, "%.300s: %s", r->path, at);
        steps->utf8 = true;
        return lti_regex_compile(r->ctx, where, text, length, false, &step->regex);
    }
    step->pattern = lti_alloc(r->ctx, length + 1);
    if (!step->pattern) return LT_ENOMEM;
    memcpy(step->pattern, text, length);
    step->pattern_length = length;
    return LT_OK;
}

/* ---- Normalizers ---- */

static lt_status add_unicode(const lti_reading *r, const char *at, lti_step_kind kind, bool compatible)
{
    lti_step *step = NULL;
    LTI_TRY(new_step(r, at, &r->tok->normalize, &step));
    step->kind = kind;
    step->compatible = compatible;
    step->left = step->right = 1;
    r->tok->normalize.utf8 = true;
    return LT_OK;
}

static lt_status read_bert(const lti_reading *r, const char *at, json_t *node)
{
    bool clean, chinese, accents, lower;
    LTI_TRY(lti_read_flag(r, at, node, "clean_text", true, &clean));
    LTI_TRY(lti_read_flag(r, at, node, "handle_chinese_chars", true, &chinese));
    LTI_TRY(lti_read_flag(r, at, node, "lowercase", true, &lower));
    LTI_TRY(lti_read_flag(r, at, node, "strip_accents", lower, &accents));
    if (clean) LTI_TRY(add_unicode(r, at, LTI_CLEAN, false));
    if (chinese) LTI_TRY(add_unicode(r, at, LTI_SPACE_CHINESE, false));
    if (accents) {
        LTI_TRY(add_unicode(r, at, LTI_DECOMPOSE, false));
        LTI_TRY(add_unicode(r, at, LTI_DROP_ACCENTS, false));
    }
    return lower ? add_unicode(r, at, LTI_LOWERCASE, false) : LT_OK;
}

static lt_status read_trim(const lti_reading *r, const char *at, json_t *node)
{
    bool left, right;
    LTI_TRY(lti_read_flag(r, at, node, "strip_left", true, &left));
    LTI_TRY(lti_read_flag(r, at, node, "strip_right", true, &right));
    LTI_TRY(add_unicode(r, at, LTI_TRIM, false));
    lti_step *step = &r->tok->normalize.list[r->tok->normalize.count - 1];
    step->left = left;
    step->right = right;
    return LT_OK;
}

static lt_status read_normalizer(const lti_reading *r, const char *at, json_t *node)
{
    static const struct {
        const char *type;
        lti_step_kind kind;
        bool compatible;
    } plain[] = {{"NFC", LTI_COMPOSE, false},         {"NFD", LTI_DECOMPOSE, false},
                 {"NFKC", LTI_COMPOSE, true},         {"NFKD", LTI_DECOMPOSE, true},
                 {"Lowercase", LTI_LOWERCASE, false}, {"StripAccents", LTI_DROP_MARKS, false}};
    for (int i = 0; i < LTI_COUNT(plain); i++)
        if (lti_is_type(node, plain[i].type)) return add_unicode(r, at, plain[i].kind, plain[i].compatible);
    if (lti_is_type(node, "Replace")) return read_replace(r, at, node, &r->tok->normalize);
    if (lti_is_type(node, "BertNormalizer")) return read_bert(r, at, node);
    if (lti_is_type(node, "Strip")) return read_trim(r, at, node);
    if (!lti_is_type(node, "Prepend")) return lti_unsupported(r, at, node);
    lti_step *step = NULL;
    LTI_TRY(new_step(r, at, &r->tok->normalize, &step));
    step->kind = LTI_PREPEND;
    return lti_read_string(r, at, node, "prepend", 0, &step->content, &step->content_length);
}

/* ---- Decoders ---- */

static lt_status read_strip(const lti_reading *r, const char *at, json_t *node, lti_step *step)
{
    json_t *left = json_object_get(node, "start"), *right = json_object_get(node, "stop");
    if (!json_is_integer(left) || !json_is_integer(right) || json_integer_value(left) < 0 ||
        json_integer_value(left) > INT32_MAX || json_integer_value(right) < 0 || json_integer_value(right) > INT32_MAX)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s: start and stop must be whole numbers", r->path, at);
    step->kind = LTI_STRIP;
    step->left = (int32_t)json_integer_value(left);
    step->right = (int32_t)json_integer_value(right);
    return lti_read_string(r, at, node, "content", 1, &step->content, &step->content_length);
}

static lt_status read_metaspace(const lti_reading *r, const char *at, json_t *node, lti_step *step)
{
    json_t *scheme = json_object_get(node, "prepend_scheme");
    step->kind = LTI_METASPACE;
    LTI_TRY(lti_read_flag(r, at, node, "add_prefix_space", true, &step->drops_first));
    if (json_is_string(scheme)) step->drops_first = strcmp(json_string_value(scheme), "never") != 0;
    return lti_read_string(r, at, node, "replacement", 1, &step->content, &step->content_length);
}

static lt_status read_word_piece(const lti_reading *r, const char *at, json_t *node, lti_step *step)
{
    step->kind = LTI_WORD_PIECE;
    LTI_TRY(lti_read_flag(r, at, node, "cleanup", true, &step->cleanup));
    return lti_read_string(r, at, node, "prefix", 0, &step->content, &step->content_length);
}

static lt_status read_decoder(const lti_reading *r, const char *at, json_t *node)
{
    lti_steps *steps = &r->tok->decode;
    lti_step *step = NULL;
    if (lti_is_type(node, "Replace")) return read_replace(r, at, node, steps);
    LTI_TRY(new_step(r, at, steps, &step));
    if (lti_is_type(node, "Strip")) return read_strip(r, at, node, step);
    if (lti_is_type(node, "Metaspace")) return read_metaspace(r, at, node, step);
    if (lti_is_type(node, "WordPiece")) return read_word_piece(r, at, node, step);
    step->kind = lti_is_type(node, "ByteFallback") ? LTI_BYTES : LTI_FUSE;
    if (step->kind == LTI_BYTES || lti_is_type(node, "Fuse")) return LT_OK;
    if (!lti_is_type(node, "ByteLevel") || !r->tok->bpe.byte_level) return lti_unsupported(r, at, node);
    if (steps->count == 1) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: %s: ByteLevel behind another decoder is not implemented", r->path,
                    at);
}

/* ---- Both ---- */

static lt_status read_each(const lti_reading *r, const char *at, const char *members, json_t *node,
                           lt_status (*read)(const lti_reading *, const char *, json_t *), int depth)
{
    json_t *list;
    if (!lti_is_type(node, "Sequence")) return read(r, at, node);
    LTI_TRY(lti_read_sequence(r, at, node, members, depth, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        lti_place place = lti_place_of(at, members, i);
        LTI_TRY(read_each(r, place.text, members, json_array_get(list, i), read, depth + 1));
    }
    return LT_OK;
}

lt_status lti_read_steps(const lti_reading *r, json_t *root)
{
    json_t *normalizer = json_object_get(root, "normalizer"), *decoder = json_object_get(root, "decoder");
    if (!lti_absent(normalizer)) LTI_TRY(read_each(r, "normalizer", "normalizers", normalizer, read_normalizer, 0));
    if (!lti_absent(decoder)) return read_each(r, "decoder", "decoders", decoder, read_decoder, 0);
    r->tok->joins_by_blank = !r->tok->bpe.byte_level;
    return LT_OK;
}
