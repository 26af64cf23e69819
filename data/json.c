/* json.c - see json.h. Jansson allocates by malloc: its memory is bounded by the size of the text it parses. */
#include "data/json.h"
#include "base/text.h"
#include "data/files.h"

#include <inttypes.h>
#include <string.h>

enum { LONG_NUMBER = 18 }; /* digits that always fit 64 bits */

static bool part_of_number(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* The text with whole numbers of more digits than an integer holds written as fractions ("123.0"): Hugging Face's
 * tokenizer_config.json means infinity by model_max_length 1000000000000000019884624838656. Everything else stays where
 * it is but for the two bytes a number grows by. */
static lt_status widen_numbers(lt_ctx *ctx, const char *bytes, size_t size, lti_text *out)
{
    bool in_string = false;
    for (size_t i = 0, n; i < size; i += n) {
        n = 1;
        if (in_string && bytes[i] == '\\' && i + 1 < size)
            n = 2;
        else if (bytes[i] == '"')
            in_string = !in_string;
        bool whole = !in_string && part_of_number(bytes[i]);
        for (n = whole ? 0 : n; whole && i + n < size && part_of_number(bytes[i + n]); n++) continue;
        lti_text_add(out, bytes + i, n);
        bool fraction =
            n > LONG_NUMBER && (memchr(bytes + i, '.', n) || memchr(bytes + i, 'e', n) || memchr(bytes + i, 'E', n));
        if (whole && n > LONG_NUMBER && !fraction) lti_text_add(out, ".0", 2);
    }
    return out->failed ? lti_fail(ctx, LT_ENOMEM, "out of memory while parsing JSON") : LT_OK;
}

static const size_t FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;

lt_status lti_json_parse(lt_ctx *ctx, const char *path, uint64_t offset, const char *bytes, size_t size, json_t **root)
{
    json_error_t error;
    *root = json_loadb(bytes, size, FLAGS, &error);
    if (!*root && json_error_code(&error) == json_error_numeric_overflow) {
        lti_text wide = {ctx};
        lt_status status = widen_numbers(ctx, bytes, size, &wide);
        if (status == LT_OK) *root = json_loadb(wide.data ? wide.data : "", wide.length, FLAGS, &error);
        lti_text_free(&wide);
        LTI_TRY(status);
    }
    if (*root) return LT_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", path);
    uint64_t at = offset + (uint64_t)(error.position > 0 ? error.position : 0);
    if (json_error_code(&error) == json_error_duplicate_key)
        return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 ": a key occurs twice: %s", path, at, error.text);
    return lti_fail(ctx, LT_EFORMAT, "%s: byte %" PRIu64 " (line %d): not JSON: %s", path, at, error.line, error.text);
}

json_t *lti_json_value(const char *bytes, size_t size, json_error_t *error)
{
    json_t *value = json_loadb(bytes, size, FLAGS | JSON_DECODE_ANY, error);
    if (value || json_error_code(error) != json_error_numeric_overflow) return value;
    return json_loadb(bytes, size, FLAGS | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, error);
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
