/* packed_file.c - packed tensors (packed_grids.h) of a .safetensors file.
 *
 * The metadata have "type:NAME", the grid in its own words, and "shape:NAME" = "64x172": bytes a row do not tell how many
 * codes of 3 bits they hold. Sizes follow from these and are compared with the file's before anything is allocated. */
#include "base/text.h"
#include "qat/packed_bits.h"
#include "train/packed_grids.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    lt_ctx *ctx;
    const lt_tensors *file;
    const char *path, *name, *type; /* of the tensor at hand */
    lti_packgrid *g;
    int at[LTI_PACKGRID_PARTS]; /* parts in the file */
    lti_packgrid_part parts[LTI_PACKGRID_PARTS];
    int n;
} reader;

/* The index of the part with what stands behind its name, or -1. */
static int find(const lt_tensors *file, const char *name, const char *suffix)
{
    char full[LTI_PACKGRID_NAME];
    int n = snprintf(full, sizeof full, "%s%s", name, suffix);
    return n < 0 || (size_t)n >= sizeof full ? -1 : lt_tensors_find(file, full);
}

/* The value of "what:NAME", or NULL. */
static const char *metadata_of(const lt_tensors *file, const char *what, const char *name)
{
    char key[LTI_PACKGRID_NAME];
    int n = snprintf(key, sizeof key, "%s:%s", what, name);
    return n < 0 || (size_t)n >= sizeof key ? NULL : lt_tensors_metadata(file, key);
}

const char *lti_packgrid_scheme(lt_ctx *ctx, const lt_tensors *file, const char *name, lt_scheme *scheme)
{
    const char *type = metadata_of(file, "type", name);
    *scheme = lt_scheme_of(LT_F32);
    if (type && lt_scheme_parse(ctx, type, scheme) != LT_OK) lt_ctx_clear(ctx); /* the caller says which words */
    return type;
}

/* ---- Sizes ---- */

static void describe(lti_text *text, lt_stored dtype, int rank, const int64_t *shape)
{
    lti_text_format(text, "%s [", lt_stored_name(dtype));
    for (int i = 0; i < rank; i++) lti_text_format(text, "%s%lld", i ? ", " : "", (long long)shape[i]);
    lti_text_format(text, "]");
}

static lt_status wrong_part(const reader *r, int i)
{
    const lti_packgrid_part *p = &r->parts[i];
    lti_text is = {.ctx = r->ctx}, wanted = {.ctx = r->ctx};
    int k = r->at[i];
    describe(&wanted, p->dtype, p->rank, p->shape);
    if (k >= 0) describe(&is, lt_tensors_dtype(r->file, k), lt_tensors_rank(r->file, k), lt_tensors_shape(r->file, k));
    lt_status status = LT_ENOMEM;
    if (!is.failed && !wanted.failed)
        status = lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s%s' is %s, but %s on the model's shape has %s there",
                          r->path, r->name, p->suffix, k < 0 ? "missing" : is.data, r->type, wanted.data);
    lti_text_free(&is);
    lti_text_free(&wanted);
    return status;
}

static bool is_part(const reader *r, int i)
{
    const lti_packgrid_part *p = &r->parts[i];
    int k = r->at[i];
    if (k < 0 || lt_tensors_dtype(r->file, k) != p->dtype || lt_tensors_rank(r->file, k) != p->rank) return false;
    return memcmp(lt_tensors_shape(r->file, k), p->shape, (size_t)p->rank * sizeof *p->shape) == 0;
}

void lti_packgrid_shape_text(int rank, const int64_t *shape, lti_text *text)
{
    for (int i = 0; i < rank; i++) lti_text_format(text, "%s%lld", i ? "x" : "", (long long)shape[i]);
}

static lt_status check_shape(const reader *r, int rank, const int64_t *shape)
{
    const char *is = metadata_of(r->file, "shape", r->name);
    lti_text wanted = {.ctx = r->ctx};
    lti_packgrid_shape_text(rank, shape, &wanted);
    lt_status status = wanted.failed ? LT_ENOMEM : LT_OK;
    if (status == LT_OK && (!is || strcmp(is, wanted.data) != 0))
        status =
            lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s' is of shape %.80s by the metadata, and the model's is %s",
                     r->path, r->name, is ? is : "(none)", wanted.data);
    lti_text_free(&wanted);
    return status;
}

/* The rule the scales came from, as far as the parts depend on it. */
static lt_scale_rule rule_of(const reader *r)
{
    int zero = find(r->file, r->name, ":zero");
    if (find(r->file, r->name, ":offset") >= 0) return LT_SCALE_LSQ_PLUS;
    return zero >= 0 && lt_tensors_dtype(r->file, zero) == LT_STORED_I32 ? LT_SCALE_RANGE : LT_SCALE_DYNAMIC;
}

static lt_status find_parts(reader *r, const lt_scheme *scheme, int rank, const int64_t *shape)
{
    LTI_TRY(check_shape(r, rank, shape));
    if (!lti_packgrid_form_of(scheme, rule_of(r), rank, shape, &r->g->form))
        return lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s' cannot be on the grid %s: it is no matrix and no filter",
                        r->path, r->name, r->type);
    r->n = lti_packgrid_parts(&r->g->form, NULL, r->parts);
    for (int i = 0; i < r->n; i++) {
        r->at[i] = find(r->file, r->name, r->parts[i].suffix);
        if (!is_part(r, i)) return wrong_part(r, i);
    }
    return LT_OK;
}

/* ---- Numbers ---- */

static lt_status not_finite(const reader *r, const char *suffix, int64_t group)
{
    return lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s%s': number %lld is a NaN or an infinity", r->path, r->name,
                    suffix, (long long)group);
}

static lt_status load_numbers(const reader *r)
{
    lti_packgrid *g = r->g;
    int64_t groups = g->form.groups.count;
    for (int i = 1; i < r->n; i++) {
        const char *suffix = r->parts[i].suffix;
        const uint8_t *from = lt_tensors_data(r->file, r->at[i]);
        lt_real *to = strcmp(suffix, ":scale") ? g->offset : g->scale;
        if (!strcmp(suffix, ":zero")) {
            if (g->form.wide) memcpy(g->zero, from, (size_t)groups * sizeof *g->zero);
            for (int64_t k = 0; !g->form.wide && k < groups; k++)
                g->zero[k] = (int32_t)lti_bits_at(from, (size_t)r->parts[i].shape[0], g->form.bits, k);
            continue;
        }
        LTI_TRY(lt_tensors_load_real(r->file, r->at[i], to));
        for (int64_t k = 0; k < groups; k++)
            if (!isfinite((double)to[k])) return not_finite(r, suffix, k);
    }
    return LT_OK;
}

/* Codes that no number was ever rounded to: another file's, or damage. */
static lt_status check_codes(const reader *r)
{
    const lti_packgrid_form *f = &r->g->form;
    bool trits = f->scheme.kind == LT_SCHEME_TERNARY;
    for (int64_t row = 0; row < f->rows; row++) {
        const uint8_t *codes = r->g->codes + (size_t)row * f->row_bytes;
        if (lti_bits_behind(codes, f->row_bytes, f->bits, f->columns))
            return lti_fail(r->ctx, LT_EFORMAT, "%s: tensor '%s': bits behind the last code of row %lld are set",
                            r->path, r->name, (long long)row);
        for (int64_t i = 0; trits && i < f->columns; i++)
            if (lti_bits_at(codes, f->row_bytes, f->bits, i) > 2)
                return lti_fail(r->ctx, LT_EFORMAT,
                                "%s: tensor '%s': code %lld of row %lld is 3, and trits are 0, 1 or 2", r->path,
                                r->name, (long long)i, (long long)row);
    }
    return LT_OK;
}

lt_status lti_packgrid_open(lt_ctx *ctx, const lt_tensors *file, const char *path, const char *name,
                            const lt_scheme *scheme, int rank, const int64_t *shape, lti_packgrid *grid)
{
    char type[LT_SCHEME_TEXT];
    reader r = {.ctx = ctx, .file = file, .path = path, .name = name, .type = lt_scheme_name(scheme, type), .g = grid};
    *grid = (lti_packgrid){0};
    LTI_TRY(find_parts(&r, scheme, rank, shape));
    grid->codes = lt_tensors_data(file, r.at[0]);
    LTI_TRY(lti_packgrid_room(ctx, grid));
    LTI_TRY(load_numbers(&r));
    return check_codes(&r);
}

uint64_t lti_packgrid_file_bytes(const lt_tensors *file, const char *name)
{
    static const char *const suffixes[] = {"", ":scale", ":zero", ":offset"};
    uint64_t bytes = 0;
    if (!file || !metadata_of(file, "shape", name)) return 0;
    for (int i = 0; i < LTI_COUNT(suffixes); i++) {
        int k = find(file, name, suffixes[i]);
        if (k >= 0) bytes += lt_tensors_bytes(file, k);
    }
    return bytes;
}
