/* reading.c - small readers that all parts of a tokenizer.json need. */
#include "data/tokenizer/reading.h"

#include <stdio.h>
#include <string.h>

lti_place lti_place_of(const char *at, const char *list, size_t index)
{
    lti_place place;
    snprintf(place.text, sizeof place.text, "%.100s.%.20s[%zu]", at, list, index);
    return place;
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

lt_status lti_unsupported(const lti_reading *r, const char *at, json_t *node)
{
    const char *type = json_is_object(node) ? json_string_value(json_object_get(node, "type")) : NULL;
    if (!type)
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s must be an object with a type, it is %s", r->path, at,
                        lti_json_kind(node));
    bool unigram = strcmp(type, "Unigram") == 0 || strcmp(type, "Precompiled") == 0 || strcmp(type, "Nmt") == 0;
    return lti_fail(r->ctx, LT_EUNSUPPORTED, "%s: %s '%.60s' is not implemented%s", r->path, at, type,
                    unigram ? " (SentencePiece Unigram); use a model with BPE or WordPiece" : "");
}

lt_status lti_read_flag(const lti_reading *r, const char *at, json_t *node, const char *key, bool otherwise,
                        bool *value)
{
    json_t *found = json_object_get(node, key);
    *value = json_is_boolean(found) ? json_is_true(found) : otherwise;
    if (lti_absent(found) || json_is_boolean(found)) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.%s must be true or false, it is %s", r->path, at, key,
                    lti_json_kind(found));
}

lt_status lti_read_string(const lti_reading *r, const char *at, json_t *node, const char *key, size_t least,
                          char **text, size_t *length)
{
    json_t *value = json_object_get(node, key);
    *length = json_string_length(value);
    if (!json_is_string(value))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.%s must be a string, it is %s", r->path, at, key,
                        lti_json_kind(value));
    if (*length < least || *length > 1024)
        return lti_fail(r->ctx, *length ? LT_ELIMIT : LT_EFORMAT, "%s: %s.%s has %zu bytes; %zu to 1024 are allowed",
                        r->path, at, key, *length, least);
    *text = lti_alloc(r->ctx, *length + 1);
    if (!*text) return LT_ENOMEM;
    memcpy(*text, json_string_value(value), *length);
    return LT_OK;
}

lt_status lti_read_pattern(const lti_reading *r, const char *at, json_t *node, const char **text, size_t *length,
                           bool *regex)
{
    json_t *pattern = json_object_get(node, "pattern"), *value = json_object_get(pattern, "String");
    *regex = !value;
    if (!value) value = json_object_get(pattern, "Regex");
    if (!json_is_string(value))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.pattern must be {\"String\": text} or {\"Regex\": text}", r->path,
                        at);
    *text = json_string_value(value);
    *length = json_string_length(value);
    if (*length == 0) return lti_fail(r->ctx, LT_EFORMAT, "%s: %s: its pattern is empty", r->path, at);
    if (*length <= 1024 || *regex) return LT_OK;
    return lti_fail(r->ctx, LT_ELIMIT, "%s: %s: its pattern has %zu bytes; at most 1024 are read", r->path, at,
                    *length);
}

lt_status lti_read_sequence(const lti_reading *r, const char *at, json_t *node, const char *members, int depth,
                            json_t **list)
{
    *list = json_object_get(node, members);
    if (json_is_array(*list) && depth <= 4) return LT_OK;
    return lti_fail(r->ctx, LT_EFORMAT, "%s: %s.%s is %s", r->path, at, members,
                    depth > 4 ? "nested too deeply" : "no array");
}
