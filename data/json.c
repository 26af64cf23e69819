/* json.c - see json.h. Jansson allocates by malloc: its memory is bounded by the size of the text it parses. */
#include "data/json.h"
#include "data/files.h"

#include <inttypes.h>

lt_status lti_json_parse(lt_ctx *ctx, const char *path, uint64_t offset, const char *bytes, size_t size, json_t **root)
{
    json_error_t error;
    *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (*root) return LT_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", path);
    uint64_t at = offset + (uint64_t)(error.position > 0 ? error.position : 0);
    if (json_error_code(&error) == json_error_duplicate_key)
        return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 ": a key occurs twice: %s", path, at, error.text);
    return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 " (line %d): not JSON: %s", path, at, error.line, error.text);
}

lt_status lti_json_read(lt_ctx *ctx, const char *path, uint64_t limit, json_t **root)
{
    char *bytes;
    uint64_t size;
    LTI_TRY(lti_file_read(ctx, path, limit, &bytes, &size));
    lt_status status = lti_json_parse(ctx, path, 0, bytes, size, root);
    lti_free(ctx, bytes);
    if (status != LT_OK || json_is_object(*root)) return status;
    status =
        lti_fail(ctx, LT_EFORMAT, "%s: byte 0: an object {...} was expected, it is %s", path, lti_json_kind(*root));
    json_decref(*root);
    *root = NULL;
    return status;
}

const char *lti_json_kind(const json_t *value)
{
    if (!value) return "missing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "of an unknown kind";
}
