/* test_rows.c - every line of ops.def has a row in rows_*.c, and every row records the op that it names.
 *
 * A row has the descriptor's name. Ops that exist only inside a backward have no constructor and need no row of their
 * own: they must be met in the plan of some row's gradients, which the sweep judges. A row marked `fused` must really
 * be fused: its op is in the plan of its first case. */
#include "tests/sweep.h"

#include "autograd/node.h"

#include <stdio.h>
#include <string.h>

enum { LINES = 256 };
static char names[LINES][64];
static bool met[LINES];
static int n_names;

static bool read_names(void)
{
    FILE *file = fopen("ops.def", "r");
    if (!TS_CHECK(file != NULL, "ops.def is not here: run the tests from the project's root")) return false;
    char line[256];
    n_names = 0;
    while (n_names < LINES && fgets(line, sizeof line, file))
        if (line[0] != '#' && sscanf(line, "%63s", names[n_names]) == 1) n_names++;
    fclose(file);
    return TS_CHECK(n_names < LINES, "more than %d ops: enlarge the table", LINES - 1);
}

static bool recorded(const lt_graph *g, const char *op)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (strcmp(g->node[i].op->name, op) == 0) return true;
    return false;
}

/* Notes the ops of the graph and of the plan, where fusing has happened. */
static void note_ops(const ts_run *r, const ts_row *row, bool first)
{
    char *text = NULL, word[80];
    if (!TS_OK(r->ctx, lt_plan_table(r->plan, &text))) return;
    for (int i = 0; i < n_names; i++) {
        snprintf(word, sizeof word, " %.63s ", names[i]);
        met[i] = met[i] || strstr(text, word) || recorded(r->graph, names[i]);
    }
    snprintf(word, sizeof word, " %s ", row->op);
    TS_CHECK(!row->fused || !first || strstr(text, word), "%s: was not fused:\n%s", row->op, text);
    TS_CHECK(!first || row->fused || row->composite || recorded(r->graph, row->op), "%s: its row records no such op",
             row->op);
    lt_string_free(r->ctx, text);
}

static void visit_plans(void)
{
    const ts_row *row;
    for (int r = 0; (row = ts_row_at(r)); r++)
        for (int k = 0; k < row->n; k++) {
            if (ts_is_large(&row->cases[k])) continue;
            ts_data d;
            ts_run run;
            ts_data_make(&d, row, &row->cases[k]);
            lt_ctx *ctx = lt_ctx_create(NULL);
            if (TS_OK(ctx, ts_run_make(&run, ctx, &d, TS_PLANNED, true))) note_ops(&run, row, k == 0);
            ts_run_drop(&run);
            lt_ctx_free(ctx);
            ts_data_drop(&d);
        }
}

static bool has_row(const char *op)
{
    const ts_row *row;
    for (int r = 0; (row = ts_row_at(r)); r++)
        if (strcmp(row->op, op) == 0) return true;
    return false;
}

static void every_op_has_a_row(void)
{
    if (!read_names()) return;
    visit_plans();
    for (int i = 0; i < n_names; i++)
        TS_CHECK(has_row(names[i]) || met[i], "%s: a line of ops.def without a row in tests/rows_*.c", names[i]);
}

int lti_suite_rows(void)
{
    return ts_suite("rows", 1, (ts_test[]){{"every op has a row", every_op_has_a_row}});
}
