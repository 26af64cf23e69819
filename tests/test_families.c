/* test_families.c - small models of every family against Transformers: tests/golden/families, which
 * scripts/goldens_families.py writes and describes. What is asked of each: logits and every gradient, also with
 * recomputed blocks, opened frozen, and from its config's old spelling; a cache gives what the whole gives; packed rows
 * what the documents alone give; saving loses nothing; and what lathe does not implement is refused. */
#include "models/model.h"
#include "tests/golden.h"
#include "tests/toys.h"

#include <math.h>

static const char *const cases[] = {"llama", "llama3", "llama_linear", "llama_yarn", "mistral", "qwen2",
                                    "qwen3", "gemma3", "gpt2",         "bert",       "bitnet",  "bitnet_relu2"};

enum { LONGEST = 64 };

/* What a recording is made of and bound to; NULL is absent. */
typedef struct rows {
    int64_t B, T;
    const int32_t *tokens, *types, *spans, *positions;
} rows;

/* A model and what its golden file says. */
typedef struct subject {
    ts_place *place;
    const char *name;
    char directory[512];
    lt_model *model;
    lt_tensors *golden;
    int64_t B, T, V; /* V: vocabulary or classes */
    bool encoder;
    int32_t *tokens, *targets, *types, *lengths, *spans;
    lt_real *logits; /* [B, T, V], or [B, V] */
} subject;

/* ---- Golden files ---- */

static int32_t *golden_ints(const subject *s, const char *name)
{
    int i = lt_tensors_find(s->golden, name);
    if (i < 0 || lt_tensors_dtype(s->golden, i) != LT_STORED_I32) return NULL;
    size_t bytes = (size_t)lt_tensors_bytes(s->golden, i);
    int32_t *ints = malloc(bytes);
    memcpy(ints, lt_tensors_data(s->golden, i), bytes);
    return ints;
}

static lt_real *golden_reals(const subject *s, const char *name, int64_t *count)
{
    int i = lt_tensors_find(s->golden, name);
    if (!TS_CHECK(i >= 0, "%s: the golden file has no '%s'", s->name, name)) return NULL;
    *count = lt_tensors_elements(s->golden, i);
    lt_real *reals = calloc((size_t)*count, sizeof *reals);
    TS_OK(s->place->ctx, lt_tensors_load_real(s->golden, i, reals));
    return reals;
}

static bool read_golden(subject *s)
{
    char path[600];
    snprintf(path, sizeof path, "%s/golden.safetensors", s->directory);
    if (!TS_OK(s->place->ctx, lt_tensors_open(s->place->ctx, path, &s->golden))) return false;
    int tokens = lt_tensors_find(s->golden, "tokens"), logits = lt_tensors_find(s->golden, "logits");
    s->B = lt_tensors_shape(s->golden, tokens)[0];
    s->T = lt_tensors_shape(s->golden, tokens)[1];
    s->V = lt_tensors_shape(s->golden, logits)[lt_tensors_rank(s->golden, logits) - 1];
    s->encoder = lt_tensors_rank(s->golden, logits) == 2;
    s->tokens = golden_ints(s, "tokens");
    s->targets = golden_ints(s, "targets");
    s->types = golden_ints(s, "types");
    s->lengths = golden_ints(s, "lengths");
    if (s->lengths) s->spans = calloc((size_t)(s->B * s->T * 2), sizeof *s->spans);
    for (int64_t i = 0; s->spans && i < s->B * s->T; i++) s->spans[2 * i + 1] = s->lengths[i / s->T];
    int64_t count;
    s->logits = golden_reals(s, "logits", &count);
    return s->logits != NULL;
}

static bool open_subject(subject *s, ts_place *place, const char *name)
{
    *s = (subject){.place = place, .name = name};
    snprintf(s->directory, sizeof s->directory, "%s/families/%s", gd_directory(), name);
    return TS_OK(place->ctx, lt_model_open(place->ctx, s->directory, &s->model)) && read_golden(s);
}

static void close_subject(subject *s)
{
    lt_model_free(s->model);
    lt_tensors_close(s->golden);
    void *parts[] = {s->tokens, s->targets, s->types, s->lengths, s->spans, s->logits};
    for (int i = 0; i < LTI_COUNT(parts); i++) free(parts[i]);
}

static void each_case(void (*judge)(subject *s))
{
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        ts_place place = ts_open_place();
        subject s;
        if (open_subject(&s, &place, cases[i])) judge(&s);
        close_subject(&s);
        ts_close_place(&place);
    }
}

/* ---- Recording ---- */

static rows golden_rows(const subject *s)
{
    return (rows){.B = s->B, .T = s->T, .tokens = s->tokens, .types = s->types, .spans = s->spans};
}

static lt_model_input declare(lt_graph *g, const lt_transformer_config *c, const rows *r)
{
    int64_t shape[] = {r->B, r->T, 2};
    lt_model_input in = {.tokens = lt_index_input(g, "tokens", 2, shape, 0, (int32_t)c->vocab)};
    if (r->types) in.types = lt_index_input(g, "types", 2, shape, 0, (int32_t)c->types);
    if (r->spans) in.spans = lt_index_input(g, "spans", 3, shape, 0, (int32_t)r->T + 1);
    if (r->positions) in.positions = lt_index_input(g, "positions", 2, shape, 0, (int32_t)c->context);
    return in;
}

static lt_status bind_rows(lt_plan *plan, const rows *r)
{
    LTI_TRY(lt_bind(plan, "tokens", r->tokens));
    if (r->types) LTI_TRY(lt_bind(plan, "types", r->types));
    if (r->spans) LTI_TRY(lt_bind(plan, "spans", r->spans));
    return r->positions ? lt_bind(plan, "positions", r->positions) : LT_OK;
}

typedef enum what { HIDDEN, LOGITS } what;

/* Hidden states or logits of the rows, which begin at position `first` of a cache unless it is negative; free() them.
 * Never NULL: a failure is a failed check and zeros. */
static lt_real *values_of(lt_model *m, const rows *r, what wanted, int64_t first, int64_t *count)
{
    const lt_transformer_config *c = lt_model_config(m);
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    *count = r->B * r->T * (c->dim > c->vocab ? c->dim : c->vocab);
    lt_real *values = calloc((size_t)*count, sizeof *values);
    if (TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) {
        lt_model_input in = declare(g, c, r);
        if (first >= 0) in.first = lt_scalar(g, "first", 0);
        lt_t y = wanted == LOGITS ? lt_model_logits(m, g, &in) : lt_model_hidden(m, g, &in);
        *count = lt_count(y);
        if (TS_OK(ctx, ts_compile(g, TS_PLANNED, 1, &y, &plan)) && TS_OK(ctx, bind_rows(plan, r)) &&
            (first < 0 || TS_OK(ctx, lt_set(plan, "first", (double)first))) && TS_OK(ctx, lt_run(plan)))
            memcpy(values, lt_result(plan, 0), (size_t)*count * sizeof *values);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    return values;
}

/* The largest |a[i] - b[i]|; infinity for a NaN. */
static double apart(int64_t n, const lt_real *a, const lt_real *b)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}

static void judge_logits(const subject *s, lt_model *model, const char *as)
{
    rows r = golden_rows(s);
    int64_t n;
    lt_real *z = values_of(model, &r, LOGITS, -1, &n);
    if (TS_CHECK(n == s->B * s->V * (s->encoder ? 1 : s->T), "%s: %lld logits", s->name, (long long)n)) {
        double d = apart(n, z, s->logits);
        TS_CHECK(d < ts_tolerance(2e-6, 1e-4), "%s, %s: a logit is %g away from Transformers'", s->name, as, d);
    }
    free(z);
}

/* ---- Gradients ---- */

/* |got - want| over max |want|; GPT-2's matrices lie [in, out] in its files. A bias of keys that are not rotated moves
 * all scores of a query alike: its gradient is 0, and rounding errors have no scale of their own. */
static void judge_gradient(const subject *s, const lt_param *p, const lt_real *got)
{
    char name[200] = "grad.";
    int64_t n, rows_of = lt_param_shape(p)[0];
    if (!TS_CHECK(lt_model_hf_name(s->model, lt_param_name(p), name + 5, sizeof name - 5), "%s has a name",
                  lt_param_name(p)))
        return;
    lt_real *want = golden_reals(s, name, &n);
    if (!want || !TS_CHECK(n == lt_param_count(p), "%s: %lld elements", name, (long long)n)) return;
    bool turned = strstr(name, ".c_") && lt_param_rank(p) == 2;
    int64_t columns = n / rows_of;
    double worst = 0, scale = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = turned ? i % columns * rows_of + i / columns : i;
        double d = fabs((double)got[i] - (double)want[at]);
        scale = fmax(scale, fabs((double)want[at]));
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    if (scale < 1e-12) scale = ts_tolerance(1e-6, 1e-3);
    TS_CHECK(worst <= ts_tolerance(2e-6, 1e-3) * scale, "%s, %s: the gradient is %g of its largest element away",
             s->name, lt_param_name(p), worst / scale);
    free(want);
}

enum { MAX_TENSORS = 80 };

static void judge_gradients(subject *s)
{
    lt_ctx *ctx = s->place->ctx;
    lt_params *params = lt_model_params(s->model);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    lt_t w[MAX_TENSORS], out[MAX_TENSORS + 1];
    int n = lt_params_count(params), listed = 0;
    rows r = golden_rows(s);
    for (int i = 0; i < lt_tensors_count(s->golden); i++) listed += !strncmp(lt_tensors_name(s->golden, i), "grad.", 5);
    if (!TS_CHECK(n == listed && n < MAX_TENSORS, "%s: %d tensors, Transformers has %d", s->name, n, listed)) return;
    if (!TS_OK(ctx, lt_graph_create(ctx, params, &g))) return;
    lt_model_input in = declare(g, lt_model_config(s->model), &r);
    lt_t targets = lt_index_input(g, "targets", s->encoder ? 1 : 2, (int64_t[]){r.B, r.T}, -1, (int32_t)s->V);
    out[n] = lt_model_loss(s->model, g, &in, targets, lt_nil(g));
    for (int i = 0; i < n; i++) w[i] = lt_param_value(g, lt_params_at(params, i));
    lt_grad(out[n], n, w, out);
    if (TS_OK(ctx, ts_compile(g, TS_PLANNED, n + 1, out, &plan)) && TS_OK(ctx, bind_rows(plan, &r)) &&
        TS_OK(ctx, lt_bind(plan, "targets", s->targets)) && TS_OK(ctx, lt_run(plan))) {
        int64_t one;
        lt_real *loss = golden_reals(s, "loss", &one);
        gd_near((double)*(const lt_real *)lt_result(plan, n), (double)*loss, ts_tolerance(1e-9, 1e-5), "%s", s->name);
        free(loss);
        for (int i = 0; i < n; i++) judge_gradient(s, lt_params_at(params, i), lt_result(plan, i));
    }
    lt_plan_free(plan);
    lt_graph_free(g);
}

static void judge_numbers(subject *s)
{
    judge_logits(s, s->model, "opened");
    judge_gradients(s);
    lt_model_set_checkpoint(s->model, true);
    judge_gradients(s);
}

static void numbers(void)
{
    each_case(judge_numbers);
}

/* ---- Other ways to open ---- */

/* Opened frozen, in the types it was written in. */
static void judge_frozen(subject *s)
{
    static const char *const types[] = {"F32", "BF16", "F16"};
    rows r = golden_rows(s);
    for (int i = 0; i < LTI_COUNT(types); i++) {
        lt_model *copy = NULL, *frozen = NULL;
        const char *dir = ts_at(s->place, types[i]);
        if (TS_OK(s->place->ctx, lt_model_save(s->model, dir, types[i])) &&
            TS_OK(s->place->ctx, lt_model_open(s->place->ctx, dir, &copy)) &&
            TS_OK(s->place->ctx, lt_model_open_frozen(s->place->ctx, dir, &frozen))) {
            int64_t n, m;
            lt_real *a = values_of(copy, &r, LOGITS, -1, &n), *b = values_of(frozen, &r, LOGITS, -1, &m);
            double d = apart(n, a, b);
            TS_CHECK(n == m && d < ts_tolerance(1e-12, 1e-5), "%s as %s: frozen logits are %g away", s->name, types[i],
                     d);
            if (i == 0) judge_logits(s, frozen, "frozen");
            free(a);
            free(b);
        }
        lt_model_free(copy);
        lt_model_free(frozen);
    }
}

static void frozen_models(void)
{
    each_case(judge_frozen);
}

static void copy_file(ts_place *p, const char *directory, const char *from, const char *to)
{
    char path[600];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", directory, from);
    char *bytes = toy_read(path, &size);
    if (bytes) ts_put(p, to, bytes, size);
    free(bytes);
}

static void judge_old_spelling(subject *s)
{
    lt_model *old = NULL;
    copy_file(s->place, s->directory, "config_old.json", "config.json");
    copy_file(s->place, s->directory, "model.safetensors", "model.safetensors");
    copy_file(s->place, s->directory, "tokenizer.json", "tokenizer.json");
    if (TS_OK(s->place->ctx, lt_model_open(s->place->ctx, s->place->dir, &old))) judge_logits(s, old, "old spelling");
    lt_model_free(old);
}

static void old_spellings(void)
{
    each_case(judge_old_spelling);
}

/* ---- Caches and packed rows ---- */

static void judge_cache(subject *s)
{
    static const int64_t pieces[] = {7, 5, 1, 1, 1, 1, 1, 3};
    int32_t part[LONGEST], positions[LONGEST];
    lt_ctx *ctx = s->place->ctx;
    const lt_transformer_config *c = lt_model_config(s->model);
    if (s->encoder) {
        TS_REFUSED(ctx, lt_transformer_caches(lt_model_params(s->model), c, s->B, s->T), LT_EINVAL, "is an encoder");
        return;
    }
    rows whole = golden_rows(s);
    int64_t n, k, V = s->V, at = 0;
    lt_real *want = values_of(s->model, &whole, LOGITS, -1, &n), *got = calloc((size_t)n, sizeof *got);
    TS_OK(ctx, lt_transformer_caches(lt_model_params(s->model), c, s->B, s->T));
    for (int i = 0; i < LTI_COUNT(pieces); at += pieces[i++]) {
        int64_t T = pieces[i];
        for (int64_t j = 0; j < s->B * T; j++) {
            part[j] = s->tokens[j / T * s->T + at + j % T];
            positions[j] = (int32_t)(at + j % T);
        }
        rows r = {.B = s->B, .T = T, .tokens = part};
        if (lt_transformer_learns_positions(c)) r.positions = positions;
        lt_real *z = values_of(s->model, &r, LOGITS, at, &k);
        for (int64_t b = 0; b < s->B; b++)
            memcpy(got + (b * s->T + at) * V, z + b * T * V, (size_t)(T * V) * sizeof *got);
        free(z);
    }
    TS_CHECK(at == s->T, "the pieces are the whole");
    double d = apart(n, got, want);
    TS_CHECK(d < ts_tolerance(1e-11, 5e-5), "%s: logits through a cache are %g away", s->name, d);
    free(want);
    free(got);
}

static void caches(void)
{
    each_case(judge_cache);
}

/* Two documents of 8 and 12 tokens in one row, and each alone. */
static void judge_packed(subject *s)
{
    enum { FIRST = 8, SECOND = 12, T = FIRST + SECOND };
    int32_t tokens[T], types[T], spans[2 * T], positions[T];
    int64_t dim = lt_model_config(s->model)->dim, n;
    for (int t = 0; t < T; t++) {
        bool later = t >= FIRST;
        int64_t from = later ? (s->B - 1) * s->T + t - FIRST : t;
        tokens[t] = s->tokens[from];
        types[t] = s->types ? s->types[from] : 0;
        spans[2 * t] = later ? FIRST : 0;
        spans[2 * t + 1] = later ? T : FIRST;
        positions[t] = t - (later ? FIRST : 0);
    }
    rows both = {.B = 1, .T = T, .tokens = tokens, .spans = spans}, one = {.B = 1, .T = FIRST, .tokens = tokens};
    rows two = {.B = 1, .T = SECOND, .tokens = tokens + FIRST};
    if (lt_transformer_learns_positions(lt_model_config(s->model))) both.positions = positions;
    if (s->types) both.types = one.types = types, two.types = types + FIRST;
    lt_real *packed = values_of(s->model, &both, HIDDEN, -1, &n);
    lt_real *a = values_of(s->model, &one, HIDDEN, -1, &n), *b = values_of(s->model, &two, HIDDEN, -1, &n);
    double d = fmax(apart(FIRST * dim, packed, a), apart(SECOND * dim, packed + FIRST * dim, b));
    TS_CHECK(d < ts_tolerance(1e-11, 5e-5), "%s: documents in one row are %g away from those alone", s->name, d);
    free(packed);
    free(a);
    free(b);
}

static void packed_rows(void)
{
    each_case(judge_packed);
}

/* ---- Saving ---- */

static void judge_saved(subject *s)
{
    lt_ctx *ctx = s->place->ctx;
    lt_tensors *was = NULL, *is = NULL;
    lt_model *again = NULL;
    const char *dir = ts_at(s->place, "saved");
    TS_OK(ctx, lt_model_save(s->model, dir, "F32"));
    if (TS_OK(ctx, lt_tensors_open(ctx, s->directory, &was)) && TS_OK(ctx, lt_tensors_open(ctx, dir, &is))) {
        TS_CHECK(lt_tensors_count(was) == lt_tensors_count(is), "%s: %d tensors", s->name, lt_tensors_count(is));
        for (int i = 0; i < lt_tensors_count(was); i++) {
            int k = lt_tensors_find(is, lt_tensors_name(was, i));
            TS_CHECK(
                k >= 0 && lt_tensors_bytes(is, k) == lt_tensors_bytes(was, i) &&
                    ts_same_bytes((size_t)lt_tensors_bytes(was, i), lt_tensors_data(was, i), lt_tensors_data(is, k)) &&
                    ts_same_bytes((size_t)lt_tensors_rank(was, i) * sizeof(int64_t), lt_tensors_shape(was, i),
                                  lt_tensors_shape(is, k)),
                "%s: %s is written as it was read", s->name, lt_tensors_name(was, i));
        }
    }
    lt_tensors_close(was);
    lt_tensors_close(is);
    if (TS_OK(ctx, lt_model_open(ctx, dir, &again))) judge_logits(s, again, "saved and opened");
    lt_model_free(again);
}

static void saved_models(void)
{
    each_case(judge_saved);
}

int lti_suite_families(void)
{
    const ts_test tests[] = {{"logits and gradients", numbers}, {"frozen models", frozen_models},
                             {"old spellings", old_spellings},  {"caches", caches},
                             {"packed rows", packed_rows},      {"saved models", saved_models}};
    return ts_suite("families", LTI_COUNT(tests), tests) || toy_one_thread("families");
}
