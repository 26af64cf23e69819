/* arrays.c - lt_arrays: numeric data sets, whatever file they came in. What a file is, its first bytes tell. */
#include "base/rng.h"
#include "data/files.h"
#include "data/formats/arrays_file.h"
#include "data/sets/arrays_set.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

void lt_arrays_free(lt_ctx *ctx, lt_arrays *arrays)
{
    if (!arrays) return;
    lti_free(ctx, arrays->x);
    lti_free(ctx, arrays->y);
    lti_free(ctx, arrays);
}

/* Hash of both halves; classes. */
static void settle(lt_arrays *a)
{
    char part[66];
    a->classes = 0;
    for (int64_t i = 0; i < a->n; i++)
        if (a->y[i] >= a->classes) a->classes = a->y[i] + 1;
    lti_hash_bytes(a->x, (size_t)(a->n * a->d) * sizeof *a->x, part);
    lti_hash_bytes(a->y, (size_t)a->n * sizeof *a->y, part + 32);
    lti_hash_bytes(part, 64, a->hash);
}

/* Numbers as lt_real: takes them over, or converts integers. */
static lt_real *take_real(lt_ctx *ctx, lt_array *array)
{
    lt_real *x = array->real;
    array->real = NULL;
    if (x) return x;
    x = lti_alloc_array(ctx, (size_t)array->count, sizeof *x);
    for (int64_t i = 0; x && i < array->count; i++) x[i] = (lt_real)array->ints[i];
    return x;
}

lt_status lti_arrays_check(lt_ctx *ctx, const char *path, const lt_array *x, const lt_array *y)
{
    if (x->rank < 1 || x->count == 0) return lti_fail(ctx, LT_EFORMAT, "%s: the numbers have no rows", path);
    if (y->rank != 1 || !y->ints)
        return lti_fail(ctx, LT_EFORMAT, "%s: the labels must be a list of integers, they have %d dimensions%s", path,
                        y->rank, y->ints ? "" : " of fractions");
    if (x->shape[0] != y->shape[0])
        return lti_fail(ctx, LT_EFORMAT, "%s: %" PRId64 " rows of numbers but %" PRId64 " labels", path, x->shape[0],
                        y->shape[0]);
    for (int64_t i = 0; i < y->count; i++)
        if (y->ints[i] < 0 || y->ints[i] == INT32_MAX)
            return lti_fail(ctx, LT_EFORMAT, "%s: label %" PRId64 " is %d; classes are counted from 0", path, i,
                            y->ints[i]);
    for (int64_t i = 0; x->real && i < x->count; i++)
        if (!isfinite(x->real[i]))
            return lti_fail(ctx, LT_EFORMAT, "%s: number %" PRId64 " of row %" PRId64 " is not finite", path,
                            i % (x->count / x->shape[0]), i / (x->count / x->shape[0]));
    return LT_OK;
}

/* Makes the data set of two arrays, which are emptied. */
static lt_status combine(lt_ctx *ctx, const char *path, lt_array *x, lt_array *y, lt_arrays **arrays)
{
    LTI_TRY(lti_arrays_check(ctx, path, x, y));
    lt_arrays *a = lti_alloc(ctx, sizeof *a);
    if (!a) return LT_ENOMEM;
    a->n = x->shape[0];
    a->d = x->count / a->n;
    a->rank = x->rank > 1 ? x->rank - 1 : 1;
    a->shape[0] = 1;
    for (int i = 1; i < x->rank; i++) a->shape[i - 1] = x->shape[i];
    a->x = take_real(ctx, x);
    a->y = y->ints;
    y->ints = NULL;
    if (!a->x) {
        lt_arrays_free(ctx, a);
        return LT_ENOMEM;
    }
    settle(a);
    *arrays = a;
    return LT_OK;
}

lt_status lti_idx_labels(lt_ctx *ctx, const char *path, lt_array *y)
{
    static const char images[] = "images-idx3", labels[] = "labels-idx1";
    const char *slash = strrchr(path, '/'), *hit = strstr(slash ? slash : path, images);
    if (!hit)
        return lti_fail(ctx, LT_EINVAL,
                        "%s: its name does not hold \"%s\", so its labels cannot be found; rename the pair "
                        "to ...%s... and ...%s...",
                        path, images, images, labels);
    char *other = lti_strdup(ctx, path);
    if (!other) return LT_ENOMEM;
    memcpy(other + (hit - path), labels, sizeof labels - 1);
    lt_status status = lt_idx_read(ctx, other, y);
    lti_free(ctx, other);
    return status;
}

static bool is_hdf5(const char *path)
{
    char head[8] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = read(fd, head, sizeof head);
    close(fd);
    return n == sizeof head && memcmp(head, "\x89HDF\r\n\x1a\n", sizeof head) == 0;
}

static lt_status read_pair(lt_ctx *ctx, const char *path, lt_array *x, lt_array *y)
{
    if (is_hdf5(path)) {
        LTI_TRY(lt_h5_read(ctx, path, "/x", x));
        return lt_h5_read(ctx, path, "/y", y);
    }
    char *bytes;
    uint64_t size;
    LTI_TRY(lti_file_unpack(ctx, path, LTI_ARRAYS_LIMIT, &bytes, &size));
    lt_status status;
    bool idx = size >= 4 && bytes[0] == 0 && bytes[1] == 0;
    if (idx)
        status = lti_idx_parse(ctx, path, (const unsigned char *)bytes, size, x);
    else
        status = lti_csv_parse(ctx, path, bytes, size, x, y);
    lti_free(ctx, bytes);
    return status == LT_OK && idx ? lti_idx_labels(ctx, path, y) : status;
}

lt_status lt_arrays_open(lt_ctx *ctx, const char *path, lt_arrays **arrays)
{
    lt_array x = {0}, y = {0};
    *arrays = NULL;
    lt_status status = read_pair(ctx, path, &x, &y);
    if (status == LT_OK) status = combine(ctx, path, &x, &y, arrays);
    lt_array_free(ctx, &x);
    lt_array_free(ctx, &y);
    return status;
}

/* A copy of the rows order[0 .. n). */
static lt_arrays *pick(lt_ctx *ctx, const lt_arrays *from, const int64_t *order, int64_t n)
{
    lt_arrays *a = lti_alloc(ctx, sizeof *a);
    if (!a) return NULL;
    *a = *from;
    a->n = n;
    a->x = lti_alloc_array(ctx, (size_t)(n * a->d), sizeof *a->x);
    a->y = lti_alloc_array(ctx, (size_t)n, sizeof *a->y);
    if (!a->x || !a->y) {
        lt_arrays_free(ctx, a);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(a->x + i * a->d, from->x + order[i] * a->d, (size_t)a->d * sizeof *a->x);
        a->y[i] = from->y[order[i]];
    }
    settle(a);
    a->classes = from->classes; /* also when the rarest class fell to the other part */
    return a;
}

lt_status lt_arrays_split(lt_ctx *ctx, const lt_arrays *arrays, double fraction, uint64_t seed, lt_arrays **train,
                          lt_arrays **valid)
{
    *train = *valid = NULL;
    int64_t chosen = fraction > 0 && fraction < 1 ? (int64_t)floor((double)arrays->n * fraction + 0.5) : 0;
    if (chosen < 1 || chosen >= arrays->n)
        return lti_fail(ctx, LT_EINVAL, "splitting %" PRId64 " rows at %g leaves a part empty", arrays->n, fraction);
    int64_t *order = lti_alloc_array(ctx, (size_t)arrays->n, sizeof *order);
    if (!order) return LT_ENOMEM;
    lti_rng rng = {seed, lti_rng_stream("arrays/split"), 0};
    lti_rng_shuffle(&rng, arrays->n, order);
    *valid = pick(ctx, arrays, order, chosen);
    *train = *valid ? pick(ctx, arrays, order + chosen, arrays->n - chosen) : NULL;
    lti_free(ctx, order);
    if (*train) return LT_OK;
    lt_arrays_free(ctx, *valid);
    *valid = NULL;
    return LT_ENOMEM;
}
