/* ctx.h - inside of a context: how the library fails and how it allocates. */
#ifndef LTI_CTX_H
#define LTI_CTX_H

#include "lathe/base.h"

#define LTI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define LTI_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Records the failure and returns `status`, so that `return lti_fail(...)` reads well. Cannot itself fail. */
lt_status lti_fail(lt_ctx *ctx, lt_status status, const char *format, ...) LTI_PRINTF(3, 4);

/* Puts "prefix: " before the message of the failure that is already recorded, and returns its status. */
lt_status lti_fail_in(lt_ctx *ctx, const char *format, ...) LTI_PRINTF(2, 3);

/* 64-byte aligned, zeroed. NULL and LT_ENOMEM in the context when memory is out. bytes == 0 gives a valid block. */
void *lti_alloc(lt_ctx *ctx, size_t bytes);
/* count * size, with the product checked. */
void *lti_alloc_array(lt_ctx *ctx, size_t count, size_t size);
/* Keeps the first `old_bytes`. On failure the old block stays as it is and NULL is returned. */
void *lti_realloc(lt_ctx *ctx, void *memory, size_t old_bytes, size_t new_bytes);
char *lti_strdup(lt_ctx *ctx, const char *text);
void lti_free(lt_ctx *ctx, void *memory); /* NULL is fine */

/* Bytes of `count` elements of a type; false when it overflows or count is no multiple of the block. */
bool lti_dtype_size(lt_dtype type, int64_t count, size_t *bytes);

/* A type's number in GGUF files, -1 for none; and back, false for a number lathe does not know. */
int lti_dtype_gguf(lt_dtype type);
bool lti_dtype_of_gguf(uint32_t number, lt_dtype *type);

/* Leaves the enclosing function with the status when `call` fails. */
#define LTI_TRY(call)                                                                                                  \
    do {                                                                                                               \
        lt_status lti_try_status = (call);                                                                             \
        if (lti_try_status != LT_OK) return lti_try_status;                                                            \
    } while (0)

#endif
