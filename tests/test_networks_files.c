/* test_networks_files.c - the files of CNNs, perceptrons and recurrent networks: an opened model is held to the one
 * that was saved, and a file that lies is refused with its reason. */
#include "lathe/nn.h"
#include "tests/network_kinds.h"

/* ---- Files ---- */

static void comes_back(ts_place *p, const nk_kind *k, lt_model *model)
{
    int64_t n, n_again;
    char dir[600];
    lt_real *want = nk_logits(model, k, &n);
    snprintf(dir, sizeof dir, "%s", ts_at(p, "saved"));
    TS_OK(p->ctx, lt_model_save(model, dir, nk_exact()));
    for (int frozen = 0; frozen < 2; frozen++) {
        lt_model *again = NULL;
        lt_status status = frozen ? lt_model_open_frozen(p->ctx, dir, &again) : lt_model_open(p->ctx, dir, &again);
        if (!TS_CHECK(status == LT_OK, "%s: %s", k->init, lt_ctx_message(p->ctx))) continue;
        lt_real *got = nk_logits(again, k, &n_again);
        TS_CHECK(want && got && n == n_again && ts_same_bytes((size_t)n * sizeof *got, got, want),
                 "%s%s: other logits than before it was saved", k->init, frozen ? ", frozen" : "");
        TS_CHECK(!strcmp(lt_model_family(again), lt_model_family(model)) && lt_model_reads(again) == k->reads,
                 "%s: another kind", k->init);
        toy_same_weights(model, again, k->init);
        for (int i = 0; i < lt_params_count(lt_model_params(again)); i++) {
            const lt_param *t = lt_params_at(lt_model_params(again), i);
            bool trained = !frozen && !strstr(lt_param_name(t), "running_");
            TS_CHECK(lt_param_trainable(t) == trained, "%s: '%s' is trained or not", k->init, lt_param_name(t));
        }
        free(got);
        lt_model_free(again);
    }
    free(want);
    TS_OK(p->ctx, lti_remove_tree(p->ctx, dir));
}

static void every_kind_comes_back(void)
{
    ts_place p = ts_open_place();
    for (int i = 0; i < NK_KINDS; i++) {
        lt_model *m = nk_make(&p, &nk_kinds[i]);
        if (m) comes_back(&p, &nk_kinds[i], m);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* A frozen matrix held in 16 bits is written as the numbers it stands for. */
static void narrow_params(void)
{
    const lt_dtype types[] = {LT_BF16, LT_F16};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(types); i++) {
        lt_model *m = nk_make(&p, &nk_kinds[NK_MLP]), *again = NULL;
        if (!m) continue;
        lt_param *w = lt_params_find(lt_model_params(m), "fc1.weight");
        lt_init_constant(w, 0.75);
        lt_param_set_trainable(w, false);
        if (TS_OK(p.ctx, lt_param_narrow(w, types[i])) && TS_OK(p.ctx, lt_model_save(m, ts_at(&p, "held"), "F32")) &&
            TS_OK(p.ctx, lt_model_open(p.ctx, ts_at(&p, "held"), &again))) {
            const lt_param *read = lt_params_find(lt_model_params(again), "fc1.weight");
            for (int64_t k = 0; k < lt_param_count(read); k++)
                if (!TS_CHECK(((const lt_real *)lt_param_read(read))[k] == (lt_real)0.75, "type %d, number %lld", i,
                              (long long)k))
                    break;
        }
        lt_model_free(again);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* What is no tensor of the network would be left out in silence: the bias that folding a norm makes. */
static void strangers_are_not_lost(void)
{
    ts_place p = ts_open_place();
    char dir[512];
    lt_model *m = nk_make(&p, &nk_kinds[NK_CNN]);
    snprintf(dir, sizeof dir, "%s", ts_at(&p, "folded"));
    if (m && TS_OK(p.ctx, lt_fold_batch_norm(lt_model_params(m), "stem.conv", "stem.bn", 1e-5)))
        TS_REFUSED(p.ctx, lt_model_save(m, dir, "F32"), LT_EUNSUPPORTED, "'stem.conv.bias' is no tensor of a cnn");
    lt_model_free(m);
    ts_close_place(&p);
}

/* Saved in 16 bits, frozen or not, it computes from the rounded numbers. */
static void narrow_files(void)
{
    ts_place p = ts_open_place();
    for (int i = 0; i < NK_KINDS; i += 4) {
        lt_model *m = nk_make(&p, &nk_kinds[i]), *a = NULL, *b = NULL;
        int64_t n = 0;
        char dir[600];
        snprintf(dir, sizeof dir, "%s", ts_at(&p, "narrow"));
        if (m && TS_OK(p.ctx, lt_model_save(m, dir, "BF16")) && TS_OK(p.ctx, lt_model_open(p.ctx, dir, &a)) &&
            TS_OK(p.ctx, lt_model_open_frozen(p.ctx, dir, &b))) {
            lt_real *x = nk_logits(a, &nk_kinds[i], &n), *y = nk_logits(b, &nk_kinds[i], &n);
            TS_CHECK(x && y && ts_same_bytes((size_t)n * sizeof *x, x, y), "%s: frozen bf16", nk_kinds[i].init);
            free(x);
            free(y);
        }
        lt_model_free(a);
        lt_model_free(b);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* Names of classes come from the data and go through the file; a BERT has them too. */
static void labels(void)
{
    static const char *const inits[] = {"gru:dim=4,hidden=4", "bert:layers=1,dim=8,hidden=16,heads=2,context=16",
                                        "bert:layers=1,dim=8,hidden=16,heads=2,context=16,classes=3"};
    ts_place p = ts_open_place();
    lt_dataset *data = nk_data(&p, NK_TEXTS);
    for (int i = 0; i < LTI_COUNT(inits); i++) {
        lt_model *m = NULL, *again = NULL;
        char dir[600];
        snprintf(dir, sizeof dir, "%s", ts_at(&p, "labelled"));
        if (!TS_OK(p.ctx, lt_model_create_for(p.ctx, inits[i], NULL, data, 1, &m))) continue;
        if (TS_OK(p.ctx, lt_model_save(m, dir, "F32")) && TS_OK(p.ctx, lt_model_open(p.ctx, dir, &again))) {
            const char *first = lt_model_label(again, 0), *second = lt_model_label(again, 1);
            TS_CHECK(first && second && !strcmp(first, "ham") && !strcmp(second, "spam"), "%s: its labels", inits[i]);
            TS_OK(p.ctx, lt_model_check_data(again, data));
        }
        lt_model_free(again);
        lt_model_free(m);
        TS_OK(p.ctx, lti_remove_tree(p.ctx, dir));
    }
    lt_dataset_free(data);
    ts_close_place(&p);
}

/* A run's directory has the config, its checkpoints the weights. */
static void a_checkpoint_opens(void)
{
    ts_place p = ts_open_place();
    lt_model *m = nk_make(&p, &nk_kinds[0]), *again = NULL;
    char dir[600], from[700], to[700];
    snprintf(dir, sizeof dir, "%s", ts_at(&p, "run/checkpoints/ckpt-000001"));
    snprintf(from, sizeof from, "%s", ts_at(&p, "run/model.safetensors"));
    snprintf(to, sizeof to, "%s/state.safetensors", dir);
    TS_OK(p.ctx, lt_model_save(m, ts_at(&p, "run"), nk_exact()));
    TS_OK(p.ctx, lti_mkdirs(p.ctx, dir));
    TS_CHECK(rename(from, to) == 0, "the weights are moved");
    if (TS_OK(p.ctx, lt_model_open(p.ctx, dir, &again))) toy_same_weights(m, again, "a checkpoint");
    lt_model_free(again);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Files that lie ---- */

static void refused_with(ts_place *p, const char *dir, const char *words)
{
    lt_model *m;
    TS_REFUSED(p->ctx, lt_model_open(p->ctx, dir, &m), LT_EFORMAT, words);
    TS_REFUSED(p->ctx, lt_model_open_frozen(p->ctx, dir, &m), LT_EFORMAT, words);
}

static void wrong_configs(void)
{
    static const struct {
        int kind;
        const char *key, *value, *words;
    } wrong[] = {
        {0, "filters", NULL, "'filters' is missing"},
        {0, "filters", "\"4\"", "'filters' is a string"},
        {0, "filters", "5", "but config.json makes it [5, 1, 3, 3]"},
        {0, "filters", "1099511627776", "filters is 1099511627776"},
        {0, "stages", "-1", "'stages' is"},
        {0, "stages", "1", "'head.weight' is [3, 8]"},
        {0, "stages", "3", "'stage.2.0.conv1.weight' is missing"},
        {0, "blocks", "200", "'stage.0.1.conv1.weight' is missing"},
        {0, "depthwise", "1", "true or false is needed"},
        {0, "depthwise", "true", "'stage.0.0.conv1.weight' is [4, 4, 3, 3]"},
        {0, "norm_eps", "-1e-5", "norm_eps is -1e-05"},
        {0, "norm_momentum", "null", "'norm_momentum' is null"},
        {0, "dropout", "0.5", "'dropout' is no key of a lathe-cnn"},
        {0, "id2label", "{\"0\": \"a\"}", "names 1 classes, but 'classes' is 3"},
        {0, "id2label", "{\"0\": \"a\", \"1\": \"b\", \"3\": \"c\"}", "has '3', which is no class's number"},
        {0, "id2label", "{\"0\": \"a\", \"1\": \"b\", \"02\": \"c\"}", "has '02'"},
        {0, "id2label", "{\"0\": \"a\", \"1\": \"b\", \"2\": 7}", "has '2'"},
        {0, "id2label", "[]", "'id2label' is an array"},
        {0, "classes", "4", "'head.weight' is [3, 8]"},
        {5, "hidden", "[5, 0]", "whole numbers above 0"},
        {5, "hidden", "5", "must be a list"},
        {5, "hidden", "[1,1,1,1,1,1,1,1]", "at most 7"},
        {5, "hidden", "[5]", "'fc2.weight' is [4, 5]"},
        {7, "vocab", "258", "exclude each other"},
        {7, "layers", "64", "'rnn.2.weight_ih' is missing"},
        {7, "context", "0", "context is 0"},
        {11, "tied", "false", "'output.weight' is missing"},
        {11, "vocab", "257", "'token_embd.weight' is [258, 6]"},
        {11, "hidden", "7", "hidden (7) is dim (6)"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        char dir[600], config[700];
        lt_model *m = nk_make(&p, &nk_kinds[wrong[i].kind]);
        snprintf(dir, sizeof dir, "%s", ts_at(&p, "wrong"));
        snprintf(config, sizeof config, "%s/config.json", dir);
        TS_OK(p.ctx, lt_model_save(m, dir, "F32"));
        toy_set_json(config, wrong[i].key, wrong[i].value);
        refused_with(&p, dir, wrong[i].words);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* No key may be left out. */
static void every_key_is_needed(void)
{
    ts_place p = ts_open_place();
    static const int which[] = {0, 5, 11};
    for (int i = 0; i < LTI_COUNT(which); i++) {
        char dir[600], config[700];
        lt_model *m = nk_make(&p, &nk_kinds[which[i]]);
        snprintf(dir, sizeof dir, "%s", ts_at(&p, "keys"));
        snprintf(config, sizeof config, "%s/config.json", dir);
        TS_OK(p.ctx, lt_model_save(m, dir, "F32"));
        json_t *whole = json_load_file(config, 0, NULL), *value;
        const char *key;
        json_object_foreach(whole, key, value)
        {
            if (!strcmp(key, "dtype") || !strcmp(key, "model_type")) continue;
            TS_CHECK(json_dump_file(whole, config, 0) == 0, "the config is written");
            toy_set_json(config, key, NULL);
            refused_with(&p, dir, key);
        }
        json_decref(whole);
        lt_model_free(m);
        TS_OK(p.ctx, lti_remove_tree(p.ctx, dir));
    }
    ts_close_place(&p);
}

static void wrong_tensors(void)
{
    static const struct {
        int kind;
        toy_edit edit;
        const char *words;
    } wrong[] = {
        {0, {.drop = "stage.1.0.shortcut.bn.running_var"}, "'stage.1.0.shortcut.bn.running_var' is missing"},
        {0, {.drop = "head.bias"}, "'head.bias' is missing"},
        {0, {.reshape = "stem.conv.weight"}, "'stem.conv.weight' is [1, 36]"},
        {0, {.add = "stem.conv.bias"}, "'stem.conv.bias' has no place in this cnn model"},
        {5, {.drop = "fc2.weight"}, "'fc2.weight' is missing"},
        {5, {.add = "fc4.weight"}, "'fc4.weight' has no place in this mlp model"},
        {11, {.reshape = "rnn.0.weight_hh"}, "'rnn.0.weight_hh' is [1, 144]"},
        {11, {.add = "output.weight"}, "'output.weight' has no place in this lstm model"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        char dir[600], file[700], other[700];
        lt_model *m = nk_make(&p, &nk_kinds[wrong[i].kind]);
        snprintf(dir, sizeof dir, "%s", ts_at(&p, "wrong"));
        snprintf(file, sizeof file, "%s/model.safetensors", dir);
        snprintf(other, sizeof other, "%s", ts_at(&p, "other.safetensors"));
        TS_OK(p.ctx, lt_model_save(m, dir, "F32"));
        toy_rewrite(p.ctx, file, other, &wrong[i].edit);
        TS_CHECK(rename(other, file) == 0, "the file is changed");
        refused_with(&p, dir, wrong[i].words);
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* What PyTorch counts beside running averages is passed over. */
static void torch_buffers(void)
{
    ts_place p = ts_open_place();
    lt_model *m = nk_make(&p, &nk_kinds[0]), *again = NULL;
    char dir[600], file[700], other[700];
    snprintf(dir, sizeof dir, "%s", ts_at(&p, "torch"));
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    snprintf(other, sizeof other, "%s", ts_at(&p, "other.safetensors"));
    TS_OK(p.ctx, lt_model_save(m, dir, nk_exact()));
    toy_rewrite(p.ctx, file, other, &(toy_edit){.add = "stem.bn.num_batches_tracked"});
    TS_CHECK(rename(other, file) == 0, "the file is changed");
    if (TS_OK(p.ctx, lt_model_open(p.ctx, dir, &again))) toy_same_weights(m, again, "with a counter of batches");
    lt_model_free(again);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Memory ---- */

typedef struct attempt {
    const char *path;
} attempt;

static lt_status open_both(lt_ctx *ctx, void *arg)
{
    const attempt *a = arg;
    lt_model *m;
    LTI_TRY(lt_model_open(ctx, a->path, &m));
    lt_model_free(m);
    LTI_TRY(lt_model_open_frozen(ctx, a->path, &m));
    lt_model_free(m);
    return LT_OK;
}

static lt_status create_and_save(lt_ctx *ctx, void *arg)
{
    const attempt *a = arg;
    static const lt_real x[2 * 4] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const int32_t y[2] = {0, 1};
    lt_arrays arrays = {.n = 2, .d = 4, .x = (lt_real *)x, .y = (int32_t *)y, .classes = 2, .rank = 2, .shape = {2, 2}};
    lt_dataset *data;
    lt_model *m;
    LTI_TRY(lt_dataset_from_arrays(ctx, &arrays, &data));
    lt_status status = lt_model_create_for(ctx, "cnn:filters=2,stages=2", NULL, data, 1, &m);
    lt_dataset_free(data);
    LTI_TRY(status);
    status = lt_model_save(m, a->path, "F32");
    lt_model_free(m);
    return status;
}

/* A language model, whose tokenizer is files too: more allocations than there is time for. */
static lt_status open_writer(lt_ctx *ctx, void *arg, bool *survived)
{
    (void)survived;
    return open_both(ctx, arg);
}

static void allocations_fail(void)
{
    static const char *const inits[] = {"mlp:hidden=3,inputs=2,classes=2", "gru:dim=2,hidden=2"};
    ts_place p = ts_open_place();
    char dir[600];
    attempt a = {dir};
    snprintf(dir, sizeof dir, "%s", ts_at(&p, "model"));
    ts_every_allocation_fails("creating a cnn and saving it", create_and_save, &a);
    ts_every_allocation_fails("opening a cnn", open_both, &a);
    for (int i = 0; i < LTI_COUNT(inits); i++) {
        lt_model *m = NULL;
        if (TS_OK(p.ctx, lt_model_create(p.ctx, inits[i], NULL, 1, &m))) TS_OK(p.ctx, lt_model_save(m, dir, "F32"));
        lt_model_free(m);
        if (i == 0)
            ts_every_allocation_fails("opening an mlp", open_both, &a);
        else
            toy_allocations_fail("opening a gru", 60, open_writer, &a);
    }
    ts_close_place(&p);
}

int lti_suite_networks_files(void)
{
    return ts_suite("networks_files", 9,
                    (ts_test[]){{"every kind comes back", every_kind_comes_back},
                                {"matrices held in 16 bits", narrow_params},
                                {"strangers are not lost", strangers_are_not_lost},
                                {"files of 16 bits", narrow_files},
                                {"names of classes", labels},
                                {"a checkpoint opens", a_checkpoint_opens},
                                {"wrong configs", wrong_configs},
                                {"every key is needed", every_key_is_needed},
                                {"wrong tensors", wrong_tensors},
                                {"PyTorch's buffers", torch_buffers},
                                {"allocations fail", allocations_fail}}) ||
           toy_one_thread("networks_files");
}
