/* toys.c - see toys.h. */
#include "tests/toys.h"

#include <unistd.h>

lt_model *toy_model(lt_ctx *ctx, const char *init, uint64_t seed)
{
    lt_model *model = NULL;
    TS_OK(ctx, lt_model_create(ctx, init, NULL, seed, &model));
    return model;
}

/* Documents of different lengths, so that rows, batches and buckets differ too. */
lt_dataset *toy_text(lt_ctx *ctx, const lt_model *model, lt_split split)
{
    static const char *const words[] = {"the cat ", "sat ", "on ", "a mat ", "and ", "saw ", "the red ", "dog run. "};
    char text[8192];
    size_t n = 0;
    for (int document = 0; document < 24; document++) {
        int count = 4 + document * 7 % 11;
        for (int i = 0; i < count; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", words[(document * 3 + i * (1 + document % 3)) % 8]);
        n += (size_t)snprintf(text + n, sizeof text - n, "\n<|endoftext|>\n");
    }
    lt_dataset_options options;
    lt_dataset_options_init(&options);
    options.max_seq_length = 32;
    options.split = split;
    lt_dataset *set = NULL;
    TS_OK(ctx, lt_dataset_from_text(ctx, text, (int64_t)n, lt_model_tokenizer(model), &options, &set));
    return set;
}

bool toy_same_weights(const lt_model *a, const lt_model *b, const char *what)
{
    lt_params *x = lt_model_params(a), *y = lt_model_params(b);
    int compared = 0;
    for (int i = 0; i < lt_params_count(x); i++) {
        const lt_param *p = lt_params_at(x, i);
        if (lt_param_role(p) != LT_WEIGHT) continue;
        const lt_param *q = lt_params_find(y, lt_param_name(p));
        bool same = q && lt_param_bytes(p) == lt_param_bytes(q) &&
                    ts_same_bytes(lt_param_bytes(p), lt_param_read(p), lt_param_read(q));
        if (!TS_CHECK(same, "%s: '%s' differs", what, lt_param_name(p))) return false;
        compared++;
    }
    return TS_CHECK(compared > 0, "%s: there is nothing to compare", what);
}

lt_real *toy_logits(lt_model *model, const int32_t *tokens, int64_t T)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    int64_t vocab = lt_model_config(model)->vocab;
    lt_real *logits = calloc((size_t)(T * vocab), sizeof *logits);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    if (TS_OK(ctx, lt_graph_create(ctx, lt_model_params(model), &g))) {
        lt_t y = lt_model_logits(
            model, g,
            &(lt_model_input){.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, T}, 0, (int32_t)vocab)});
        if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", tokens)) &&
            TS_OK(ctx, lt_run(plan)))
            memcpy(logits, lt_result(plan, 0), (size_t)(T * vocab) * sizeof *logits);
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    return logits;
}

static int threads_before;

static int one_thread(void)
{
    threads_before = lt_threads();
    lt_set_threads(1);
    return 0;
}

static int threads_again(void)
{
    lt_set_threads(threads_before);
    return 0;
}

int toy_one_thread(const char *suite)
{
    CU_pSuite s = CU_get_suite(suite);
    return s ? CU_set_suite_initfunc(s, one_thread) || CU_set_suite_cleanupfunc(s, threads_again) : 1;
}

/* ---- Files ---- */

bool toy_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

char *toy_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!TS_CHECK(file != NULL, "%s cannot be read", path)) return NULL;
    fseek(file, 0, SEEK_END);
    long n = ftell(file);
    rewind(file);
    char *bytes = calloc((size_t)n + 1, 1);
    TS_CHECK(fread(bytes, 1, (size_t)n, file) == (size_t)n, "%s is read", path);
    fclose(file);
    if (size) *size = (size_t)n;
    return bytes;
}

void toy_flip(const char *path, long offset)
{
    FILE *file = fopen(path, "r+b");
    if (!TS_CHECK(file != NULL, "%s cannot be changed", path)) return;
    fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(byte ^ 1, file);
    fclose(file);
}

void toy_cut(const char *path, long bytes)
{
    size_t size = 0;
    free(toy_read(path, &size));
    TS_CHECK(truncate(path, (off_t)size - bytes) == 0, "%s is cut", path);
}

void toy_set_json(const char *path, const char *key, const char *value)
{
    json_t *json = json_load_file(path, 0, NULL);
    if (!TS_CHECK(json != NULL, "%s is no JSON", path)) return;
    if (value)
        json_object_set_new(json, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(json, key);
    TS_CHECK(json_dump_file(json, path, JSON_INDENT(1)) == 0, "%s is written", path);
    json_decref(json);
}

static bool is(const char *wanted, const char *name)
{
    return wanted && strcmp(wanted, name) == 0;
}

void toy_rewrite(lt_ctx *ctx, const char *from, const char *to, const toy_edit *edit)
{
    lt_tensors *file;
    if (!TS_OK(ctx, lt_tensors_open(ctx, from, &file))) return;
    int n = lt_tensors_count(file), count = 0, pairs = 0;
    lt_tensor_entry *entries = calloc((size_t)n + 1, sizeof *entries);
    int64_t(*flat)[2] = calloc((size_t)n + 1, sizeof *flat);
    lt_pair metadata[64];
    static const int64_t one[] = {1};
    static const float zero = 0;
    for (int i = 0; i < n; i++) {
        const char *name = lt_tensors_name(file, i);
        if (is(edit->drop, name)) continue;
        lt_tensor_entry *e = &entries[count];
        *e = (lt_tensor_entry){.name = name,
                               .dtype = lt_tensors_dtype(file, i),
                               .rank = lt_tensors_rank(file, i),
                               .shape = lt_tensors_shape(file, i),
                               .data = lt_tensors_data(file, i)};
        if (is(edit->reshape, name)) e->rank = 2, e->shape = flat[count], flat[count][0] = 1;
        if (is(edit->retype, name)) e->rank = 1, e->dtype = edit->as, e->shape = flat[count];
        if (is(edit->reshape, name)) flat[count][1] = lt_tensors_elements(file, i);
        if (is(edit->retype, name)) flat[count][0] = (int64_t)lt_tensors_bytes(file, i) * 8 / lt_stored_bits(edit->as);
        count++;
    }
    if (edit->add) entries[count++] = (lt_tensor_entry){edit->add, LT_STORED_F32, 1, one, &zero, NULL};
    for (int i = 0; edit->copied && edit->copied[i] && pairs < 64; i++)
        if (!is(edit->meta_key, edit->copied[i]))
            metadata[pairs++] = (lt_pair){edit->copied[i], lt_tensors_metadata(file, edit->copied[i])};
    if (edit->meta_value) metadata[pairs++] = (lt_pair){edit->meta_key, edit->meta_value};
    TS_OK(ctx, lt_tensors_write(ctx, to, entries, count, metadata, pairs, NULL));
    free(entries);
    free(flat);
    lt_tensors_close(file);
}

/* ---- Memory ---- */

/* One attempt with allocation `fail_at` failing. Returns whether all was well. */
static bool one_failure(const char *what, lt_status (*attempt)(lt_ctx *ctx, void *arg, bool *survived), void *arg,
                        ts_memory *memory)
{
    lt_allocator allocator = ts_allocator(memory);
    lt_ctx *ctx = lt_ctx_create(&allocator);
    bool survived = false;
    lt_status status = attempt(ctx, arg, &survived);
    bool fine = memory->hit ? (status == LT_ENOMEM && lt_ctx_message(ctx)[0]) || (status == LT_OK && survived)
                            : status == LT_OK;
    TS_CHECK(fine, "%s: allocation %lld %s, and the status is %s (%s)", what, (long long)memory->fail_at,
             memory->hit ? "fails" : "does not fail", lt_status_name(status), lt_ctx_message(ctx));
    size_t live = lt_ctx_live_bytes(ctx);
    TS_CHECK(live == 0, "%s: allocation %lld fails, and %zu bytes leak", what, (long long)memory->fail_at, live);
    lt_ctx_free(ctx);
    return fine && live == 0;
}

void toy_allocations_fail(const char *what, int64_t most, lt_status (*attempt)(lt_ctx *ctx, void *arg, bool *survived),
                          void *arg)
{
    ts_memory whole = {.fail_at = -1};
    if (!one_failure(what, attempt, arg, &whole)) return;
    TS_CHECK(whole.count > 10, "%s: only %lld allocations", what, (long long)whole.count);
    int64_t stride = whole.count / most + 1, wrong = 0;
    for (int64_t n = 1; n < whole.count && wrong < 4; n += stride) {
        ts_memory memory = {.fail_at = n};
        wrong += !one_failure(what, attempt, arg, &memory);
    }
}
