/* tokenizer_steps.c - the parts of a tokenizer.json around the model: what is done to text before and after it.
 *
 * A step that is not implemented is refused by name (see tokenizer_json.c). */
#include "data/tokenizer/reading.h"

#include <string.h>

lt_status lti_unsupported(const lti_reading *r, const char *what, json_t *node)
{
    const char *type = json_is_object(node) ? json_string_value(json_object_get(node, "type")) : NULL;
    return lti_fail(r->ctx, type ? LT_EUNSUPPORTED : LT_EFORMAT, "%s: %s '%.60s' is %s", r->path, what,
                    type ? type : lti_json_kind(node), type ? "not implemented" : "no object with a type");
}

bool lti_is_type(json_t *node, const char *type)
{
    const char *found = json_is_object(node) ? json_string_value(json_object_get(node, "type")) : NULL;
    return found && strcmp(found, type) == 0;
}

bool lti_absent(json_t *value)
{
    return !value || json_is_null(value);
}

/* ---- Steps ---- */

static lt_status copy_string(const lti_reading *r, const char *what, json_t *value, char **text, size_t *length)
{
    *length = json_string_length(value);
    if (!json_is_string(value) || *length > 1024)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s must be a string of at most 1024 bytes, it is %s", r->path, what,
                        lti_json_kind(value));
    *text = lti_alloc(r->ctx, *length + 1);
    if (!*text) return LT_ENOMEM;
    memcpy(*text, json_string_value(value), *length);
    return LT_OK;
}

static lt_status read_strip(const lti_reading *r, json_t *node, lti_step *step)
{
    json_t *left = json_object_get(node, "start"), *right = json_object_get(node, "stop");
    if (!json_is_integer(left) || !json_is_integer(right) || json_integer_value(left) < 0 ||
        json_integer_value(left) > INT32_MAX || json_integer_value(right) < 0 || json_integer_value(right) > INT32_MAX)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: decoder Strip: start and stop must be whole numbers", r->path);
    step->kind = LTI_STRIP;
    step->left = (int32_t)json_integer_value(left);
    step->right = (int32_t)json_integer_value(right);
    LTI_TRY(copy_string(r, "decoder Strip: content", json_object_get(node, "content"), &step->content,
                        &step->content_length));
    if (step->content_length) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: decoder Strip: content is empty", r->path);
}

static lt_status read_replace(const lti_reading *r, json_t *node, lti_step *step)
{
    json_t *pattern = json_object_get(node, "pattern"), *text = json_object_get(pattern, "String");
    step->kind = LTI_REPLACE;
    if (!text && json_object_get(pattern, "Regex"))
        return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: Replace by a regular expression is not implemented", r->path);
    LTI_TRY(copy_string(r, "Replace: pattern", text, &step->pattern, &step->pattern_length));
    LTI_TRY(
        copy_string(r, "Replace: content", json_object_get(node, "content"), &step->content, &step->content_length));
    if (step->pattern_length) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: Replace: the pattern is empty", r->path);
}

/* One node of a normalizer or decoder; a Sequence adds its members. */
static lt_status read_step(const lti_reading *r, const char *what, const char *members, json_t *node, lti_steps *steps,
                           int depth)
{
    bool decoder = steps == &r->tok->decode;
    if (lti_is_type(node, "Sequence")) {
        json_t *list = json_object_get(node, members);
        if (!json_is_array(list) || depth > 4)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: %s Sequence: %s is %s", r->path, what, members,
                            depth > 4 ? "nested too deeply" : "no array");
        for (size_t i = 0; i < json_array_size(list); i++)
            LTI_TRY(read_step(r, what, members, json_array_get(list, i), steps, depth + 1));
        return LT_OK;
    }
    if (steps->count == LTI_STEPS)
        return lti_fail(r->ctx, LT_ELIMIT, "%s: more than %d steps in the %s", r->path, LTI_STEPS, what);
    lti_step *step = &steps->list[steps->count++];
    if (lti_is_type(node, "Replace")) return read_replace(r, node, step);
    if (decoder && lti_is_type(node, "Strip")) return read_strip(r, node, step);
    if (decoder && lti_is_type(node, "ByteFallback")) return step->kind = LTI_BYTES, LT_OK;
    if (decoder && lti_is_type(node, "Fuse")) return step->kind = LTI_FUSE, LT_OK;
    if (decoder && r->tok->bpe.byte_level && lti_is_type(node, "ByteLevel")) return step->kind = LTI_FUSE, LT_OK;
    if (!decoder && lti_is_type(node, "Prepend")) {
        step->kind = LTI_PREPEND;
        return copy_string(r, "normalizer Prepend", json_object_get(node, "prepend"), &step->content,
                           &step->content_length);
    }
    return lti_unsupported(r, what, node);
}

lt_status lti_read_steps(const lti_reading *r, json_t *root)
{
    json_t *normalizer = json_object_get(root, "normalizer"), *decoder = json_object_get(root, "decoder");
    if (!lti_absent(normalizer)) LTI_TRY(read_step(r, "normalizer", "normalizers", normalizer, &r->tok->normalize, 0));
    if (!lti_absent(decoder)) return read_step(r, "decoder", "decoders", decoder, &r->tok->decode, 0);
    r->tok->joins_by_blank = !r->tok->bpe.byte_level;
    return LT_OK;
}

/* Byte-level without a pattern cuts nothing: it only says how tokens are spelled. */
lt_status lti_read_pre_tokenizer(const lti_reading *r, json_t *node)
{
    if (lti_absent(node)) return LT_OK;
    if (!lti_is_type(node, "ByteLevel")) return lti_unsupported(r, "pre-tokenizer", node);
    json_t *pattern = json_object_get(node, "use_regex");
    if (json_is_true(json_object_get(node, "add_prefix_space")) || !json_is_false(pattern))
        return lti_fail(r->ctx, LT_EUNSUPPORTED,
                        "%s: pre-tokenizer 'ByteLevel' with a splitting pattern or add_prefix_space is not implemented",
                        r->path);
    r->tok->bpe.byte_level = true;
    return LT_OK;
}

/* ---- What is put around a text ---- */

static lt_status template_token(const lti_reading *r, json_t *post, json_t *piece, int32_t *ids, int *count)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    json_t *entry = name ? json_object_get(json_object_get(post, "special_tokens"), name) : NULL;
    json_t *list = json_object_get(entry, "ids");
    if (!json_is_array(list))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: post-processor: special token '%.60s' has no ids", r->path,
                        name ? name : "?");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= r->tok->vocab.count)
            return lti_fail(r->ctx, LT_EFORMAT, "%s: post-processor: an id of '%.60s' is not in the vocabulary",
                            r->path, name);
        if (*count == LTI_TEMPLATE)
            return lti_fail(r->ctx, LT_ELIMIT, "%s: post-processor: more than %d tokens on one side", r->path,
                            LTI_TEMPLATE);
        ids[(*count)++] = (int32_t)json_integer_value(id);
    }
    return LT_OK;
}

static lt_status read_template(const lti_reading *r, json_t *post)
{
    json_t *single = json_object_get(post, "single");
    bool seen = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        json_t *piece = json_array_get(single, i), *token = json_object_get(piece, "SpecialToken");
        if (token && seen)
            LTI_TRY(template_token(r, post, token, r->tok->suffix, &r->tok->suffix_count));
        else if (token)
            LTI_TRY(template_token(r, post, token, r->tok->prefix, &r->tok->prefix_count));
        else if (!json_object_get(piece, "Sequence") || seen)
            return lti_fail(r->ctx, LT_EFORMAT,
                            "%s: post-processor: piece %zu of `single` is neither a special token nor "
                            "the one sequence",
                            r->path, i);
        else
            seen = true;
    }
    if (seen) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: post-processor: `single` has no sequence", r->path);
}

lt_status lti_read_post_processor(const lti_reading *r, json_t *node, int depth)
{
    if (lti_absent(node) || lti_is_type(node, "ByteLevel")) return LT_OK; /* that one only moves offsets */
    if (lti_is_type(node, "TemplateProcessing")) return read_template(r, node);
    if (!lti_is_type(node, "Sequence") || depth > 4) return lti_unsupported(r, "post-processor", node);
    json_t *list = json_object_get(node, "processors");
    for (size_t i = 0; i < json_array_size(list); i++)
        LTI_TRY(lti_read_post_processor(r, json_array_get(list, i), depth + 1));
    return LT_OK;
}

/* A token given as "text" or {"content": "text"}. */
static lt_status config_token(const lti_reading *r, json_t *root, const char *key, int32_t *id)
{
    json_t *value = json_object_get(root, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (lti_absent(value)) return LT_OK;
    if (!json_is_string(value))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s must be a string, it is %s", r->path, key, lti_json_kind(value));
    *id = lt_tokenizer_find(r->tok, json_string_value(value));
    if (*id >= 0) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: %s '%.60s' is not in the vocabulary", r->path, key,
                    json_string_value(value));
}

lt_status lti_tokenizer_config(lt_tokenizer *tokenizer, const char *path, const char *bytes, size_t size)
{
    lti_reading r = {tokenizer->ctx, path, tokenizer};
    json_t *root;
    LTI_TRY(lti_json_parse(r.ctx, path, 0, bytes, size, &root));
    lt_status status = config_token(&r, root, "bos_token", &tokenizer->bos);
    if (status == LT_OK) status = config_token(&r, root, "eos_token", &tokenizer->eos);
    json_decref(root);
    return status;
}
