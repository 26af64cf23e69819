/* suite.c - a folder of tasks: each file by its own kind, then sums by family and over all.
 *
 * A family is what file names have in common up to the first '-' or '.': arc-easy.jsonl and arc-challenge.jsonl are
 * "arc". Within a family items and ids count alike; on top accuracy is the mean over tasks, as suites are reported,
 * because tasks of many items would otherwise drown the others. */
#include "evals/eval.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 1000 };

/* Sums of reports; [0] the model's, [1] the reference's. */
typedef struct sums {
    double tasks, documents, items, tokens, seconds, positions;
    double nll[2];                         /* over ids */
    double right[2], right_norm[2];        /* over items */
    double accuracy[2], accuracy_norm[2];  /* over tasks */
    double answered, normed, normed_items; /* tasks and items that have them */
    double kl, agreement;                  /* over tasks */
} sums;

typedef struct suite {
    lti_eval *e;
    json_t *tasks, *families;
    lti_names files, names; /* names: of families */
    sums *by_family;        /* [MOST_FILES] */
    sums all;
} suite;

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void add_report(sums *s, const json_t *report)
{
    const json_t *both[] = {report, json_object_get(report, "reference")};
    double tokens = number(report, "tokens"), items = number(report, "items"), seconds = number(report, "seconds");
    bool answers = json_object_get(report, "accuracy"), normed = json_object_get(report, "accuracy_norm");
    s->tasks++;
    s->documents += number(report, "documents");
    s->items += items;
    s->tokens += tokens;
    s->seconds += seconds;
    s->positions += seconds * number(report, "tokens_per_second");
    s->answered += answers;
    s->normed += normed;
    s->normed_items += normed ? items : 0;
    for (int w = 0; w < 2; w++) {
        double accuracy = number(both[w], "accuracy"), norm = number(both[w], "accuracy_norm");
        s->nll[w] += number(both[w], "nll") * tokens;
        s->right[w] += accuracy * items;
        s->right_norm[w] += norm * items;
        s->accuracy[w] += accuracy;
        s->accuracy_norm[w] += norm;
    }
    s->kl += number(report, "kl");
    s->agreement += number(report, "top1_agreement");
}

/* `macro`: accuracies are means over tasks, else over items. */
static void put_metrics(lti_eval *e, const sums *s, int w, bool macro, json_t *into)
{
    lti_put(e, into, "perplexity", lti_real(exp(s->nll[w] / s->tokens)));
    lti_put(e, into, "nll", lti_real(s->nll[w] / s->tokens));
    if (s->answered)
        lti_put(e, into, "accuracy", lti_real(macro ? s->accuracy[w] / s->answered : s->right[w] / s->items));
    if (s->normed)
        lti_put(e, into, "accuracy_norm",
                lti_real(macro ? s->accuracy_norm[w] / s->normed : s->right_norm[w] / s->normed_items));
}

static void put_sums(lti_eval *e, const sums *s, bool macro, json_t *into)
{
    lti_put(e, into, "documents", json_integer((json_int_t)s->documents));
    if (s->answered) lti_put(e, into, "items", json_integer((json_int_t)s->items));
    lti_put(e, into, "tokens", json_integer((json_int_t)s->tokens));
    put_metrics(e, s, 0, macro, into);
    if (!e->o->reference) return;
    lti_put(e, into, "kl", lti_real(s->kl / s->tasks));
    lti_put(e, into, "top1_agreement", lti_real(s->agreement / s->tasks));
    json_t *reference = json_object();
    put_metrics(e, s, 1, macro, reference);
    lti_put(e, into, "reference", reference);
}

/* ---- Files ---- */

static bool is_task(const char *name)
{
    static const char *const kinds[] = {".jsonl", ".json", ".txt", ".csv"};
    size_t n = strlen(name);
    for (int i = 0; *name != '.' && i < LTI_COUNT(kinds); i++) {
        size_t m = strlen(kinds[i]);
        if (n > m && !strcmp(name + n - m, kinds[i])) return true;
    }
    return false;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static lt_status list_files(suite *s, const char *directory)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, NULL, by_name);
    if (n < 0) return lti_fail(s->e->ctx, LT_EIO, "%s: the folder of tasks cannot be read", directory);
    lt_status status = LT_OK;
    for (int i = 0; i < n; i++) {
        int32_t place;
        if (status == LT_OK && is_task(entries[i]->d_name))
            status = lti_names_add(&s->files, entries[i]->d_name, &place);
        free(entries[i]);
    }
    free(entries);
    LTI_TRY(status);
    if (s->files.count == 0 || s->files.count > MOST_FILES)
        return lti_fail(s->e->ctx, LT_EINVAL,
                        "%s: %lld files of tasks (.jsonl, .json, .txt, .csv); 1 to %d are possible", directory,
                        (long long)s->files.count, MOST_FILES);
    return LT_OK;
}

static lt_status evaluate(suite *s, const char *directory, const char *file)
{
    lti_eval *e = s->e;
    char name[256], family[256];
    size_t stem = (size_t)(strrchr(file, '.') - file), first = strcspn(file, "-.");
    snprintf(name, sizeof name, "%.*s", (int)stem, file);
    snprintf(family, sizeof family, "%.*s", (int)first, file);
    char *path = lti_path_join(e->ctx, directory, file);
    if (!path) return LT_ENOMEM;
    json_t *report = json_object();
    lt_status status = lti_eval_file(e, path, name, report);
    lti_free(e->ctx, path);
    int32_t place = 0;
    if (status == LT_OK) status = lti_names_add(&s->names, family, &place);
    if (status == LT_OK) {
        add_report(&s->by_family[place], report);
        add_report(&s->all, report);
    }
    lti_put(e, s->tasks, json_object_get(s->tasks, name) ? file : name, report);
    return status;
}

static lt_status run(suite *s, const char *directory)
{
    LTI_TRY(list_files(s, directory));
    s->by_family = lti_alloc_array(s->e->ctx, MOST_FILES, sizeof *s->by_family);
    if (!s->by_family) return LT_ENOMEM;
    for (int64_t i = 0; i < s->files.count; i++) LTI_TRY(evaluate(s, directory, lti_names_at(&s->files, i)));
    for (int64_t i = 0; i < s->names.count; i++) {
        json_t *family = json_object();
        lti_put(s->e, family, "tasks", json_integer((json_int_t)s->by_family[i].tasks));
        put_sums(s->e, &s->by_family[i], false, family);
        lti_put(s->e, s->families, lti_names_at(&s->names, i), family);
    }
    return LT_OK;
}

lt_status lti_eval_suite(lti_eval *e, const char *directory, json_t *report)
{
    suite s = {.e = e,
               .tasks = json_object(),
               .families = json_object(),
               .files = {.ctx = e->ctx, .text = {.ctx = e->ctx}},
               .names = {.ctx = e->ctx, .text = {.ctx = e->ctx}}};
    lt_status status = run(&s, directory);
    lti_put(e, report, "kind", json_string("suite"));
    put_sums(e, &s.all, true, report);
    lti_put(e, report, "seconds", lti_real(s.all.seconds));
    lti_put(e, report, "tokens_per_second", lti_real(s.all.positions / s.all.seconds));
    lti_put(e, report, "families", s.families);
    lti_put(e, report, "tasks", s.tasks);
    lti_names_free(&s.files);
    lti_names_free(&s.names);
    lti_free(e->ctx, s.by_family);
    return status;
}
