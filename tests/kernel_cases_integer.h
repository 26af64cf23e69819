/* kernel_cases_integer.h - cases of test_kernels.c for activations as int8 and products in integers. Part of that file.
 *
 * Packing is compared byte by byte. What products are worth is judged by test_integer.c; here two sets are compared. */
#include "tests/lattice_blocks.h"

#define ACTIVATIONS(name, type)                                                                                        \
    static void run_quantize_activations_##name(const lti_kernels *k, const point *p, result *o)                       \
    {                                                                                                                  \
        k->quantize_activations_##name(whole(p, type), p->x[0], o->bits);                                              \
    }
ACTIVATIONS(q8_0, LT_Q8_0)
ACTIVATIONS(q8_1, LT_Q8_1)
ACTIVATIONS(q8_k, LT_Q8_K)

static void run_quantize_row_i8(const lti_kernels *k, const point *p, result *o)
{
    o->number = (double)k->quantize_row_i8(p->n, p->x[0], (int8_t *)o->bits);
}

/* A pair of types by the turn, 6 rows of a and 32 of b, with scales. */
typedef struct integer_case {
    lti_integer_form form;
    uint8_t a[LTI_INTEGER_ROWS * 292 + 8], b[LTI_INTEGER_COLUMNS * 256 + 8];
    R scale[LTI_INTEGER_COLUMNS];
} integer_case;

static integer_case integer_operands(const point *p)
{
    static R x[LTI_INTEGER_ROWS * 256];
    integer_case c;
    int lattice = p->turn % (TS_LATTICES + 1);
    bool i8 = lattice == TS_LATTICES || lti_activation_type(ts_lattices[lattice].type) == LT_F32;
    lt_dtype type = i8 ? LT_I8 : ts_lattices[lattice].type;
    int64_t k = i8 ? 1 + p->turn % 200 : lt_dtype_block(type) * (lt_dtype_block(type) == 32 ? 1 + p->turn % 3 : 1);
    c.form = lti_integer_form_of(i8 || p->turn % 2 ? LT_I8 : lti_activation_type(type), type, k);
    for (int i = 0; i < LTI_INTEGER_COLUMNS; i++) c.scale[i] = (R)(1 + ts_uniform("integer scale", i + p->turn));
    ts_fill_normal("integer a", LTI_COUNT(x), 1, x);
    memcpy(c.a, halves, sizeof c.a);
    if (c.form.a_type != LT_I8) lti_quantize_activations(c.form.a_type, LTI_INTEGER_ROWS, k, x, c.a, NULL);
    memcpy(c.b, halves + 8, sizeof c.b);
    if (!i8) ts_make_moderate_blocks(lattice, LTI_INTEGER_COLUMNS * (k / lt_dtype_block(type)), c.b);
    return c;
}

static void run_integer_pack_a(const lti_kernels *k, const point *p, result *o)
{
    integer_case c = integer_operands(p);
    memset(o->bits, 0, lti_integer_a_bytes(&c.form)); /* padding is nobody's */
    k->integer_pack_a(&c.form, p->n % (LTI_INTEGER_ROWS + 1), c.a, c.scale, o->bits);
}

static void run_integer_pack_b(const lti_kernels *k, const point *p, result *o)
{
    integer_case c = integer_operands(p);
    k->integer_pack_b(&c.form, p->n % (LTI_INTEGER_COLUMNS + 1), c.b, c.scale, o->bits);
}

static void run_integer_multiply(const lti_kernels *k, const point *p, result *o)
{
    enum { LDC = LTI_INTEGER_COLUMNS + 1 };
    static char panels[2][LTI_INTEGER_COLUMNS * 512];
    static R y[LTI_INTEGER_ROWS * LDC];
    integer_case c = integer_operands(p);
    for (int i = 0; i < LTI_COUNT(y); i++) y[i] = (R)i;
    lti_k_integer_pack_a_ref(&c.form, LTI_INTEGER_ROWS, c.a, c.scale, panels[0]);
    lti_k_integer_pack_b_ref(&c.form, LTI_INTEGER_COLUMNS, c.b, c.scale, panels[1]);
    const lti_integer_task t = {.form = &c.form,
                                .m = p->n % (LTI_INTEGER_ROWS + 1),
                                .n = 1 + p->n % LTI_INTEGER_COLUMNS,
                                .ldc = LDC,
                                .a = panels[0],
                                .b = panels[1],
                                .c = y,
                                .add = p->turn % 3 == 0};
    k->integer_multiply(&t);
    int64_t shown = p->n + SPARE < LTI_COUNT(y) ? p->n + SPARE : LTI_COUNT(y);
    memcpy(o->y[0], y, (size_t)shown * sizeof *y);
    double size = 0;
    for (int64_t i = 0; i < shown; i++) size = fmax(size, fabs((double)y[i]));
    tolerance(o, 0, 2e-6 * size);
}
