/* arrays_file.h - parsers of numeric files whose (unpacked) bytes are in memory. */
#ifndef LTI_ARRAYS_FILE_H
#define LTI_ARRAYS_FILE_H

#include "base/ctx.h"
#include "lathe/formats.h"

#define LTI_ARRAYS_LIMIT (UINT64_C(4) << 30) /* unpacked bytes of one file */

/* `path` is for messages. lti_idx_header reads rank, shape and count alone, and checks that the elements are there. */
lt_status lti_idx_header(lt_ctx *ctx, const char *path, const unsigned char *bytes, uint64_t size, lt_array *array);
lt_status lti_idx_parse(lt_ctx *ctx, const char *path, const unsigned char *bytes, uint64_t size, lt_array *array);

/* Lines of numbers, comma-separated, the class (a whole number from 0) in the last column. `text` has a NUL after
 * `size` bytes. x is [n, d], y is [n]. */
lt_status lti_csv_parse(lt_ctx *ctx, const char *path, const char *text, uint64_t size, lt_array *x, lt_array *y);

#endif
