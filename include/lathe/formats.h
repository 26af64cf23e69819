/* formats.h - files of tensors: safetensors and HDF5 (read and written), IDX and CSV (read).
 *
 * Files are untrusted: whatever they hold, the answer is data or a sentence that names the file, the tensor and the
 * byte offset. Nothing is allocated on the word of a file before the size of the file has confirmed it.
 *
 *     lt_tensors *t;
 *     if (lt_tensors_open(ctx, "model", &t) != LT_OK) return lt_ctx_status(ctx);
 *     int i = lt_tensors_find(t, "model.norm.weight");
 *     lt_real norm[64];
 *     if (i >= 0 && lt_tensors_elements(t, i) == 64 && lt_tensors_load_real(t, i, norm) != LT_OK)
 *         return lt_ctx_status(ctx);
 *     lt_tensors_close(t);
 */
#ifndef LATHE_FORMATS_H
#define LATHE_FORMATS_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of safetensors, in the order the format sorts by: a later one is aligned at least as strictly. */
typedef enum lt_stored {
    LT_STORED_BOOL = 0,
    LT_STORED_F4,
    LT_STORED_F6_E2M3,
    LT_STORED_F6_E3M2,
    LT_STORED_U8, /* also the bytes of block lattices */
    LT_STORED_I8,
    LT_STORED_F8_E5M2,
    LT_STORED_F8_E4M3,
    LT_STORED_F8_E8M0,
    LT_STORED_F8_E4M3FNUZ,
    LT_STORED_F8_E5M2FNUZ,
    LT_STORED_I16,
    LT_STORED_U16,
    LT_STORED_F16,
    LT_STORED_BF16,
    LT_STORED_I32,
    LT_STORED_U32,
    LT_STORED_F32,
    LT_STORED_C64,
    LT_STORED_F64,
    LT_STORED_I64,
    LT_STORED_U64,
    LT_STORED_COUNT
} lt_stored;

/* What keeps an lt_real bit for bit. */
#ifdef LT_REAL_IS_DOUBLE
#define LT_STORED_REAL LT_STORED_F64
#else
#define LT_STORED_REAL LT_STORED_F32
#endif

LT_API const char *lt_stored_name(lt_stored type); /* "BF16"; "?" when unknown */
LT_API bool lt_stored_parse(const char *name, lt_stored *type);
LT_API int lt_stored_bits(lt_stored type); /* bits an element: 4, 6, 8, 16, 32 or 64 */

/* ---- Reading safetensors ---- */

typedef struct lt_tensors lt_tensors; /* one file or a set of shards, mapped; owned by the caller */

/* Opens a .safetensors file, a model.safetensors.index.json with its shards, or a directory that holds
 * model.safetensors, model.safetensors.index.json or adapter_model.safetensors (looked for in this order). The files
 * must not be shortened while they are open.
 * Errors: LT_EIO, LT_EFORMAT (every rule of the format, with the byte offset), LT_EUNSUPPORTED, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_tensors_open(lt_ctx *ctx, const char *path, lt_tensors **tensors);
LT_API void lt_tensors_close(lt_tensors *tensors); /* NULL is fine */

LT_API int lt_tensors_count(const lt_tensors *tensors);
LT_API int lt_tensors_find(const lt_tensors *tensors, const char *name); /* index, or -1 */

/* Of tensor `index` in [0, count): in order of shard, then of offset. Pointers live until lt_tensors_close. */
LT_API const char *lt_tensors_name(const lt_tensors *tensors, int index);
LT_API lt_stored lt_tensors_dtype(const lt_tensors *tensors, int index);
LT_API int lt_tensors_rank(const lt_tensors *tensors, int index); /* any rank >= 0: may pass LT_MAX_RANK */
LT_API const int64_t *lt_tensors_shape(const lt_tensors *tensors, int index);
LT_API int64_t lt_tensors_elements(const lt_tensors *tensors, int index);
LT_API const void *lt_tensors_data(const lt_tensors *tensors, int index); /* row-major; of any alignment */
LT_API uint64_t lt_tensors_bytes(const lt_tensors *tensors, int index);
LT_API const char *lt_tensors_file(const lt_tensors *tensors, int index); /* path of the file it lies in */
LT_API uint64_t lt_tensors_offset(const lt_tensors *tensors, int index);  /* byte offset in that file */

/* The value of a key of `__metadata__`, or NULL. Of shards the first that has the key counts. */
LT_API const char *lt_tensors_metadata(const lt_tensors *tensors, const char *key);

/* Converts all elements of an F32, F16, BF16 or F64 tensor to dst[elements]. Others: LT_EUNSUPPORTED. */
LT_API LT_MUST_USE lt_status lt_tensors_load_real(const lt_tensors *tensors, int index, lt_real *dst);

/* ---- Writing safetensors ---- */

/* One tensor to write, from exactly one of three sources, all row-major. */
typedef struct lt_tensor_entry {
    const char *name; /* UTF-8, not empty, unique */
    lt_stored dtype;
    int rank;
    const int64_t *shape;
    const void *data;    /* the stored bytes themselves, or NULL */
    const lt_real *real; /* or elements to convert to F32, F16, BF16 or F64 while writing (to nearest even) */
    /* Or called when the tensor's turn has come: sets *bytes to the stored bytes; valid until the next call. */
    lt_status (*make)(void *user, const void **bytes);
    void *user;
} lt_tensor_entry;

typedef struct lt_pair {
    const char *key, *value;
} lt_pair;

/* Writes the file beside its place, fsyncs and renames: an old file of that name stays whole until the new one is.
 * The bytes depend on the content alone, not on the order of `entries`. `metadata` (may be NULL) goes to
 * `__metadata__`, with format=pt unless it says otherwise. `hash` (may be NULL) gets the file's XXH3-128 as 32 hex
 * digits and a NUL. Nothing is copied as a whole.
 * Errors: LT_EINVAL (names, shapes, sources), LT_EIO, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_tensors_write(lt_ctx *ctx, const char *path, const lt_tensor_entry *entries, int count,
                                              const lt_pair *metadata, int pairs, char hash[33]);

/* XXH3-128 of a file's bytes as 32 hex digits and a NUL (what `xxhsum -H2` prints). LT_EIO. */
LT_API LT_MUST_USE lt_status lt_file_hash(lt_ctx *ctx, const char *path, char hash[33]);

/* ---- Arrays from other formats ---- */

/* Numbers as they were read: floating point in `real`, integers in `ints`; the other one is NULL. */
typedef struct lt_array {
    int rank;
    int64_t shape[LT_MAX_RANK];
    int64_t count; /* product of the shape */
    lt_real *real;
    int32_t *ints;
} lt_array;

LT_API void lt_array_free(lt_ctx *ctx, lt_array *array); /* a zeroed array is fine */

/* Reads an IDX file (MNIST's format), plain or gzip. Errors: LT_EIO, LT_EFORMAT, LT_EUNSUPPORTED, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_idx_read(lt_ctx *ctx, const char *path, lt_array *array);

/* ---- HDF5 ----
 *
 * libhdf5 runs in the helper program lathe-h5, looked for in $LT_H5_HELPER, beside the running program, in ../libexec
 * and .. of it, and where it was installed. A file that crashes it is a damaged file, not a crash, and one that keeps
 * it busy for more than $LT_H5_SECONDS (60) is an error. Read are integers of 1 to 8 bytes, IEEE floats of 2, 4 and 8,
 * bfloat16 and h5py's booleans, of either byte order; contiguous, compact, or chunked with deflate, shuffle,
 * fletcher32, scale-offset. Soft and external links, virtual datasets and external storage are never followed. */

/* Reads one numeric dataset ("/group/name") of rank <= LT_MAX_RANK; each integer must fit 32 bits.
 * Errors: LT_EIO, LT_EFORMAT, LT_EUNSUPPORTED, LT_ELIMIT, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_h5_read(lt_ctx *ctx, const char *path, const char *dataset, lt_array *array);

typedef struct lt_h5 lt_h5; /* an open file and the helper that reads it; for one thread at a time */

/* Opens a file and lists every dataset in all its groups. What is sound but no tensor (compounds, strings, links, ...)
 * is in lt_h5_skipped; what is damaged refuses the file, with the object's name.
 * Errors: LT_EIO, LT_EFORMAT, LT_ELIMIT, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_h5_open(lt_ctx *ctx, const char *path, lt_h5 **file);
LT_API void lt_h5_close(lt_h5 *file); /* NULL is fine */

LT_API int lt_h5_count(const lt_h5 *file);
LT_API int lt_h5_find(const lt_h5 *file, const char *name); /* index, or -1 */

/* Of tensor `index` in [0, count), sorted by name. Pointers live until lt_h5_close. */
LT_API const char *lt_h5_name(const lt_h5 *file, int index); /* "group/name" */
LT_API lt_stored lt_h5_dtype(const lt_h5 *file, int index);
LT_API int lt_h5_rank(const lt_h5 *file, int index); /* 0 to 32: may pass LT_MAX_RANK */
LT_API const int64_t *lt_h5_shape(const lt_h5 *file, int index);
LT_API int64_t lt_h5_elements(const lt_h5 *file, int index);
LT_API uint64_t lt_h5_bytes(const lt_h5 *file, int index); /* of the elements, as lt_h5_load gives them */

/* "name: why\n" of each object that is not listed; "" when there is none. */
LT_API const char *lt_h5_skipped(const lt_h5 *file);
/* The root group's string attributes, sorted by key. */
LT_API const lt_pair *lt_h5_metadata(const lt_h5 *file, int *pairs);

/* Reads the elements, row-major and little-endian, to bytes[lt_h5_bytes]; or as numbers to dst[elements] (F32, F16,
 * BF16 and F64). Errors: LT_EIO, LT_EFORMAT, LT_EUNSUPPORTED (types), LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_h5_load(lt_h5 *file, int index, void *bytes);
LT_API LT_MUST_USE lt_status lt_h5_load_real(lt_h5 *file, int index, lt_real *dst);

/* lt_tensors_write for HDF5: a dataset a tensor ('/' in a name makes groups), `metadata` as string attributes of the
 * root group (at most 64,000 bytes each). Every byte of the file is under a checksum that readers verify. bfloat16 and
 * 8-bit floats are stored as unsigned integers with their name in an attribute "dtype"; F4, F6 and C64 are refused.
 * Errors: LT_EINVAL (names, shapes, sources), LT_EUNSUPPORTED (types), LT_ELIMIT, LT_EIO, LT_ENOMEM. */
LT_API LT_MUST_USE lt_status lt_h5_write(lt_ctx *ctx, const char *path, const lt_tensor_entry *entries, int count,
                                         const lt_pair *metadata, int pairs, char hash[33]);

/* Writes the tensors of one file as another: .safetensors (or its directory), .h5, .gguf. Lattices are decoded to f32
 * outside GGUF files; a GGUF file made here holds tensors without keys. `report` (may be NULL): free with
 * lt_buffer_free. Errors: those of reading and writing; LT_EUNSUPPORTED for types the other format lacks. */
LT_API LT_MUST_USE lt_status lt_tensors_convert(lt_ctx *ctx, const char *in, const char *out, char **report);

#ifdef __cplusplus
}
#endif
#endif
