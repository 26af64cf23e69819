/* kernel_cases_attention.h - cases of test_kernels.c for attention, forward and backward. Part of that file. */

/* Attention over a few rows: q, dout from x[0], x[2]; k, v from x[1], x[3]. Sizes vary with the turn, so that groups of
 * lanes, blocks of keys and head dimensions all end raggedly. Masked scores are products with 0: specials are left out
 * (the driver passes plain numbers). */
static lti_attention_task attention_task(const point *p, result *o)
{
    const int64_t dims[] = {8, 24, 3, 16, 10};
    lti_attention_task t = {.heads = 4, .kv_heads = p->turn % 2 ? 2 : 4, .dim = dims[p->turn % 5]};
    int64_t rows = p->n / (t.heads * t.dim);
    t.T = rows > 70 ? 70 : rows;
    t.S = t.T;
    t.causal = p->turn % 3 != 0;
    if (p->turn % 7 == 0 && t.T > 3) t.T -= 3, t.first = 3; /* as after a cached prefix */
    t.scale = p->turn % 11 == 0 ? 30 : (R)0.4;              /* large: the running maximum moves a lot */
    t.q = p->x[0], t.k = p->x[1], t.dout = p->x[2], t.v = p->x[3];
    t.out = o->y[0];
    tolerance(o, 1e-5, t.scale > 1 ? 2e-2 : 1e-5);
    return t;
}

static void each_row_block(lti_attention_task t, int64_t heads, int64_t rows,
                           void (*kernel)(const lti_attention_task *, void *))
{
    static lt_real scratch[32768];
    for (t.head = 0; t.head < heads; t.head++)
        for (t.begin = 0; t.begin < rows; t.begin += LTI_ATTENTION_ROWS) {
            t.end = rows - t.begin < LTI_ATTENTION_ROWS ? rows : t.begin + LTI_ATTENTION_ROWS;
            kernel(&t, scratch);
        }
}

static void run_attention(const lti_kernels *k, const point *p, result *o)
{
    lti_attention_task t = attention_task(p, o);
    TS_CHECK(lti_attention_scratch(t.dim) <= 32768 * sizeof(lt_real), "scratch of the test is too small");
    t.lse = o->y[1];
    each_row_block(t, t.heads, t.T, k->attention);
}

/* The backward starts from ref's forward. */
static lti_attention_task backward_task(const point *p, result *o)
{
    static lt_real out[ROOM], lse[ROOM];
    lti_attention_task t = attention_task(p, o);
    t.out = out;
    t.lse = lse;
    each_row_block(t, t.heads, t.T, lti_k_attention_ref);
    t.o = out;
    return t;
}

static void run_attention_grad_q(const lti_kernels *k, const point *p, result *o)
{
    lti_attention_task t = backward_task(p, o);
    t.dq = o->y[0];
    each_row_block(t, t.heads, t.T, k->attention_grad_q);
}

static void run_attention_grad_kv(const lti_kernels *k, const point *p, result *o)
{
    lti_attention_task t = backward_task(p, o);
    t.dk = o->y[0];
    t.dv = o->y[1];
    each_row_block(t, t.kv_heads, t.S, k->attention_grad_kv);
}

static void run_attention_grad(const lti_kernels *k, const point *p, result *o)
{
    lti_attention_task t = backward_task(p, o);
    t.dq = o->y[0];
    t.dk = o->y[1];
    t.dv = o->y[2];
    each_row_block(t, t.kv_heads, 1, k->attention_grad);
}
