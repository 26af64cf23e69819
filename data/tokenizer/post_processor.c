/* post_processor.c - what is put around a text, and what tokenizer_config.json adds. */
#include "data/tokenizer/reading.h"

#include <string.h>

static lt_status around_twice(const lti_reading *r, const char *at)
{
    if (r->tok->prefix_count == 0 && r->tok->suffix_count == 0) return LT_OK;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: %s: a second template around the first is not implemented", r->path,
                    at);
}

static lt_status add_id(const lti_reading *r, const char *at, json_t *id, int32_t *ids, int *count)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= r->tok->vocab.count)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s: an id is not in the vocabulary", r->path, at);
    if (*count == LTI_TEMPLATE)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: %s: more than %d tokens on one side", r->path, at, LTI_TEMPLATE);
    ids[(*count)++] = (int32_t)json_integer_value(id);
    return LT_OK;
}

static lt_status template_token(const lti_reading *r, const char *at, json_t *post, json_t *piece, int32_t *ids,
                                int *count)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    json_t *entry = name ? json_object_get(json_object_get(post, "special_tokens"), name) : NULL;
    json_t *list = json_object_get(entry, "ids");
    if (!json_is_array(list))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s: special token '%.60s' has no ids", r->path, at, name ? name : "?");
    for (size_t i = 0; i < json_array_size(list); i++) LTI_TRY(add_id(r, at, json_array_get(list, i), ids, count));
    return LT_OK;
}

static lt_status read_template(const lti_reading *r, const char *at, json_t *post)
{
    json_t *single = json_object_get(post, "single");
    bool seen = false;
    LTI_TRY(around_twice(r, at));
    for (size_t i = 0; i < json_array_size(single); i++) {
        json_t *piece = json_array_get(single, i), *token = json_object_get(piece, "SpecialToken");
        if (token && seen)
            LTI_TRY(template_token(r, at, post, token, r->tok->suffix, &r->tok->suffix_count));
        else if (token)
            LTI_TRY(template_token(r, at, post, token, r->tok->prefix, &r->tok->prefix_count));
        else if (!json_object_get(piece, "Sequence") || seen)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.single[%zu] is neither a special token nor the one sequence",
                            r->path, at, i);
        else
            seen = true;
    }
    if (seen) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.single has no sequence", r->path, at);
}

/* {"cls": [text, id], "sep": [text, id]} of BERT and RoBERTa. */
static lt_status read_cls_sep(const lti_reading *r, const char *at, json_t *post)
{
    LTI_TRY(around_twice(r, at));
    LTI_TRY(add_id(r, at, json_array_get(json_object_get(post, "cls"), 1), r->tok->prefix, &r->tok->prefix_count));
    return add_id(r, at, json_array_get(json_object_get(post, "sep"), 1), r->tok->suffix, &r->tok->suffix_count);
}

lt_status lti_read_post_processor(const lti_reading *r, const char *at, json_t *node, int depth)
{
    json_t *list;
    if (lti_absent(node) || lti_is_type(node, "ByteLevel")) return LT_OK; /* that one only moves offsets */
    if (lti_is_type(node, "TemplateProcessing")) return read_template(r, at, node);
    if (lti_is_type(node, "BertProcessing") || lti_is_type(node, "RobertaProcessing")) return read_cls_sep(r, at, node);
    if (!lti_is_type(node, "Sequence")) return lti_unsupported(r, at, node);
    LTI_TRY(lti_read_sequence(r, at, node, "processors", depth, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        lti_place place = lti_place_of(at, "processors", i);
        LTI_TRY(lti_read_post_processor(r, place.text, json_array_get(list, i), depth + 1));
    }
    return LT_OK;
}

/* ---- tokenizer_config.json ---- */

/* A token given as "text" or {"content": "text"}. One the vocabulary lacks is an error only where ids are made of it:
 * files often name a padding token that they never added. */
static lt_status config_token(const lti_reading *r, json_t *root, const char *key, bool needed, int32_t *id)
{
    json_t *value = json_object_get(root, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (lti_absent(value)) return LT_OK;
    if (!json_is_string(value))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s must be a string, it is %s", r->path, key, lti_json_kind(value));
    int32_t found = lti_vocab_find(&r->tok->vocab, json_string_value(value), json_string_length(value));
    if (found < 0 && needed)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s '%.60s' is not in the vocabulary", r->path, key,
                        json_string_value(value));
    if (found >= 0) *id = found;
    return LT_OK;
}

/* "chat_template": text, or a list of {name, template} of which "default" is taken. */
static lt_status read_chat_template(const lti_reading *r, json_t *root)
{
    json_t *value = json_object_get(root, "chat_template"), *named = NULL;
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value) && !named; i++) {
            json_t *entry = json_array_get(value, i);
            const char *name = json_string_value(json_object_get(entry, "name"));
            if (name && strcmp(name, "default") == 0) named = json_object_get(entry, "template");
        }
        value = named;
    }
    if (lti_absent(value)) return LT_OK;
    if (!json_is_string(value))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: chat_template must be a string, it is %s", r->path,
                        lti_json_kind(value));
    char *copy = lti_strdup(r->ctx, json_string_value(value));
    if (!copy) return LT_ENOMEM;
    lti_free(r->ctx, r->tok->chat_template);
    r->tok->chat_template = copy;
    return LT_OK;
}

lt_status lti_tokenizer_config_json(lt_tokenizer *tokenizer, const char *path, json_t *root)
{
    lti_reading r = {tokenizer->ctx, path, tokenizer};
    LTI_TRY(config_token(&r, root, "bos_token", true, &tokenizer->bos));
    LTI_TRY(config_token(&r, root, "eos_token", true, &tokenizer->eos));
    LTI_TRY(config_token(&r, root, "pad_token", false, &tokenizer->pad));
    LTI_TRY(config_token(&r, root, "unk_token", false, &tokenizer->unknown));
    return read_chat_template(&r, root);
}

lt_status lti_tokenizer_config(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size)
{
    json_t *root;
    LTI_TRY(lti_json_parse(tokenizer->ctx, path, 0, bytes, size, &root));
    lt_status status = lti_tokenizer_config_json(tokenizer, path, root);
    json_decref(root);
    return status;
}
