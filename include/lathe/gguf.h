/* gguf.h - GGUF v3 files, as llama.cpp reads them: keys with values, then tensors; read in place and written.
 *
 * Files are untrusted (formats.h). The rules are the stricter ones of llama.cpp: what it would refuse, lathe does
 * not write; what it refuses, lathe refuses with the reason and the byte offset.
 *
 *     lt_gguf *g;
 *     if (lt_gguf_open(ctx, "model.gguf", &g) != LT_OK) return lt_ctx_status(ctx);
 *     uint64_t layers = 0;
 *     bool known = lt_gguf_uint(g, "llama.block_count", &layers);
 *     int i = lt_gguf_find(g, "output_norm.weight");
 *     lt_real norm[64];
 *     if (known && i >= 0 && lt_gguf_tensor(g, i)->elements == 64 && lt_gguf_load_real(g, i, norm) != LT_OK)
 *         return lt_ctx_status(ctx);
 *     lt_gguf_close(g);
 */
#ifndef LATHE_GGUF_H
#define LATHE_GGUF_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers as in the file. */
typedef enum lt_gguf_type {
    LT_GGUF_U8 = 0,
    LT_GGUF_I8,
    LT_GGUF_U16,
    LT_GGUF_I16,
    LT_GGUF_U32,
    LT_GGUF_I32,
    LT_GGUF_F32,
    LT_GGUF_BOOL,
    LT_GGUF_STRING,
    LT_GGUF_ARRAY,
    LT_GGUF_U64,
    LT_GGUF_I64,
    LT_GGUF_F64
} lt_gguf_type;
LT_API const char *lt_gguf_type_name(lt_gguf_type type); /* "u32"; "?" when unknown */

typedef struct lt_gguf_string {
    const char *text; /* not NUL-terminated when read from a file */
    int64_t bytes;
} lt_gguf_string;

/* One key and its value. Of a file that was read, pointers live until lt_gguf_close. */
typedef struct lt_gguf_pair {
    const char *key;
    lt_gguf_type type;
    lt_gguf_type item;             /* of an array; never LT_GGUF_ARRAY */
    int64_t count;                 /* of an array's items; 1 otherwise */
    const lt_gguf_string *strings; /* [count] when the type (or the item) is a string */
    const void *data;              /* else [count] little-endian numbers as stored, of any alignment */
} lt_gguf_pair;

typedef struct lt_gguf lt_gguf; /* one file, mapped; owned by the caller */

/* Versions 2 and 3.
 * Errors: LT_EIO, LT_EFORMAT (every rule, with the byte offset), LT_EUNSUPPORTED (big-endian, another version, a tensor
 * type whose size lathe does not know), LT_ENOMEM. Opening reads the header alone: pages of tensors are touched when they are used. */
LT_API LT_MUST_USE lt_status lt_gguf_open(lt_ctx *ctx, const char *path, lt_gguf **gguf);
LT_API void lt_gguf_close(lt_gguf *gguf); /* NULL is fine */
LT_API const char *lt_gguf_path(const lt_gguf *gguf);
/* Whether a file begins with GGUF's four bytes. */
LT_API bool lt_gguf_is(const char *path);

/* ---- Keys ---- */
LT_API int lt_gguf_pairs(const lt_gguf *gguf);
LT_API const lt_gguf_pair *lt_gguf_pair_at(const lt_gguf *gguf, int index);   /* in file order */
LT_API const lt_gguf_pair *lt_gguf_get(const lt_gguf *gguf, const char *key); /* NULL when there is none */
/* Any unsigned, or signed and not negative, whole number; any float (f32, f64) or whole number; a bool; a string.
 * False, and nothing written, when the key is absent or of another kind. */
LT_API bool lt_gguf_uint(const lt_gguf *gguf, const char *key, uint64_t *value);
LT_API bool lt_gguf_real(const lt_gguf *gguf, const char *key, double *value);
LT_API bool lt_gguf_bool(const lt_gguf *gguf, const char *key, bool *value);
LT_API bool lt_gguf_text(const lt_gguf *gguf, const char *key, lt_gguf_string *value);
/* Number `index` of an array (or of a single value, index 0) as a double, or as int64; false outside of the array and
 * for items of another kind. A bool is 0 or 1 as int64, and no double. */
LT_API bool lt_gguf_item_real(const lt_gguf_pair *pair, int64_t index, double *value);
LT_API bool lt_gguf_item_int(const lt_gguf_pair *pair, int64_t index, int64_t *value);

/* ---- Tensors ---- */
typedef struct lt_gguf_tensor_info {
    const char *name;
    lt_dtype type;         /* LT_F32 here means 4-byte floats, in every build */
    bool known;            /* false: a type lathe only knows the size of (i16, i64, f64, ...): `type` means nothing */
    const char *type_name; /* "q4_1", "f64" */
    int rank;              /* 0 to 4 */
    int64_t shape[4];      /* slowest axis first: the reverse of the file's order */
    int64_t elements;
    const void *data;       /* aligned as the file says, 32 bytes as a rule */
    uint64_t bytes, offset; /* offset: in the file */
} lt_gguf_tensor_info;
LT_API int lt_gguf_tensors(const lt_gguf *gguf);
LT_API int lt_gguf_find(const lt_gguf *gguf, const char *name); /* -1 */
LT_API const lt_gguf_tensor_info *lt_gguf_tensor(const lt_gguf *gguf, int index);
/* Decodes all elements, of any known floating or lattice type. LT_EUNSUPPORTED, LT_EINVAL. */
LT_API LT_MUST_USE lt_status lt_gguf_load_real(const lt_gguf *gguf, int index, lt_real *dst);

/* ---- Writing ---- */
typedef struct lt_gguf_entry {
    const char *name; /* at most 63 bytes, unique */
    lt_dtype type;    /* LT_F32: 4-byte floats */
    int rank;
    int64_t shape[4]; /* slowest first */
    const void *data; /* the stored bytes, or NULL when `make` gives them */
    /* Called when the tensor's turn has come: sets *bytes to what is to be written; valid until the next call. */
    lt_status (*make)(void *user, const void **bytes);
    void *user;
} lt_gguf_entry;

/* Writes version 3, keys and tensors in the given order, atomically (temp, fsync, rename). Tensors are aligned to 32
 * bytes, or as a pair general.alignment says (u32, a power of two from 8 to 65536).
 * Errors: LT_EINVAL (names, keys, shapes that llama.cpp would refuse), LT_EIO, LT_ENOMEM. `hash` as lt_tensors_write. */
LT_API LT_MUST_USE lt_status lt_gguf_write(lt_ctx *ctx, const char *path, const lt_gguf_pair *pairs, int n_pairs,
                                           const lt_gguf_entry *entries, int count, char hash[33]);

#ifdef __cplusplus
}
#endif
#endif
