/* dtype.c - the table of element types, and status and version names. */
#include "base/ctx.h"

#include <string.h>

static const struct {
    const char *name;
    int64_t block;
    size_t bytes;
    int gguf;
} types[LT_DTYPE_COUNT] = {
#define LTI_DTYPE(type, name, block, bytes, gguf) [type] = {name, block, bytes, gguf},
#include "base/dtypes.def"
#undef LTI_DTYPE
};

static bool known(lt_dtype type)
{
    return (unsigned)type < LT_DTYPE_COUNT;
}

const char *lt_dtype_name(lt_dtype type)
{
    return known(type) ? types[type].name : "?";
}

bool lt_dtype_parse(const char *name, lt_dtype *type)
{
    for (int i = 0; i < LT_DTYPE_COUNT; i++)
        if (strcmp(name, types[i].name) == 0) {
            *type = (lt_dtype)i;
            return true;
        }
    return false;
}

int64_t lt_dtype_block(lt_dtype type)
{
    return known(type) ? types[type].block : 1;
}

size_t lt_dtype_bytes(lt_dtype type)
{
    return known(type) ? types[type].bytes : 0;
}

bool lt_dtype_is_lattice(lt_dtype type)
{
    return lt_dtype_block(type) > 1;
}

bool lti_dtype_size(lt_dtype type, int64_t count, size_t *bytes)
{
    if (!known(type) || count < 0 || count % types[type].block) return false;
    return !__builtin_mul_overflow((uint64_t)(count / types[type].block), types[type].bytes, bytes);
}

int lti_dtype_gguf(lt_dtype type)
{
    return known(type) ? types[type].gguf : -1;
}

bool lti_dtype_of_gguf(uint32_t number, lt_dtype *type)
{
    for (int i = 0; i < LT_DTYPE_COUNT; i++)
        if (types[i].gguf >= 0 && (uint32_t)types[i].gguf == number) {
            *type = (lt_dtype)i;
            return true;
        }
    return false;
}

const char *lt_status_name(lt_status status)
{
    static const char *const names[] = {
        [LT_OK] = "ok",
        [LT_ENOMEM] = "out of memory",
        [LT_EINVAL] = "invalid argument",
        [LT_EFORMAT] = "bad file",
        [LT_EIO] = "input/output error",
        [LT_EUNSUPPORTED] = "not supported",
        [LT_EPROVIDER] = "provider failed",
        [LT_ENONFINITE] = "not a finite number",
        [LT_ELIMIT] = "limit passed",
        [LT_EINTERRUPTED] = "interrupted",
    };
    return (unsigned)status < sizeof names / sizeof names[0] ? names[status] : "unknown status";
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *lt_version(void)
{
    return TEXT(LT_VERSION_MAJOR) "." TEXT(LT_VERSION_MINOR) "." TEXT(LT_VERSION_PATCH);
}
