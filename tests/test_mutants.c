/* test_mutants.c - the gradient check is itself on trial: a wrong gradient must fail it, in the op's name.
 *
 * lti_vjp_mutate is called after each vjp. It breaks the cotangents of one op in one of three ways: three times too
 * large, with the last two axes exchanged, or one of them dropped. A mutant that changes no number (exchanging the axes
 * of a constant) proves nothing and is left out; three times too large and dropped always count. */
#include "tests/sweep.h"

#include "autograd/op.h"

#include <string.h>

typedef enum mutant { TRIPLED, TRANSPOSED, DROPPED, MUTANTS } mutant;
static const char *const mutant_names[MUTANTS] = {"tripled", "transposed", "dropped"};

static struct {
    const char *op;
    mutant kind;
    int input;  /* of the op, among those whose cotangent is needed */
    int needed; /* how many there were */
    int applied;
} plot;

static lt_t transposed(lt_t x)
{
    int rank = lt_rank(x), axes[LT_MAX_RANK];
    int64_t shape[LT_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        axes[i] = i;
        shape[i] = lt_dim(x, i);
    }
    if (rank < 2) return x;
    axes[rank - 2] = rank - 1;
    axes[rank - 1] = rank - 2;
    return lt_reshape(lt_permute(x, axes), rank, shape);
}

static void mutate(const lti_op *op, lti_vjp *v)
{
    if (strcmp(op->name, plot.op) != 0) return;
    plot.needed = 0;
    for (int i = 0; i < v->n_in; i++) {
        if (!v->need[i] || lt_is_nil(v->dx[i]) || plot.needed++ != plot.input) continue;
        plot.applied++;
        switch (plot.kind) {
        case TRIPLED: v->dx[i] = lt_scale(v->dx[i], 3); break;
        case TRANSPOSED: v->dx[i] = transposed(v->dx[i]); break;
        default: v->dx[i] = lt_scale(v->dx[i], 0); break;
        }
    }
}

/* Whether the mutated gradients are other numbers than the honest ones. */
static bool changes_something(const ts_data *d)
{
    lt_ctx *ctx[2] = {lt_ctx_create(NULL), lt_ctx_create(NULL)};
    ts_run r[2];
    bool made = true, differs = false;
    for (int i = 0; i < 2; i++) {
        lti_vjp_mutate = i ? mutate : NULL;
        made &= ts_run_make(&r[i], ctx[i], d, TS_PLANNED, true) == LT_OK && ts_run_go(&r[i], d) == LT_OK;
    }
    for (int i = 1; made && i < r[0].n; i++)
        differs |= !ts_same_bytes(r[0].size[i], lt_result(r[0].plan, i), lt_result(r[1].plan, i));
    for (int i = 0; i < 2; i++) {
        ts_run_drop(&r[i]);
        lt_ctx_free(ctx[i]);
    }
    lti_vjp_mutate = NULL;
    return differs;
}

static void try_mutant(const ts_data *d, mutant kind, int input)
{
    plot.op = d->row->op;
    plot.kind = kind;
    plot.input = input;
    plot.applied = 0;
    if (kind == TRANSPOSED && !changes_something(d)) return;
    plot.applied = 0;
    lti_vjp_mutate = mutate;
    ts_verdict v = ts_check_gradient(d);
    lti_vjp_mutate = NULL;
    TS_CHECK(plot.applied > 0, "%s, %s: its vjp was not called", d->row->op, mutant_names[kind]);
    TS_CHECK(v.text[0], "%s: a gradient that is %s passes the gradient check", d->row->op, mutant_names[kind]);
    TS_CHECK(strstr(v.text, d->row->op) && strstr(v.text, "gradient"), "%s: the message does not tell: %s", d->row->op,
             v.text);
}

static void every_mutant_is_caught(void)
{
    const ts_row *row;
    for (int r = 0; (row = ts_row_at(r)); r++) {
        if (row->composite || row->fused || !ts_has_gradient(&row->cases[0])) continue;
        ts_data d;
        ts_data_make(&d, row, &row->cases[0]);
        plot.needed = 1;
        for (int input = 0; input < plot.needed; input++)
            for (mutant kind = 0; kind < MUTANTS; kind++) try_mutant(&d, kind, input);
        ts_data_drop(&d);
    }
}

int lti_suite_mutants(void)
{
    return ts_suite("mutants", 1, (ts_test[]){{"every mutant is caught", every_mutant_is_caught}});
}
