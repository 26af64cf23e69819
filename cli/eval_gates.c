/* eval_gates.c - expressions over the numbers of a report that decide the exit code.
 *
 * A key is a path of names with dots between them. Names come from files and may hold dots themselves, so every dot is
 * tried as the end of a name. Arrays are entered by index: intervals.perplexity.1. */
#include "cli/eval_options.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEY = 256, DEEPEST = 12 };

typedef struct gate {
    char key[MOST_KEY], op[3];
    double bound;
    bool relative; /* to the reference's */
} gate;

/* Top-level results there may be, whatever the data: for complaints before hours of work. Keys with dots depend on the
 * data and are looked for when the report is there. */
static const char *const known[] = {"perplexity",
                                    "nll",
                                    "tokens",
                                    "documents",
                                    "items",
                                    "seconds",
                                    "tokens_per_second",
                                    "peak_rss_bytes",
                                    "model_bytes",
                                    "parameters",
                                    "nonzero_parameters",
                                    "accuracy",
                                    "macro_f1",
                                    "accuracy_norm",
                                    "kl",
                                    "flipped",
                                    "truncated",
                                    "top1_agreement",
                                    "skipped_rows"};

/* ---- Reading ---- */

static int parse_gate(cli *c, const char *text, gate *g)
{
    static const char *const ops[] = {"<=", ">=", "<", ">", "=="};
    size_t key = strcspn(text, "<>="), op = strspn(text + key, "<>=");
    const char *number = text + key + op;
    char *end;
    bool known_op = false;
    while (key && text[key - 1] == ' ') key--;
    *g = (gate){.bound = strtod(number, &end)};
    snprintf(g->key, sizeof g->key, "%.*s", (int)(key < MOST_KEY ? key : MOST_KEY - 1), text);
    snprintf(g->op, sizeof g->op, "%.*s", op < 3 ? (int)op : 0, number - op);
    for (int i = 0; i < 5; i++) known_op = known_op || !strcmp(ops[i], g->op);
    bool read = end != number;
    if (read && *end == 'x') g->relative = true, end++;
    if (known_op && read && !end[strspn(end, " ")] && isfinite(g->bound) && key && key < MOST_KEY) return EXIT_DONE;
    return cli_fail(c, EXIT_USAGE,
                    "--gate '%s' is no comparison; write 'KEY<=X' with <=, >=, <, > or ==, or 'KEY<=1.03x' for 1.03 "
                    "times the reference's",
                    text);
}

/* ---- Which name comes nearest ---- */

typedef struct nearest {
    const char *wanted;
    char key[MOST_KEY];
    int distance;
} nearest;

static void offer(nearest *n, const char *key)
{
    int distance = cli_distance(n->wanted, key);
    if (distance >= n->distance) return;
    n->distance = distance;
    snprintf(n->key, sizeof n->key, "%s", key);
}

static void offer_all(nearest *n, const json_t *object, const char *before, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        char path[MOST_KEY];
        if (snprintf(path, sizeof path, "%s%s%s", before, *before ? "." : "", key) >= MOST_KEY) continue;
        if (json_is_number(value)) offer(n, path);
        if (json_is_object(value) && depth < DEEPEST) offer_all(n, value, path, depth + 1);
    }
}

static int fail_unknown(cli *c, const char *text, const nearest *n)
{
    return cli_fail(c, EXIT_USAGE, "--gate '%s': no result is called '%s'; did you mean '%s'?", text, n->wanted,
                    n->key);
}

int cli_eval_check_gates(cli *c, const cli_list *gates)
{
    for (int i = 0; i < gates->count; i++) {
        gate g;
        int code = parse_gate(c, gates->items[i], &g);
        if (code) return code;
        nearest n = {.wanted = g.key, .distance = INT_MAX};
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) offer(&n, known[k]);
        if (n.distance && !strchr(g.key, '.')) return fail_unknown(c, gates->items[i], &n);
    }
    return EXIT_DONE;
}

/* ---- Finding ---- */

static json_t *member(json_t *value, const char *name)
{
    if (json_is_object(value)) return json_object_get(value, name);
    char *end;
    unsigned long index = strtoul(name, &end, 10);
    return json_is_array(value) && *name && !*end ? json_array_get(value, index) : NULL;
}

/* What the path leads to; *parent is what holds it, *leaf its name there. */
static json_t *find(json_t *value, const char *path, json_t **parent, const char **leaf, int depth)
{
    json_t *found = member(value, path);
    if (found) {
        *parent = value;
        *leaf = path;
        return found;
    }
    for (const char *dot = strchr(path, '.'); dot && depth < DEEPEST; dot = strchr(dot + 1, '.')) {
        char name[MOST_KEY];
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        json_t *inner = member(value, name);
        found = inner ? find(inner, dot + 1, parent, leaf, depth + 1) : NULL;
        if (found) return found;
    }
    return NULL;
}

/* ---- Judging ---- */

static bool gate_holds(const gate *g, double value, double bound)
{
    bool less = value<bound, equal = value == bound, more = value> bound;
    return (less && *g->op == '<') || (more && *g->op == '>') || (equal && strchr(g->op, '='));
}

static int judge_one(cli *c, const char *text, json_t *report, json_t *list)
{
    gate g;
    json_t *parent = NULL;
    const char *leaf = NULL;
    int code = parse_gate(c, text, &g);
    if (code) return code;
    json_t *number = find(report, g.key, &parent, &leaf, 0);
    if (!json_is_number(number) && !json_is_null(number)) {
        nearest n = {.wanted = g.key, .distance = INT_MAX};
        offer_all(&n, report, "", 0);
        return fail_unknown(c, text, &n);
    }
    double value = json_is_number(number) ? json_number_value(number) : NAN, bound = g.bound;
    if (g.relative) {
        json_t *other = json_object_get(json_object_get(parent, "reference"), leaf);
        if (!json_is_number(other))
            return cli_fail(c, EXIT_USAGE,
                            "--gate '%s': there is no '%s' of a reference to compare with; give --reference", text,
                            g.key);
        bound *= json_number_value(other);
    }
    bool holds = gate_holds(&g, value, bound);
    json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:b}", "gate", text, "value", cli_real(value), "bound",
                                          cli_real(bound), "passed", holds));
    if (holds) return EXIT_DONE;
    if (g.relative)
        cli_warn(c, "gate missed: %s, but %s is %.6g and the bound %.6g", text, g.key, value, bound);
    else
        cli_warn(c, "gate missed: %s, but %s is %.6g", text, g.key, value);
    return EXIT_GATE;
}

int cli_eval_judge(cli *c, const cli_list *gates, json_t *report)
{
    if (gates->count == 0) return EXIT_DONE;
    int code = EXIT_DONE;
    json_t *list = json_array();
    for (int i = 0; i < gates->count && code != EXIT_USAGE; i++) {
        int one = judge_one(c, gates->items[i], report, list);
        if (one) code = one;
    }
    json_object_set_new(report, "gates", list);
    return code;
}
