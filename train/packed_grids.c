/* packed_grids.c - numbers on a grid that is no type as codes of as few bits as the grid needs.
 *
 *     intN             code - zero in N bits; zero is 2^(N-1) when symmetric, else a zero point a group
 *     ternary          trit + 1 in 2 bits
 *     fp8              the 8-bit float
 *
 * What a final evaluation keeps of such grids are numbers, so codes are made again from the weights by that pass's kernels,
 * and count only when they give its numbers, bit for bit. Where they do not (rows of integer products are rounded as
 * activations are), or somebody else made the numbers (gptq), codes are recovered from the numbers: quantized_recover.c. What neither
 * gives stays a float.
 *
 * Rows begin with a byte, so that a reader needs one row at a time; that costs under a byte a row. Scales are not rounded
 * to f16 on the way out: `half` grids have them in f16 from the first step on, others would move. */
#include "train/packed_grids.h"

#include "autograd/ops/freeze_codes.h"
#include "qat/learned_scales.h"
#include "qat/packed_bits.h"
#include "train/quantized.h"

#include <math.h>
#include <string.h>

/* ---- Forms ---- */

static int bits_of(const lt_scheme *s)
{
    return s->kind == LT_SCHEME_INT ? s->bits : s->kind == LT_SCHEME_TERNARY ? 2 : 8;
}

bool lti_packgrid_form_of(const lt_scheme *s, lt_scale_rule rule, int rank, const int64_t *shape, lti_packgrid_form *f)
{
    lti_grid_attr attr = lti_grid_attr_of(s, rule);
    size_t bytes;
    *f = (lti_packgrid_form){.scheme = *s, .columns = 1, .bits = bits_of(s)};
    if (s->kind == LT_SCHEME_TYPE || f->bits < 2 || f->bits > 8 || rank < 2 || shape[0] < 1) return false;
    for (int i = 1; i < rank; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(f->columns, shape[i], &f->columns)) return false;
    f->rows = shape[0];
    if (!lti_bits_bytes(f->columns, f->bits, &f->row_bytes) || f->columns > INT64_MAX / 16 / f->rows) return false;
    f->groups = lti_groups_of(&attr, 2, (int64_t[]){f->rows, f->columns});
    f->offsets = rule == LT_SCALE_LSQ_PLUS && lti_on_integers(s);
    f->zeros = s->asymmetric && !f->offsets;
    f->wide = f->zeros && rule == LT_SCALE_RANGE;
    return f->groups.count > 0 && lti_bits_bytes(f->groups.count, f->bits, &bytes);
}

size_t lti_packgrid_form_bytes(const lti_packgrid_form *f)
{
    lti_packgrid_part parts[LTI_PACKGRID_PARTS];
    size_t bytes = 0;
    int n = lti_packgrid_parts(f, NULL, parts);
    for (int i = 0; i < n; i++) {
        size_t of = (size_t)lt_stored_bits(parts[i].dtype) / 8;
        for (int k = 0; k < parts[i].rank; k++) of *= (size_t)parts[i].shape[k];
        bytes += of;
    }
    return bytes;
}

int lti_packgrid_parts(const lti_packgrid_form *f, const lti_packgrid *g, lti_packgrid_part parts[LTI_PACKGRID_PARTS])
{
    int64_t groups = f->groups.count;
    bool half = f->scheme.half_scales;
    size_t zeros = 0;
    int n = 0;
    (void)lti_bits_bytes(groups, f->bits, &zeros);
    parts[n++] = (lti_packgrid_part){"", LT_STORED_U8, 2, {f->rows, (int64_t)f->row_bytes}, g ? g->codes : NULL};
    parts[n++] = (lti_packgrid_part){":scale", half ? LT_STORED_F16 : LT_STORED_REAL, 1, {groups}, NULL};
    if (g) parts[1].data = half ? g->owned[1] : g->scale;
    if (f->zeros && f->wide)
        parts[n++] = (lti_packgrid_part){":zero", LT_STORED_I32, 1, {groups}, g ? g->zero : NULL};
    else if (f->zeros)
        parts[n++] = (lti_packgrid_part){":zero", LT_STORED_U8, 1, {(int64_t)zeros}, g ? g->owned[2] : NULL};
    if (f->offsets) parts[n++] = (lti_packgrid_part){":offset", LT_STORED_REAL, 1, {groups}, g ? g->offset : NULL};
    return n;
}

bool lti_packgrid_form_from(const lti_packgrid_source *from, const lt_param *code, lti_packgrid_form *form)
{
    lt_scheme s = lt_scheme_of(LT_F32);
    if (lt_param_role(code) != LT_WEIGHT || lt_param_type(code) != LT_F32) return false;
    if (strlen(lt_param_name(code)) + 16 > LTI_PACKGRID_NAME) return false;
    if (from->policy) s = lt_quant_scheme(from->policy, code);
    int n = 0;
    const lt_ptq_tensor *tensors = from->policy || !from->rounded ? NULL : lt_ptq_tensors(from->rounded, &n);
    for (int i = 0; i < n; i++)
        if (!strcmp(tensors[i].name, lt_param_name(code))) s = tensors[i].scheme;
    return lti_packgrid_form_of(&s, from->policy ? from->policy->scale : LT_SCALE_DYNAMIC, lt_param_rank(code),
                                lt_param_shape(code), form);
}

/* The zero point of every group where none is stored. */
static int32_t middle(const lti_packgrid_form *f)
{
    if (f->scheme.kind == LT_SCHEME_FP8 || f->scheme.asymmetric) return 0;
    return f->scheme.kind == LT_SCHEME_TERNARY ? 1 : 1 << (f->bits - 1);
}

lt_status lti_packgrid_room(lt_ctx *ctx, lti_packgrid *g)
{
    size_t groups = (size_t)g->form.groups.count;
    g->scale = lti_alloc_array(ctx, groups, sizeof *g->scale);
    g->offset = lti_alloc_array(ctx, groups, sizeof *g->offset);
    g->zero = lti_alloc_array(ctx, groups, sizeof *g->zero);
    for (size_t k = 0; g->zero && k < groups; k++) g->zero[k] = middle(&g->form);
    return g->scale && g->offset && g->zero ? LT_OK : LT_ENOMEM;
}

void lti_packgrid_free(lt_ctx *ctx, lti_packgrid *g)
{
    for (int i = 0; i < LTI_COUNT(g->owned); i++) lti_free(ctx, g->owned[i]);
    lti_free(ctx, g->scale);
    lti_free(ctx, g->offset);
    lti_free(ctx, g->zero);
    *g = (lti_packgrid){0};
}

/* ---- Numbers ---- */

static void float8_values(const lt_scheme *s, lt_real values[256])
{
    uint8_t codes[256];
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    (s->e5m2 ? lti_k()->from_e5m2 : lti_k()->from_e4m3)(256, codes, values);
}

typedef struct decoding {
    const lti_packgrid *g;
    const lt_real *float8; /* what each code is; NULL: whole numbers */
    int64_t tasks;
    lt_real *y;
} decoding;

/* Runs lie within a row. */
static void decode_run(void *arg, int64_t group, int64_t first, int64_t n)
{
    const decoding *d = arg;
    const lti_packgrid *g = d->g;
    const lti_packgrid_form *f = &g->form;
    int64_t row = first / f->columns, column = first - row * f->columns;
    const uint8_t *codes = g->codes + (size_t)row * f->row_bytes;
    lt_real scale = g->scale[group], offset = g->offset[group];
    int32_t zero = g->zero[group];
    for (int64_t i = 0; i < n; i++) {
        unsigned code = lti_bits_at(codes, f->row_bytes, f->bits, column + i);
        d->y[first + i] = d->float8 ? d->float8[code] * scale : (lt_real)((int64_t)code - zero) * scale + offset;
    }
}

static void decode_rows(void *arg, int64_t task, int thread)
{
    const decoding *d = arg;
    const lti_packgrid_form *f = &d->g->form;
    int64_t begin, end;
    (void)thread;
    lti_row_range(f->rows, d->tasks, task, &begin, &end);
    for (int64_t row = begin; row < end; row++)
        lti_each_run(&f->groups, row * f->columns, (row + 1) * f->columns, decode_run, arg);
}

void lti_packgrid_decode(const lti_packgrid *g, lt_real *y)
{
    lt_real values[256];
    decoding d = {.g = g, .tasks = lti_row_tasks(g->form.rows, g->form.columns, 1024), .y = y};
    if (g->form.scheme.kind == LT_SCHEME_FP8) float8_values(&g->form.scheme, values), d.float8 = values;
    lti_par(d.tasks, decode_rows, &d);
}

/* ---- Codes ---- */

typedef struct making {
    lt_ctx *ctx;
    lti_packgrid *g;
    uint8_t *code;         /* [rows, columns], before they are packed */
    const lt_real *values; /* what they are to stand for */
    const lt_real *float8; /* as in decoding */
    uint8_t *bad;          /* [groups]: no codes were found */
    int64_t tasks;
} making;

/* Whether whole numbers from `lo` on, n of them, are codes beside this zero point. */
static bool has_room(const lti_packgrid_form *f, double lo, double hi, double zero)
{
    double top = (1 << f->bits) - 1;
    if (!(fabs(zero) < 1 << 24) || (!f->zeros && zero != middle(f))) return false;
    return lo + zero >= 0 && hi + zero <= top && (!f->zeros || f->wide || (zero >= 0 && zero <= top));
}

/* The grid of the final evaluation; false: it has no place in the form. */
static bool take_group(const lti_grid_now *now, int64_t k, making *m)
{
    lti_packgrid *p = m->g;
    lti_grid g = lti_grid_make(&now->attr, now->scale[k], lti_rule_has_offset(&now->attr) ? now->offset[k] : 0);
    double zero = p->form.zeros ? -(double)g.lo : (double)middle(&p->form);
    int64_t first, n = lti_group_at(&now->groups, k, &first);
    if (!has_room(&p->form, (double)g.lo, (double)g.hi, zero)) return false;
    p->scale[k] = g.scale, p->offset[k] = g.base, p->zero[k] = (int32_t)zero;
    int shift = 128 + (int)((double)g.lo + zero);
    for (int64_t i = first; i < first + n; i++) m->code[i] = (uint8_t)(m->code[i] + shift);
    return true;
}

/* Codes of the weights, by the kernels of the final evaluation. */
static lt_status own_codes(const lti_packgrid_source *from, const lt_param *code, making *m, bool *found)
{
    const lt_param *w = from->weights ? lt_params_find(from->weights, lt_param_name(code)) : NULL;
    const lt_scheme *s = &m->g->form.scheme;
    lti_grid_now now;
    *found = w && lt_param_type(w) == LT_F32 && lt_param_count(w) == lt_param_count(code) && lti_on_integers(s);
    if (!*found) return LT_OK;
    lt_status status = lti_grid_now_make(from->weights, from->policy, s, w, 0, m->g->form.rows, &now);
    if (status == LT_OK)
        lti_codes_on_grids(&now.attr, &now.groups, lt_param_read(w), now.scale, now.offset, 0, lt_param_count(w),
                           (int8_t *)m->code);
    for (int64_t k = 0; status == LT_OK && *found && k < now.groups.count; k++) *found = take_group(&now, k, m);
    lti_grid_now_free(m->ctx, &now);
    return status;
}

static bool whole_group(making *m, int64_t k, int64_t first, int64_t n)
{
    lti_packgrid *p = m->g;
    const lt_real *v = m->values + first;
    int zero;
    if (!lti_recover_scale(&p->form.scheme, n, v, &p->scale[k], &zero)) return false;
    if (!has_room(&p->form, 0, 0, zero)) return false;
    p->zero[k] = zero;
    for (int64_t i = 0; i < n; i++)
        m->code[first + i] = (uint8_t)(zero + (p->scale[k] > 0 ? (int)rint((double)v[i] / (double)p->scale[k]) : 0));
    return true;
}

static bool float8_group(making *m, int64_t k, int64_t first, int64_t n)
{
    return lti_recover_float8(m->float8, m->g->form.scheme.e5m2, n, m->values + first, &m->g->scale[k],
                              m->code + first);
}

static void recover_group(void *arg, int64_t k, int thread)
{
    making *m = arg;
    int64_t first, n = lti_group_at(&m->g->form.groups, k, &first);
    (void)thread;
    m->g->offset[k] = 0;
    m->bad[k] = !(m->float8 ? float8_group(m, k, first, n) : whole_group(m, k, first, n));
}

/* Codes of the numbers themselves. */
static lt_status recovered_codes(making *m, bool *found)
{
    lt_real values[256];
    int64_t groups = m->g->form.groups.count;
    *found = true;
    m->bad = lti_alloc(m->ctx, (size_t)groups);
    if (!m->bad) return LT_ENOMEM;
    if (m->g->form.scheme.kind == LT_SCHEME_FP8) float8_values(&m->g->form.scheme, values), m->float8 = values;
    lti_par(groups, recover_group, m);
    for (int64_t k = 0; k < groups && *found; k++) *found = !m->bad[k];
    m->float8 = NULL;
    lti_free(m->ctx, m->bad);
    return LT_OK;
}

static void pack_rows(void *arg, int64_t task, int thread)
{
    const making *m = arg;
    const lti_packgrid_form *f = &m->g->form;
    int64_t begin, end;
    (void)thread;
    lti_row_range(f->rows, m->tasks, task, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        uint8_t *to = (uint8_t *)m->g->owned[0] + (size_t)row * f->row_bytes;
        memset(to, 0, f->row_bytes);
        for (int64_t i = 0; i < f->columns; i++) lti_bits_put(to, f->bits, i, m->code[row * f->columns + i]);
    }
}

/* Codes, scales and zero points as the file has them; *fits: whether these are the numbers. */
static lt_status pack_all(making *m, bool *fits)
{
    lti_packgrid *p = m->g;
    int64_t groups = p->form.groups.count;
    size_t bytes = (size_t)(p->form.rows * p->form.columns) * sizeof *m->values;
    m->tasks = lti_row_tasks(p->form.rows, p->form.columns, 1024);
    lti_par(m->tasks, pack_rows, m);
    if (p->form.scheme.half_scales) {
        lti_k()->to_f16(groups, p->scale, p->owned[1]);
        lti_k()->from_f16(groups, p->owned[1], p->scale);
    }
    if (p->form.zeros && !p->form.wide) {
        size_t size;
        if (lti_bits_bytes(groups, p->form.bits, &size)) memset(p->owned[2], 0, size);
        for (int64_t k = 0; k < groups; k++) lti_bits_put(p->owned[2], p->form.bits, k, (unsigned)p->zero[k]);
    }
    lt_real *read = lti_alloc(m->ctx, bytes);
    if (!read) return LT_ENOMEM;
    lti_packgrid_decode(p, read);
    *fits = memcmp(read, m->values, bytes) == 0;
    lti_free(m->ctx, read);
    return LT_OK;
}

static lt_status make_room(making *m)
{
    lti_packgrid *p = m->g;
    size_t groups = (size_t)p->form.groups.count;
    LTI_TRY(lti_packgrid_room(m->ctx, p));
    p->owned[0] = lti_alloc_array(m->ctx, (size_t)p->form.rows, p->form.row_bytes);
    p->owned[1] = lti_alloc_array(m->ctx, groups, sizeof(uint16_t));
    p->owned[2] = lti_alloc(m->ctx, groups);
    m->code = lti_alloc_array(m->ctx, (size_t)p->form.rows, (size_t)p->form.columns);
    p->codes = p->owned[0];
    return p->owned[0] && p->owned[1] && p->owned[2] && m->code ? LT_OK : LT_ENOMEM;
}

lt_status lti_packgrid_make(lt_ctx *ctx, const lti_packgrid_source *from, const lti_packgrid_form *form,
                            const lt_param *code, lti_packgrid *grid, bool *fits)
{
    making m = {.ctx = ctx, .g = grid, .values = lt_param_read(code)};
    bool found = false;
    *grid = (lti_packgrid){.form = *form};
    *fits = false;
    lt_status status = make_room(&m);
    if (status == LT_OK) status = own_codes(from, code, &m, &found);
    if (status == LT_OK && found) status = pack_all(&m, fits);
    if (status == LT_OK && !*fits) status = recovered_codes(&m, &found);
    if (status == LT_OK && !*fits && found) status = pack_all(&m, fits);
    lti_free(ctx, m.code);
    return status;
}
