/* numbers_set.c - rows of numbers with a class, as a data set.
 *
 * Bytes of IDX files become numbers from 0 to 1, and only those of the part that is asked for: 60,000 images are 47 MB
 * as bytes and 188 MB as floats. Other files are opened as lt_arrays_open does, and the rows of the part moved together
 * in place. Validation draws rows by a fixed seed: neighbours of such files are often of one class or one writer, so a
 * tail would be no sample. */
#include "base/rng.h"
#include "base/text.h"
#include "data/files.h"
#include "data/formats/arrays_file.h"
#include "data/sets/arrays_set.h"
#include "data/sets/labelled_set.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>

enum { SPLIT_SEED = 1 };

const char *const lti_numbers_kinds[] = {
    "-images-idx3-ubyte.gz", "-images-idx3-ubyte", ".h5", ".hdf5", ".csv.gz", ".csv", ""};

static lt_status hash_numbers(lt_dataset *set)
{
    const lt_arrays *a = set->numbers;
    XXH3_state_t *state = XXH3_createState();
    if (!state) return lti_fail(set->ctx, LT_ENOMEM, "out of memory for the hash of a data set");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, a->shape, (size_t)a->rank * sizeof *a->shape);
    XXH3_128bits_update(state, &a->classes, sizeof a->classes);
    XXH3_128bits_update(state, a->x, (size_t)(a->n * a->d) * sizeof *a->x);
    XXH3_128bits_update(state, a->y, (size_t)a->n * sizeof *a->y);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    lti_hash_bytes(&hash, sizeof hash, set->hash);
    return LT_OK;
}

static lt_status finish(lt_dataset *set, const char *name)
{
    const lt_arrays *a = set->numbers;
    if (a->n < 1 || a->d < 1) return lti_fail(set->ctx, LT_EINVAL, "%s: there is no row of numbers", name);
    set->row_count = set->documents = set->predictions = a->n;
    set->longest = 1;
    set->classes = a->classes;
    return hash_numbers(set);
}

/* ---- Parts ---- */

/* Which rows are the part's: kept[i] is 1. */
static lt_status choose(lt_ctx *ctx, const char *path, int64_t n, lt_split split, double fraction, uint8_t **kept)
{
    bool valid = split == LT_SPLIT_VALID, whole = split == LT_SPLIT_ALL || (!valid && fraction == 0);
    int64_t chosen = (int64_t)floor((double)n * fraction + 0.5);
    *kept = NULL;
    if (valid && fraction == 0) return lti_fail(ctx, LT_EINVAL, "there is no validation part: valid_fraction is 0");
    if (!whole && (chosen < 1 || chosen >= n))
        return lti_fail(ctx, LT_EINVAL, "%s: %" PRId64 " rows cannot be divided at %g into training and validation",
                        path, n, fraction);
    *kept = lti_alloc(ctx, (size_t)n);
    if (!*kept) return LT_ENOMEM;
    memset(*kept, whole || !valid, (size_t)n);
    if (whole) return LT_OK;
    int64_t *order = lti_alloc_array(ctx, (size_t)n, sizeof *order);
    if (!order) {
        lti_free(ctx, *kept);
        *kept = NULL;
        return LT_ENOMEM;
    }
    lti_rng rng = {SPLIT_SEED, lti_rng_stream("arrays/split"), 0};
    lti_rng_shuffle(&rng, n, order);
    for (int64_t i = 0; i < chosen; i++) (*kept)[order[i]] = valid;
    lti_free(ctx, order);
    return LT_OK;
}

/* Moves the rows of the part together. A small part gets memory of its size. */
static lt_status compact(lt_ctx *ctx, lt_arrays *a, const uint8_t *kept)
{
    int64_t count = 0, n = a->n;
    size_t row = (size_t)a->d * sizeof *a->x;
    for (int64_t i = 0; i < n; i++) {
        if (!kept[i]) continue;
        if (count < i) memmove(a->x + count * a->d, a->x + i * a->d, row);
        a->y[count++] = a->y[i];
    }
    a->n = count;
    if (count > n / 2) return LT_OK;
    lt_real *x = lti_realloc(ctx, a->x, (size_t)count * row, (size_t)count * row);
    if (!x) return LT_ENOMEM;
    a->x = x;
    return LT_OK;
}

/* ---- Images of bytes ---- */

/* Whether the file, packed or not, is an IDX file of bytes. */
static bool is_bytes(const char *path)
{
    unsigned char head[4] = {1};
    gzFile file = gzopen(path, "rb");
    if (!file) return false;
    int n = gzread(file, head, sizeof head);
    gzclose(file);
    return n == sizeof head && !head[0] && !head[1] && head[2] == 0x08;
}

/* The rows of the part, from elements that lie at `bytes`; x's shape is that of all. */
static lt_status take_images(lt_dataset *set, const unsigned char *bytes, const lt_array *x, const lt_array *y,
                             const uint8_t *kept)
{
    lt_arrays *a = set->numbers = lti_alloc(set->ctx, sizeof *a);
    if (!a) return LT_ENOMEM;
    *a = (lt_arrays){.d = x->count / x->shape[0], .rank = x->rank > 1 ? x->rank - 1 : 1, .shape = {1}};
    for (int i = 1; i < x->rank; i++) a->shape[i - 1] = x->shape[i];
    for (int64_t i = 0; i < x->shape[0]; i++) {
        a->n += kept[i];
        if (y->ints[i] >= a->classes) a->classes = y->ints[i] + 1;
    }
    a->x = lti_alloc_array(set->ctx, (size_t)(a->n * a->d), sizeof *a->x);
    a->y = lti_alloc_array(set->ctx, (size_t)a->n, sizeof *a->y);
    if (!a->x || !a->y) return LT_ENOMEM;
    for (int64_t i = 0, to = 0; i < x->shape[0]; i++) {
        if (!kept[i]) continue;
        for (int64_t k = 0; k < a->d; k++) a->x[to * a->d + k] = (lt_real)bytes[i * a->d + k] / 255;
        a->y[to++] = y->ints[i];
    }
    return LT_OK;
}

static lt_status fill_images(lt_dataset *set, const char *path, lt_split split, double fraction)
{
    lt_ctx *ctx = set->ctx;
    lt_array x = {0}, y = {0};
    char *bytes;
    uint64_t size;
    uint8_t *kept = NULL;
    LTI_TRY(lti_file_unpack(ctx, path, LTI_ARRAYS_LIMIT, &bytes, &size));
    lt_status status = lti_idx_header(ctx, path, (const unsigned char *)bytes, size, &x);
    if (status == LT_OK) status = lti_idx_labels(ctx, path, &y);
    if (status == LT_OK) status = lti_arrays_check(ctx, path, &x, &y);
    if (status == LT_OK) status = choose(ctx, path, x.shape[0], split, fraction, &kept);
    if (status == LT_OK) status = take_images(set, (const unsigned char *)bytes + 4 + 4 * x.rank, &x, &y, kept);
    lt_array_free(ctx, &y);
    lti_free(ctx, kept);
    lti_free(ctx, bytes);
    return status;
}

/* ---- Opening ---- */

static lt_status fill_arrays(lt_dataset *set, const char *path, lt_split split, double fraction)
{
    uint8_t *kept = NULL;
    LTI_TRY(lt_arrays_open(set->ctx, path, &set->numbers));
    LTI_TRY(choose(set->ctx, path, set->numbers->n, split, fraction, &kept));
    lt_status status = compact(set->ctx, set->numbers, kept);
    lti_free(set->ctx, kept);
    return status;
}

static lt_status fill(lt_dataset *set, const char *path, lt_split split, double fraction)
{
    LTI_TRY(is_bytes(path) ? fill_images(set, path, split, fraction) : fill_arrays(set, path, split, fraction));
    return finish(set, path);
}

lt_status lt_dataset_open_numbers(lt_ctx *ctx, const char *path, const lt_dataset_options *options,
                                  lt_dataset **dataset)
{
    lt_dataset *set;
    lt_dataset_options defaults;
    char *file;
    lt_split split;
    *dataset = NULL;
    lt_dataset_options_init(&defaults);
    if (!options) options = &defaults;
    LTI_TRY(lti_set_options(ctx, NULL, options));
    LTI_TRY(lti_set_part(ctx, path, lti_numbers_kinds, "t10k", options->split, &file, &split));
    lt_status status = lti_set_new(ctx, LT_DATA_NUMBERS, "numbers", &set);
    if (status == LT_OK) status = lti_set_done(set, fill(set, file, split, options->valid_fraction), dataset);
    lti_free(ctx, file);
    return status;
}

static lt_status copy(lt_dataset *set, const lt_arrays *from)
{
    lt_ctx *ctx = set->ctx;
    int64_t d = 1;
    for (int i = 0; i < from->rank; i++) d *= from->shape[i];
    if (from->n < 1 || from->d < 1 || from->rank < 1 || from->rank >= LT_MAX_RANK || d != from->d)
        return lti_fail(ctx, LT_EINVAL, "arrays of %" PRId64 " rows of %" PRId64 " numbers do not have their shape",
                        from->n, from->d);
    for (int64_t i = 0; i < from->n; i++)
        if (from->y[i] < 0 || from->y[i] >= from->classes)
            return lti_fail(ctx, LT_EINVAL, "row %" PRId64 " has class %d of %d", i, (int)from->y[i],
                            (int)from->classes);
    lt_arrays *a = set->numbers = lti_alloc(ctx, sizeof *a);
    if (!a) return LT_ENOMEM;
    *a = *from;
    a->x = lti_alloc_array(ctx, (size_t)(a->n * a->d), sizeof *a->x);
    a->y = lti_alloc_array(ctx, (size_t)a->n, sizeof *a->y);
    if (!a->x || !a->y) return LT_ENOMEM;
    memcpy(a->x, from->x, (size_t)(a->n * a->d) * sizeof *a->x);
    memcpy(a->y, from->y, (size_t)a->n * sizeof *a->y);
    return finish(set, "arrays in memory");
}

lt_status lt_dataset_from_arrays(lt_ctx *ctx, const lt_arrays *arrays, lt_dataset **dataset)
{
    lt_dataset *set;
    *dataset = NULL;
    LTI_TRY(lti_set_new(ctx, LT_DATA_NUMBERS, "numbers", &set));
    return lti_set_done(set, copy(set, arrays), dataset);
}
