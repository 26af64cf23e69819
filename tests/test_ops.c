/* test_ops.c - the sweep: one row per op of ops.def (op_rows.h), several shapes each; sweep.h says what is checked. */
#include "tests/op_rows.h"

#include <stdlib.h>

#define TS_ROWS_OF(subject) ts_rows_##subject,
static const ts_row *const subjects[] = {TS_ROW_FILES(TS_ROWS_OF)};

const ts_row *ts_row_at(int index)
{
    for (int s = 0; s < LTI_COUNT(subjects); s++)
        for (const ts_row *row = subjects[s]; row->op; row++)
            if (index-- == 0) return row;
    return NULL;
}

/* ---- The suite ---- */
/* Numbers and formulas take longer than what is checked: each case's are made once and kept for all checks. */
static ts_data *kept;
static int n_kept;

static const ts_data *data_of(int index, const ts_row *row, const ts_case *c)
{
    if (index < n_kept) return &kept[index];
    ts_data *more = realloc(kept, (size_t)(index + 1) * sizeof *kept);
    if (!more) abort();
    kept = more;
    ts_data_make(&kept[n_kept++], row, c);
    return &kept[index];
}

static void sweep(ts_checker check)
{
    const ts_row *row;
    int index = 0;
    for (int r = 0; (row = ts_row_at(r)); r++)
        for (int k = 0; k < row->n; k++) {
            ts_verdict v = check(data_of(index++, row, &row->cases[k]));
            TS_CHECK(!v.text[0], "%s", v.text);
        }
}

static void forward(void)
{
    sweep(ts_check_forward);
}

static void gradients(void)
{
    sweep(ts_check_gradient);
}

static void planned(void)
{
    sweep(ts_check_planned);
}

static void threads(void)
{
    sweep(ts_check_threads);
}

static void replay(void)
{
    sweep(ts_check_replay);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    ts_run r;
    lt_status status = ts_run_make(&r, ctx, arg, TS_PLANNED, true);
    ts_run_drop(&r);
    return status;
}

/* The last test. */
static void allocations_fail(void)
{
    const ts_row *row;
    int index = 0;
    for (int r = 0; (row = ts_row_at(r)); r++) {
        ts_every_allocation_fails(row->op, attempt, (void *)data_of(index, row, &row->cases[0]));
        index += row->n;
    }
    while (n_kept) ts_data_drop(&kept[--n_kept]);
    free(kept);
    kept = NULL;
}

int lti_suite_ops(void)
{
    const ts_test tests[] = {{"forward against the formula", forward}, {"gradients along random directions", gradients},
                             {"planned against no reuse", planned},    {"1 against 2 threads", threads},
                             {"no allocation while running", replay},  {"every allocation may fail", allocations_fail}};
    return ts_suite("ops", LTI_COUNT(tests), tests);
}
