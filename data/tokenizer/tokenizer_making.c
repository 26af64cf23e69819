/* tokenizer_making.c - writes down a tokenizer.json, and makes the tokenizer from it. See tokenizer_making.h. */
#include "data/tokenizer/tokenizer_making.h"

#include <string.h>

json_t *lti_added_json(int32_t id, const char *text, bool special)
{
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", text, "single_word", 0, "lstrip",
                     0, "rstrip", 0, "normalized", 0, "special", special);
}

/* A piece of a template: the token `name`, or the text when it is NULL. */
static json_t *template_piece(const char *name)
{
    return json_pack("{s:{s:s, s:i}}", name ? "SpecialToken" : "Sequence", "id", name ? name : "A", "type_id", 0);
}

static json_t *template_pair(const char *before, const char *after)
{
    json_t *list = json_array();
    for (int i = 0; list && i < 2; i++) {
        if (before) json_array_append_new(list, template_piece(before));
        json_array_append_new(list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", i ? "B" : "A", "type_id", i));
        if (after) json_array_append_new(list, template_piece(after));
    }
    return list;
}

json_t *lti_around_json(const char *before, int32_t before_id, const char *after, int32_t after_id)
{
    json_t *single = json_array(), *tokens = json_object();
    if (before) json_array_append_new(single, template_piece(before));
    json_array_append_new(single, template_piece(NULL));
    if (after) json_array_append_new(single, template_piece(after));
    if (before)
        json_object_set_new(tokens, before,
                            json_pack("{s:s, s:[i], s:[s]}", "id", before, "ids", (int)before_id, "tokens", before));
    if (after)
        json_object_set_new(tokens, after,
                            json_pack("{s:s, s:[i], s:[s]}", "id", after, "ids", (int)after_id, "tokens", after));
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     template_pair(before, after), "special_tokens", tokens);
}

json_t *lti_bpe_json(json_t *unknown, bool byte_fallback, bool ignore_merges, json_t *vocab, json_t *merges)
{
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     unknown ? unknown : json_null(), "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                     byte_fallback, "byte_fallback", byte_fallback, "ignore_merges", ignore_merges, "vocab", vocab,
                     "merges", merges);
}

json_t *lti_whole_json(json_t *added, json_t *normalizer, json_t *pre_tokenizer, json_t *post, json_t *decoder,
                       json_t *model)
{
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added, "normalizer", normalizer ? normalizer : json_null(), "pre_tokenizer",
                     pre_tokenizer ? pre_tokenizer : json_null(), "post_processor", post ? post : json_null(),
                     "decoder", decoder, "model", model);
}

static int add_text(const char *bytes, size_t count, void *text)
{
    lti_text_add(text, bytes, count);
    return ((lti_text *)text)->failed ? -1 : 0;
}

/* The text of a value as a file of the tokenizer. */
static lt_status keep_text(lt_tokenizer *tok, const char *name, const json_t *value)
{
    lti_text text = {.ctx = tok->ctx};
    if (json_dump_callback(value, add_text, &text, JSON_INDENT(1)) == 0)
        return lti_tokenizer_add_file(tok, name, text.data, (int64_t)text.length);
    bool told = text.failed;
    lti_text_free(&text);
    return told ? LT_ENOMEM : lti_fail(tok->ctx, LT_ENOMEM, "out of memory for the text of %s", name);
}

lt_status lti_tokenizer_make(lt_tokenizer *tok, const char *path, json_t *tokenizer, json_t *config)
{
    lt_status status = LT_OK;
    if (!tokenizer || !config) status = lti_fail(tok->ctx, LT_ENOMEM, "%s: out of memory for its tokenizer", path);
    if (status == LT_OK) status = lti_tokenizer_parse_json(tok, path, tokenizer);
    if (status == LT_OK) status = lti_tokenizer_config_json(tok, path, config);
    if (status == LT_OK) status = keep_text(tok, "tokenizer.json", tokenizer);
    if (status == LT_OK) status = keep_text(tok, "tokenizer_config.json", config);
    json_decref(tokenizer);
    json_decref(config);
    return status;
}
