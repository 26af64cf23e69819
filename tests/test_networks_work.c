/* test_networks_work.c - CNNs, perceptrons and recurrent networks as models: made from a line and from data, refused
 * when the two do not fit, and at work in sessions and evaluations. Their files are in test_networks_files.c. */
#include "lathe/convert.h"
#include "lathe/evals.h"
#include "lathe/infer.h"
#include "tests/network_kinds.h"

#include <math.h>

/* ---- Making ---- */

static void what_models_are(void)
{
    ts_place p = ts_open_place();
    for (int i = 0; i < NK_KINDS; i++) {
        const nk_kind *k = &nk_kinds[i];
        lt_model *m = nk_make(&p, k);
        if (!m) continue;
        TS_CHECK(lt_model_parameters(m) == k->parameters, "%s: %lld parameters, not %lld", k->init,
                 (long long)lt_model_parameters(m), (long long)k->parameters);
        TS_CHECK(lt_model_reads(m) == k->reads && lt_model_classes(m) == k->classes, "%s: what it reads", k->init);
        bool tokens = k->reads != LT_DATA_NUMBERS;
        TS_CHECK((lt_model_vocab(m) == 258) == tokens && (lt_model_context(m) > 0) == tokens &&
                     (lt_model_tokenizer(m) != NULL) == tokens,
                 "%s: tokens", k->init);
        TS_CHECK(!lt_model_is_transformer(m) && !lt_model_config(m), "%s is no transformer", k->init);
        TS_CHECK(!strncmp(k->init, lt_model_family(m), strlen(lt_model_family(m))), "%s: its name", k->init);
        lt_model_set_checkpoint(m, true);
        TS_CHECK(lt_model_checkpoints(m) == (strstr("lstm gru", lt_model_family(m)) != NULL), "%s: checkpoints",
                 k->init);
        for (int n = 0; n < lt_params_count(lt_model_params(m)); n++) {
            const lt_param *t = lt_params_at(lt_model_params(m), n);
            bool average = strstr(lt_param_name(t), "running_") != NULL;
            TS_CHECK(lt_param_trainable(t) != average, "%s: '%s' is trained or not", k->init, lt_param_name(t));
        }
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* He's variance: 2 over what a number of the input reaches. */
static void initial_values(void)
{
    ts_place p = ts_open_place();
    lt_model *m = NULL;
    if (TS_OK(p.ctx,
              lt_model_create(p.ctx, "cnn:filters=64,stages=1,depthwise=1,height=8,width=8,channels=16,classes=4", NULL,
                              3, &m))) {
        const struct {
            const char *name;
            double variance;
        } wanted[] = {{"stem.conv.weight", 2.0 / (64 * 9)},
                      {"stage.0.0.conv1.weight", 2.0 / 9},
                      {"stage.0.0.conv2.weight", 2.0 / 64}};
        for (int i = 0; i < LTI_COUNT(wanted); i++) {
            const lt_param *w = lt_params_find(lt_model_params(m), wanted[i].name);
            double sum = 0;
            for (int64_t k = 0; k < lt_param_count(w); k++) sum += pow(((const lt_real *)lt_param_read(w))[k], 2);
            double found = sum / (double)lt_param_count(w) / wanted[i].variance;
            TS_CHECK(found > 0.8 && found < 1.25, "%s: its variance is %g of He's", wanted[i].name, found);
        }
    }
    lt_model_free(m);
    ts_close_place(&p);
}

static void wrong_lines(void)
{
    static const struct {
        const char *init, *words;
    } wrong[] = {
        {"cnn:filter=3", "cnn has no 'filter'; it has filters, stages, blocks, depthwise, height"},
        {"cnn", "height is 0"},
        {"cnn:height=8,width=8,channels=1", "classes is 0"},
        {"cnn:height=8,width=8,channels=1,classes=2,stages=9", "stages is 9; it must be in 1 to 8"},
        {"cnn:height=8,width=8,channels=1,classes=2,filters=16384,stages=4", "131072 channels"},
        {"cnn:height=8,width=8,channels=1,classes=2,depthwise=2", "depthwise is 0 or 1"},
        {"cnn:height=8,width=8,channels=1,classes=2,norm_eps=0", "norm_eps is 0"},
        {"cnn:height=2.5", "'2.5' is no value for height"},
        {"cnn:height", "is no list of key=value"},
        {"mlp:hidden=4/x", "'x' is no value for hidden"},
        {"mlp:hidden=4/0,inputs=3,classes=2", "layer 2 has 4 inputs and 0 outputs"},
        {"mlp:hidden=1/1/1/1/1/1/1/1", "more than 7 layers"},
        {"mlp:hidden=4,classes=2", "inputs is 0"},
        {"lstm:dim=4,hidden=8,tied=1", "hidden (8) is dim (4)"},
        {"lstm:inputs=3", "classes is 0"},
        {"lstm:inputs=3,vocab=300,classes=2", "exclude each other"},
        {"gru:vocab=100", "less than the 258 tokens"},
        {"gru:layers=0", "layers is 0"},
        {"rnn:dim=4", "networks: cnn, mlp, lstm, gru"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        lt_model *m;
        TS_REFUSED(p.ctx, lt_model_create(p.ctx, wrong[i].init, NULL, 1, &m), LT_EINVAL, wrong[i].words);
    }
    lt_model *m;
    TS_REFUSED(p.ctx, lt_model_create(p.ctx, "mlp:inputs=3,classes=2", "somewhere", 1, &m), LT_EINVAL,
               "has no use for the tokenizer");
    ts_close_place(&p);
}

static void no_hidden_layers(void)
{
    ts_place p = ts_open_place();
    lt_model *m = NULL;
    if (TS_OK(p.ctx, lt_model_create(p.ctx, "mlp:hidden=0,inputs=3,classes=2", NULL, 1, &m)))
        TS_CHECK(lt_model_parameters(m) == 8, "%lld parameters", (long long)lt_model_parameters(m));
    lt_model_free(m);
    ts_close_place(&p);
}

static void data_that_does_not_fit(void)
{
    static const struct {
        const char *init;
        nk_source data;
        const char *words;
    } wrong[] = {
        {"cnn", NK_TEXTS, "this cnn takes rows of numbers with a class each, but the data has texts with a class each"},
        {"cnn", NK_VECTORS, "rows of rank 1 are no images"},
        {"cnn:height=5,width=4", NK_VECTORS, "rows of 12 numbers are no images of 5 x 4"},
        {"cnn:height=5", NK_IMAGES, "height is 5, but the rows of the data have 4"},
        {"cnn:channels=2", NK_COLOURS, "channels is 2, but the rows of the data have 3"},
        {"cnn:classes=2", NK_IMAGES, "the data has 3 classes, but this cnn knows 2"},
        {"mlp:inputs=11", NK_VECTORS, "inputs is 11"},
        {"lstm", NK_VECTORS, "rows of rank 1 are no series"},
        {"lstm", NK_COLOURS, "rows of rank 3 are no series"},
        {"lstm:vocab=300", NK_SERIES, "exclude each other"},
        {"llama", NK_IMAGES, "this llama takes texts whose next token is predicted"},
        {"gru:classes=1", NK_TEXTS, "the data has 2 classes"},
    };
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(wrong); i++) {
        lt_model *m;
        lt_dataset *data = nk_data(&p, wrong[i].data);
        TS_REFUSED(p.ctx, lt_model_create_for(p.ctx, wrong[i].init, NULL, data, 1, &m), LT_EINVAL, wrong[i].words);
        lt_dataset_free(data);
    }
    ts_close_place(&p);
}

/* ---- What transformers do and networks do not ---- */

static void what_is_for_transformers(void)
{
    ts_place p = ts_open_place();
    lt_model *m = nk_make(&p, &nk_kinds[0]);
    lt_session *s;
    lt_type_forecast f;
    char dir[600], out[700];
    snprintf(dir, sizeof dir, "%s", ts_at(&p, "cnn"));
    snprintf(out, sizeof out, "%s/out.gguf", p.dir);
    TS_OK(p.ctx, lt_model_save(m, dir, "F32"));
    TS_REFUSED(p.ctx, lt_convert(p.ctx, dir, out, NULL, NULL), LT_EUNSUPPORTED, "is a cnn, which GGUF has no form for");
    TS_REFUSED(p.ctx, lt_forecast_type(p.ctx, dir, LT_Q8_0, &f), LT_EUNSUPPORTED, "a cnn of lathe's own");
    TS_REFUSED(p.ctx, lt_session_create(m, NULL, &s), LT_EUNSUPPORTED, "writes no text; lathe eval measures it");
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Sessions of recurrent networks ---- */

enum { VOCAB = 258, MOST = 40 };

static int32_t id_at(int row, int64_t t)
{
    return (int32_t)((row * 7919 + t * 104729 + t * t * 31) % VOCAB);
}

static void check_step(lt_model *m, int n, const int64_t *lengths, int64_t t, const lt_real *logits)
{
    double worst = 0;
    for (int b = 0; b < n; b++) {
        int32_t ids[MOST];
        int64_t length = lengths[b] + t;
        for (int64_t i = 0; i < length; i++) ids[i] = id_at(b, i);
        lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
        lt_graph *g;
        lt_real want[MOST * VOCAB];
        if (!TS_OK(ctx, lt_graph_create(ctx, lt_model_params(m), &g))) return;
        lt_plan *plan = NULL;
        lt_t y = lt_model_logits(
            m, g, &(lt_model_input){.tokens = lt_index_input(g, "tokens", 2, (int64_t[]){1, length}, 0, VOCAB)});
        if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(ctx, lt_bind(plan, "tokens", ids)) &&
            TS_OK(ctx, lt_run(plan))) {
            memcpy(want, lt_result(plan, 0), (size_t)length * VOCAB * sizeof *want);
            for (int i = 0; i < VOCAB; i++)
                worst = fmax(worst, fabs((double)logits[b * VOCAB + i] - (double)want[(length - 1) * VOCAB + i]));
        }
        lt_plan_free(plan);
        lt_graph_free(g);
    }
    TS_CHECK(worst < ts_tolerance(1e-12, 1e-5), "%s: %g away from the whole after %lld steps", lt_model_family(m),
             worst, (long long)t);
}

static void prompts_and_steps(lt_model *m, int n, const int64_t *lengths)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(m));
    lt_session_options o;
    lt_session *s = NULL;
    lt_ids prompts[4];
    int32_t ids[4][MOST], next[4];
    const lt_real *logits;
    lt_session_options_init(&o);
    o.batch = 4, o.length = MOST;
    for (int b = 0; b < n; b++) {
        for (int64_t t = 0; t < lengths[b]; t++) ids[b][t] = id_at(b, t);
        prompts[b] = (lt_ids){ids[b], lengths[b], MOST};
    }
    if (!TS_OK(ctx, lt_session_create(m, &o, &s))) return;
    for (int again = 0; again < 2; again++) { /* the second time from what the first has left */
        bool fine = TS_OK(ctx, lt_session_prefill(s, n, prompts, &logits));
        for (int64_t t = 0; fine && t < 4; t++) {
            check_step(m, n, lengths, t, logits);
            for (int b = 0; b < n; b++) next[b] = id_at(b, lengths[b] + t);
            fine = TS_OK(ctx, lt_session_step(s, next, &logits));
        }
    }
    lt_session_free(s);
}

static void recurrent_sessions(void)
{
    ts_place p = ts_open_place();
    static const int which[] = {10, 11};
    for (int i = 0; i < LTI_COUNT(which); i++) {
        lt_model *m = nk_make(&p, &nk_kinds[which[i]]);
        if (!m) continue;
        prompts_and_steps(m, 1, (int64_t[]){13});
        prompts_and_steps(m, 4, (int64_t[]){1, 12, 7, 12});
        lt_model_free(m);
    }
    ts_close_place(&p);
}

/* A prompt that breaks the states (here: one broken row of the embedding) does not reach the next one. */
static void states_begin_anew(void)
{
    ts_place p = ts_open_place();
    lt_model *m = nk_make(&p, &nk_kinds[NK_GRU_OF_TOKENS]);
    lt_session *s = NULL;
    if (m && TS_OK(p.ctx, lt_session_create(m, NULL, &s))) {
        int32_t bad[] = {7, 8}, good[] = {9, 10};
        const lt_ids prompts[] = {{bad, 2, 2}, {good, 2, 2}};
        const lt_real *logits;
        lt_param *table = lt_params_find(lt_model_params(m), "token_embd.weight");
        ((lt_real *)lt_param_data(table))[7 * lt_param_shape(table)[1]] = NAN;
        lt_param_touch(table);
        TS_REFUSED(p.ctx, lt_session_prefill(s, 1, &prompts[0], &logits), LT_ENONFINITE, "hold a NaN");
        TS_OK(p.ctx, lt_session_prefill(s, 1, &prompts[1], &logits));
    }
    lt_session_free(s);
    lt_model_free(m);
    ts_close_place(&p);
}

/* ---- Evaluation ---- */

static double number_at(const json_t *report, const char *key)
{
    return json_number_value(json_object_get(report, key));
}

static json_t *evaluate(ts_place *p, lt_model *m, const char *data)
{
    lt_eval_options o;
    char *text = NULL;
    lt_eval_options_init(&o);
    o.model = m, o.data = data, o.resamples = 50, o.batch_size = 4;
    o.rows.max_seq_length = 16;
    if (!TS_OK(p->ctx, lt_eval_run(p->ctx, &o, &text))) return NULL;
    json_t *report = json_loads(text, 0, NULL);
    lt_string_free(p->ctx, text);
    return report;
}

/* Against the logits of the rows, one by one. */
static void evaluates_numbers(void)
{
    ts_place p = ts_open_place();
    lt_model *m = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s",
             ts_put_text(&p, "points.csv", "0.5,1,-1,0\n-2,0.25,1,1\n1,1,0,2\n0,-1,0.5,1\n3,2,1,0\n"));
    if (TS_OK(p.ctx, lt_model_create(p.ctx, "mlp:hidden=4,inputs=3,classes=3", NULL, 5, &m))) {
        static const lt_real x[5][3] = {{0.5, 1, -1}, {-2, 0.25, 1}, {1, 1, 0}, {0, -1, 0.5}, {3, 2, 1}};
        static const int gold[5] = {0, 1, 2, 1, 0};
        double nll = 0, right = 0;
        for (int i = 0; i < 5; i++) {
            lt_graph *g;
            lt_real z[3];
            if (!TS_OK(p.ctx, lt_graph_create(p.ctx, lt_model_params(m), &g))) break;
            lt_plan *plan = NULL;
            lt_t y = lt_model_logits(m, g, &(lt_model_input){.x = lt_input(g, "x", LT_F32, 2, (int64_t[]){1, 3})});
            if (TS_OK(p.ctx, lt_compile(g, NULL, 1, &y, &plan)) && TS_OK(p.ctx, lt_bind(plan, "x", x[i])) &&
                TS_OK(p.ctx, lt_run(plan))) {
                memcpy(z, lt_result(plan, 0), sizeof z);
                double sum = exp((double)z[0]) + exp((double)z[1]) + exp((double)z[2]);
                nll -= log(exp((double)z[gold[i]]) / sum) / 5;
                right += z[gold[i]] >= z[0] && z[gold[i]] >= z[1] && z[gold[i]] >= z[2] ? 0.2 : 0;
            }
            lt_plan_free(plan);
            lt_graph_free(g);
        }
        json_t *report = evaluate(&p, m, path);
        TS_CHECK(fabs(number_at(report, "nll") - nll) < 1e-5, "nll %g, not %g", number_at(report, "nll"), nll);
        TS_CHECK(fabs(number_at(report, "accuracy") - right) < 1e-9, "accuracy");
        TS_CHECK(number_at(report, "items") == 5 && json_object_get(report, "macro_f1"), "items and F1");
        json_decref(report);
    }
    lt_model_free(m);
    ts_close_place(&p);
}

/* A text's class does not depend on the texts it is padded beside; a language model gives a perplexity. */
static void evaluates_texts(void)
{
    ts_place p = ts_open_place();
    lt_dataset *data = nk_data(&p, NK_TEXTS);
    lt_model *m = NULL, *writer = nk_make(&p, &nk_kinds[10]);
    char path[600], one[600];
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "texts.jsonl", nk_texts));
    if (TS_OK(p.ctx, lt_model_create_for(p.ctx, "lstm:dim=5,hidden=6", NULL, data, 7, &m))) {
        json_t *whole = evaluate(&p, m, path);
        double nll = 0;
        const char *line = nk_texts;
        for (int i = 0; i < 3; i++) {
            const char *end = strchr(line, '\n') + 1;
            snprintf(one, sizeof one, "%s", ts_put(&p, "one.jsonl", line, (size_t)(end - line)));
            json_t *alone = evaluate(&p, m, one);
            nll += number_at(alone, "nll") / 3;
            json_decref(alone);
            line = end;
        }
        TS_CHECK(fabs(number_at(whole, "nll") - nll) < 1e-6, "together %g, alone %g", number_at(whole, "nll"), nll);
        json_decref(whole);
    }
    json_t *report =
        writer ? evaluate(&p, writer, ts_put_text(&p, "story.txt", "once upon a time there was a cat")) : NULL;
    TS_CHECK(number_at(report, "perplexity") > 1, "a perplexity");
    json_decref(report);
    lt_model_free(writer);
    lt_model_free(m);
    lt_dataset_free(data);
    ts_close_place(&p);
}

int lti_suite_networks_work(void)
{
    return ts_suite("networks_work", 8,
                    (ts_test[]){{"what models of each kind are", what_models_are},
                                {"initial values", initial_values},
                                {"wrong lines of --init", wrong_lines},
                                {"data that does not fit", data_that_does_not_fit},
                                {"what is for transformers alone", what_is_for_transformers},
                                {"sessions of recurrent networks", recurrent_sessions},
                                {"states begin anew", states_begin_anew},
                                {"a perceptron without hidden layers", no_hidden_layers},
                                {"evaluation on numbers", evaluates_numbers},
                                {"evaluation on texts", evaluates_texts}}) ||
           toy_one_thread("networks_work");
}
