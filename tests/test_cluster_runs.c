/* test_cluster_runs.c - trainings of clustered weights, whole and stopped; the packed file, and what is wrong with broken
 * ones. */
#include "tests/cluster_cases.h"

#include <math.h>

/* ---- Training ---- */

static void train_centroids(toy_run *r)
{
    r->config.cluster = config_of(8, LT_PER_TENSOR, LT_CLUSTER_CENTROIDS, false);
}

static void train_rows_fused(toy_run *r)
{
    r->config.cluster = config_of(5, LT_PER_CHANNEL, LT_CLUSTER_STE, true);
    r->config.max_grad_norm = 0;
}

static void train_through(toy_run *r)
{
    r->config.cluster = config_of(8, LT_PER_TENSOR, LT_CLUSTER_STE, false);
    r->config.grad_accumulation_steps = 2;
}

static void train_averages(toy_run *r)
{
    r->config.cluster = config_of(6, LT_PER_CHANNEL, LT_CLUSTER_CENTROIDS, true);
    r->config.ema_decay = 0.9, r->config.compute = "bf16", r->config.checkpoint_activations = true;
}

static void stopping_changes_no_bit(void)
{
    toy_stopped_and_resumed("trained centroids", train_centroids, TOY_STOPS(3, 8));
    toy_stopped_and_resumed("rows, fused", train_rows_fused, TOY_STOPS(5));
    toy_stopped_and_resumed("through the look-up", train_through, TOY_STOPS(7));
    toy_stopped_and_resumed("averaged centroids", train_averages, TOY_STOPS(4));
}

static void training_ends_clustered(void)
{
    void (*const changes[])(toy_run * r) = {train_centroids, train_rows_fused, train_through, train_averages};
    for (int t = 0; t < LTI_COUNT(changes); t++) {
        ts_place p = ts_open_place();
        char out[128];
        snprintf(out, sizeof out, "%s/run", p.dir);
        toy_run r = toy_new_run(&p, out);
        changes[t](&r);
        const lt_cluster_config *c = &r.config.cluster;
        TS_OK(p.ctx, toy_go(&r));
        TS_CHECK(r.result.last_loss < r.result.first_loss, "%d: loss %g to %g", t, r.result.first_loss,
                 r.result.last_loss);
        const lt_param *w = lt_params_find(lt_model_params(r.model), "blk.1.ffn_down.weight");
        int most = distinct(w, c->per == LT_PER_CHANNEL ? lt_param_shape(w)[0] : 1);
        TS_CHECK(most <= c->clusters && most > 2, "%d: %d values", t, most);
        lt_dataset *valid = toy_text(p.ctx, r.model, LT_SPLIT_VALID);
        lt_eval_result e;
        TS_OK(p.ctx, lt_evaluate(r.model, valid, NULL, 0, &e));
        TS_CHECK(e.nll == r.result.valid_loss, "%d: the weights have the last validation's loss: %.12g, %.12g", t,
                 e.nll, r.result.valid_loss);
        lt_model *fresh = toy_model(p.ctx, r.init, 21), *opened = NULL;
        TS_OK(p.ctx, lt_cluster_prepare(lt_model_params(fresh), c));
        const lt_param *a = lt_params_find(lt_model_params(r.model), "blk.0.attn_q.weight:centroids"),
                       *b = lt_params_find(lt_model_params(fresh), "blk.0.attn_q.weight:centroids");
        TS_CHECK(a && b && memcmp(lt_param_read(a), lt_param_read(b), lt_param_bytes(a)), "%d: centroids moved", t);
        char *text = toy_read(ts_at(&p, "run/run.json"), NULL);
        TS_CHECK(text && strstr(text, "\"clustering\"") && strstr(text, lt_cluster_mode_name(c->mode)), "run.json: %s",
                 text);
        free(text);
        TS_OK(p.ctx, lt_model_open(p.ctx, ts_at(&p, "run/checkpoints/ckpt-000012"), &opened));
        if (opened && c->mode == LT_CLUSTER_CENTROIDS && r.config.ema_decay == 0)
            toy_same_weights(opened, r.model, "the last checkpoint opens as the model");
        lt_model_free(opened);
        lt_model_free(fresh);
        lt_dataset_free(valid);
        lt_model_free(r.model);
        ts_close_place(&p);
    }
}

static void zeros_stay(void)
{
    const lt_cluster_mode modes[] = {LT_CLUSTER_CENTROIDS, LT_CLUSTER_STE};
    for (int t = 0; t < 2; t++) {
        lt_ctx *ctx = lt_ctx_create(NULL);
        lt_model *m = toy_model(ctx, TOY_INIT, 5);
        lt_real *w = lt_param_data(lt_params_find(lt_model_params(m), "blk.0.ffn_up.weight"));
        for (int i = 0; i < 64 * 32; i += 2) w[i] = 0;
        lt_dataset *train = toy_text(ctx, m, LT_SPLIT_TRAIN);
        lt_train_config c;
        lt_train_config_init(&c);
        c.steps = 10, c.learning_rate = 0.02, c.weight_decay = 0.1;
        c.cluster = config_of(8, LT_PER_TENSOR, modes[t], true);
        lt_train_result r;
        TS_OK(ctx, lt_train(m, train, NULL, &c, &r));
        int kept = 0, others = 0;
        for (int i = 0; i < 64 * 32; i++) kept += i % 2 == 0 && w[i] == 0, others += i % 2 && w[i] != 0;
        TS_CHECK(kept == 1024 && others > 512, "%s: %d of 1024 zeros stay, %d other weights",
                 lt_cluster_mode_name(modes[t]), kept, others);
        lt_dataset_free(train);
        lt_model_free(m);
        lt_ctx_free(ctx);
    }
}

static void trainings_refused(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_model *m = toy_model(ctx, TOY_INIT, 5);
    lt_dataset *train = toy_text(ctx, m, LT_SPLIT_TRAIN);
    const char *const says[] = {"exclude each other", "ema_decay", "muon", "frozen_type", "2 to 256"};
    for (int t = 0; t < LTI_COUNT(says); t++) {
        lt_train_config c;
        lt_train_result r;
        lt_train_config_init(&c);
        c.steps = 2, c.cluster = config_of(8, LT_PER_TENSOR, LT_CLUSTER_STE, true);
        if (t == 0) c.quant.weights = lt_scheme_of(LT_Q4_0);
        if (t == 1) c.ema_decay = 0.9;
        if (t == 2) c.optimizer = "muon";
        if (t == 3) c.frozen_type = "bf16";
        if (t == 4) c.cluster.clusters = 1;
        TS_REFUSED(ctx, lt_train(m, train, NULL, &c, &r), LT_EINVAL, says[t]);
    }
    lt_dataset_free(train);
    lt_model_free(m);
    lt_ctx_free(ctx);
}

/* ---- The packed file ---- */

static void round_trips(void)
{
    const int64_t counts[] = {2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 100, 128, 200, 256};
    ts_place p = ts_open_place();
    for (int t = 0; t < 2 * LTI_COUNT(counts); t++) {
        lt_params *params, *read = NULL;
        lt_param *w, *v, *b;
        lt_cluster_config c =
            config_of(counts[t / 2], t % 2 ? LT_PER_CHANNEL : LT_PER_TENSOR, LT_CLUSTER_STE, t % 3 == 0);
        if (!TS_OK(p.ctx, lt_params_create(p.ctx, &params))) return;
        TS_OK(p.ctx, lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){7, 133}, LT_WEIGHT, &w));
        TS_OK(p.ctx, lt_params_add(params, "conv.weight", LT_F32, 4, (int64_t[]){5, 3, 1, 3}, LT_WEIGHT, &v));
        TS_OK(p.ctx, lt_params_add(params, "fc.bias", LT_F32, 1, (int64_t[]){7}, LT_WEIGHT, &b));
        ts_fill_normal("fc", 7 * 133, 0.3, lt_param_data(w));
        ts_fill_normal("conv", 45, 0.3, lt_param_data(v));
        ts_fill_normal("bias", 7, 0.3, lt_param_data(b));
        lt_cluster_report r;
        TS_OK(p.ctx, lt_cluster_prepare(params, &c));
        if (counts[t / 2] < 128) /* with a cluster for each of a row's weights nothing moves */
            TS_REFUSED(p.ctx, lt_cluster_write(params, &c, ts_at(&p, "early.safetensors"), &r), LT_EINVAL,
                       "lt_cluster_apply");
        TS_OK(p.ctx, lt_cluster_apply(params, &c, NULL));
        TS_OK(p.ctx, lt_cluster_write(params, &c, ts_at(&p, "c.safetensors"), &r));
        int bits = (int)ceil(log2((double)counts[t / 2]) - 1e-9), books = t % 2 ? 7 + 5 : 2;
        TS_CHECK(r.index_bytes == (uint64_t)((7 * 133 * bits + 7) / 8 + (45 * bits + 7) / 8) &&
                     r.codebook_bytes == (uint64_t)(books * counts[t / 2]) * sizeof(lt_real) && r.tensors == 2 &&
                     r.weights == 7 * 133 + 45 && r.other_bytes == 7 * sizeof(lt_real) && r.zlib_bytes > 16 &&
                     r.file_bytes > r.index_bytes + r.codebook_bytes,
                 "%lld clusters: %llu bytes of indices, %llu of codebooks", (long long)counts[t / 2],
                 (unsigned long long)r.index_bytes, (unsigned long long)r.codebook_bytes);
        TS_CHECK(r.table && strstr(r.table, "fc.weight\t7x133\t"), "the table: %s", r.table);
        lt_string_free(p.ctx, r.table);
        if (TS_OK(p.ctx, lt_cluster_read(p.ctx, ts_at(&p, "c.safetensors"), &read))) {
            for (int i = 0; i < 3; i++) {
                const lt_param *a = i == 0 ? w : i == 1 ? v : b, *z = lt_params_find(read, lt_param_name(a));
                TS_CHECK(z && lt_param_rank(z) == lt_param_rank(a) &&
                             ts_same_bytes(lt_param_bytes(a), lt_param_read(a), lt_param_read(z)),
                         "%s comes back", lt_param_name(a));
            }
            TS_CHECK(lt_params_count(read) == 3, "and nothing else");
        }
        lt_params_free(read);
        lt_params_free(params);
    }
    ts_close_place(&p);
}

/* A sound file: fc.weight [7, 13] in 5 clusters; its path. */
static void put_sound(ts_place *p, const char *path)
{
    lt_params *params;
    lt_param *w;
    lt_cluster_config c = config_of(5, LT_PER_TENSOR, LT_CLUSTER_STE, false);
    if (!TS_OK(p->ctx, lt_params_create(p->ctx, &params))) return;
    TS_OK(p->ctx, lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){7, 13}, LT_WEIGHT, &w));
    ts_fill_normal("fc", 7 * 13, 0.3, lt_param_data(w));
    TS_OK(p->ctx, lt_cluster_prepare(params, &c));
    TS_OK(p->ctx, lt_cluster_apply(params, &c, NULL));
    TS_OK(p->ctx, lt_cluster_write(params, &c, path, NULL));
    lt_params_free(params);
}

static void broken_files(void)
{
    static const char *const copied[] = {"clusters:fc.weight", NULL};
    const struct {
        toy_edit edit;
        const char *says;
    } cases[] = {
        {{.drop = "fc.weight:indices"}, "other half"},
        {{.drop = "fc.weight:codebook"}, "other half"},
        {{.reshape = "fc.weight:codebook"}, NULL},
        {{.add = "fc.weight"}, "twice"},
        {{.retype = "fc.weight:indices", .as = LT_STORED_I8}, "bytes"},
        {{.retype = "fc.weight:codebook", .as = LT_STORED_U8}, "bytes"},
        {{.meta_key = "clusters:fc.weight"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:7x14"}, "bytes"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "4:7x13"}, "bytes"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "9:7x13"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:7x"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:7x-13"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:7x13 "}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:1x1x1x1x1x7x13"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:9223372036854775807x9223372036854775807"}, "metadata"},
        {{.meta_key = "clusters:fc.weight", .meta_value = "3:99999999999999999999x13"}, "metadata"}};
    ts_place p = ts_open_place();
    char sound[600], bad[600];
    snprintf(sound, sizeof sound, "%s/sound.safetensors", p.dir);
    snprintf(bad, sizeof bad, "%s/bad.safetensors", p.dir);
    put_sound(&p, sound);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lt_params *read = NULL;
        toy_edit edit = cases[i].edit;
        edit.copied = copied;
        toy_rewrite(p.ctx, sound, bad, &edit);
        if (!cases[i].says) { /* one codebook in one row is what it was */
            TS_OK(p.ctx, lt_cluster_read(p.ctx, bad, &read));
            lt_params_free(read);
            continue;
        }
        lt_status status = lt_cluster_read(p.ctx, bad, &read);
        TS_CHECK((status == LT_EFORMAT || status == LT_EUNSUPPORTED) && !read &&
                     strstr(lt_ctx_message(p.ctx), cases[i].says) && strstr(lt_ctx_message(p.ctx), "fc.weight"),
                 "%d: %s (%s), not '%s'", i, lt_status_name(status), lt_ctx_message(p.ctx), cases[i].says);
        lt_params_free(read);
    }
    toy_flip(sound, -1); /* 91 indices of 3 bits leave 7 bits, which are 0; the last byte is of the indices */
    lt_params *read = NULL;
    lt_status status = lt_cluster_read(p.ctx, sound, &read);
    TS_CHECK(status == LT_EFORMAT || status == LT_OK, "a flipped bit: %s", lt_ctx_message(p.ctx));
    lt_params_free(read);
    toy_cut(sound, 3);
    TS_REFUSED(p.ctx, lt_cluster_read(p.ctx, sound, &read), LT_EFORMAT, "sound.safetensors");
    TS_REFUSED(p.ctx, lt_cluster_read(p.ctx, "/nowhere.safetensors", &read), LT_EIO, "/nowhere.safetensors");
    ts_close_place(&p);
}

/* Indices past the codebook, and bits behind the last one. */
static void broken_indices(void)
{
    static const int64_t books[] = {1, 5}, bytes[] = {2};
    static const lt_real values[5] = {-2, -1, 0, 1, 2};
    const struct {
        uint8_t data[2];
        const char *says;
    } cases[] = {{{0x88, 0x02}, NULL}, {{0xff, 0x02}, "index 7 of weight 0"}, {{0x88, 0x12}, "behind"}};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++) { /* 4 indices of 3 bits */
        const lt_tensor_entry entries[] = {
            {.name = "w:codebook", .dtype = LT_STORED_REAL, .rank = 2, .shape = books, .data = values},
            {.name = "w:indices", .dtype = LT_STORED_U8, .rank = 1, .shape = bytes, .data = cases[i].data}};
        const lt_pair pair = {"clusters:w", "3:2x2"};
        lt_params *read = NULL;
        TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "w.safetensors"), entries, 2, &pair, 1, NULL));
        if (cases[i].says) {
            TS_REFUSED(p.ctx, lt_cluster_read(p.ctx, ts_at(&p, "w.safetensors"), &read), LT_EFORMAT, cases[i].says);
        } else if (TS_OK(p.ctx, lt_cluster_read(p.ctx, ts_at(&p, "w.safetensors"), &read))) {
            const lt_real *w = lt_param_read(lt_params_find(read, "w")); /* 0x288 = 001 010 001 000 */
            TS_CHECK(w[0] == -2 && w[1] == -1 && w[2] == 0 && w[3] == -1, "%g %g %g %g", (double)w[0], (double)w[1],
                     (double)w[2], (double)w[3]);
            lt_params_free(read);
        }
    }
    ts_close_place(&p);
}

static lt_status cluster_once(lt_ctx *ctx, void *arg, bool *survived)
{
    lt_params *params, *read = NULL;
    lt_param *w;
    lt_cluster_report r = {0};
    (void)survived;
    lt_cluster_config c = config_of(8, LT_PER_CHANNEL, LT_CLUSTER_STE, true);
    LTI_TRY(lt_params_create(ctx, &params));
    lt_status status = lt_params_add(params, "fc.weight", LT_F32, 2, (int64_t[]){4, 40}, LT_WEIGHT, &w);
    if (status == LT_OK) ts_fill_normal("fc", 160, 1, lt_param_data(w));
    if (status == LT_OK) status = lt_cluster_prepare(params, &c);
    if (status == LT_OK) status = lt_cluster_apply(params, &c, NULL);
    if (status == LT_OK) status = lt_cluster_write(params, &c, arg, &r);
    if (status == LT_OK) status = lt_cluster_read(ctx, arg, &read);
    if (r.table) lt_string_free(ctx, r.table);
    lt_params_free(read);
    lt_params_free(params);
    return status;
}

static void out_of_memory(void)
{
    ts_place p = ts_open_place();
    char path[600];
    snprintf(path, sizeof path, "%s/oom.safetensors", p.dir);
    toy_allocations_fail("clustering", 200, cluster_once, path);
    ts_close_place(&p);
}

int lti_suite_cluster_runs(void)
{
    const ts_test tests[] = {{"stopping changes no bit", stopping_changes_no_bit},
                             {"training ends clustered", training_ends_clustered},
                             {"zeros stay", zeros_stay},
                             {"trainings refused", trainings_refused},
                             {"round trips", round_trips},
                             {"broken files", broken_files},
                             {"broken indices", broken_indices},
                             {"out of memory", out_of_memory}};
    return ts_suite("cluster_runs", LTI_COUNT(tests), tests);
}
