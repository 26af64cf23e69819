/* network_kinds.c - see network_kinds.h. */
#include "tests/network_kinds.h"

enum { ROWS = 6, NUMBERS = 48 };

/* ---- Data ---- */

/* ROWS rows of the shape, classes 0, 1, 2 in turn. */
static lt_dataset *numbers(lt_ctx *ctx, int rank, const int64_t *shape)
{
    int64_t d = 1;
    static lt_real x[ROWS * NUMBERS];
    static int32_t y[ROWS];
    lt_dataset *set = NULL;
    for (int k = 0; k < rank; k++) d *= shape[k];
    ts_fill_normal("rows", ROWS * d, 1, x);
    for (int i = 0; i < ROWS; i++) y[i] = i % 3;
    lt_arrays a = {.n = ROWS, .d = d, .x = x, .y = y, .classes = 3, .rank = rank};
    memcpy(a.shape, shape, (size_t)rank * sizeof *shape);
    TS_OK(ctx, lt_dataset_from_arrays(ctx, &a, &set));
    return set;
}

const char nk_texts[] = "{\"text\": \"buy now\", \"label\": \"spam\"}\n"
                        "{\"text\": \"see you at noon\", \"label\": \"ham\"}\n"
                        "{\"text\": \"cheap cheap\", \"label\": \"spam\"}\n";

static lt_dataset *labelled(ts_place *p)
{
    lt_dataset_options o;
    lt_tokenizer *bytes = NULL;
    lt_dataset *set = NULL;
    lt_dataset_options_init(&o);
    o.max_seq_length = 16;
    TS_OK(p->ctx, lt_tokenizer_bytes(p->ctx, &bytes));
    TS_OK(p->ctx, lt_dataset_open_labelled(p->ctx, ts_put_text(p, "texts.jsonl", nk_texts), bytes, &o, NULL, &set));
    lt_tokenizer_free(bytes);
    return set;
}

/* ---- Models of every kind ---- */

/* A convolution's norm has 4 numbers a channel. */
const nk_kind nk_kinds[NK_KINDS] = {
    /* stem 9*4 + 16; stage 0: 2(9*16 + 16); stage 1: 9*4*8 + 9*8*8 + 4*8 + 3*32; head 3*9 */
    {"cnn:filters=4,stages=2", NK_IMAGES, LT_DATA_NUMBERS, 3, 52 + 320 + 992 + 27},
    /* stem 9*3*4 + 16; stage 0: 2 * 2(144 + 16); stage 1 + a second block of 2(576 + 32); head 5*9 */
    {"cnn:filters=4,stages=2,blocks=2,height=4,width=4,channels=3,classes=5", NK_NOTHING, LT_DATA_NUMBERS, 5,
     124 + 640 + 992 + 1216 + 45},
    {"cnn:filters=4,stages=1,height=4", NK_COLOURS, LT_DATA_NUMBERS, 3, 124 + 320 + 15},
    {"cnn:filters=4,stages=1,height=3,width=4", NK_VECTORS, LT_DATA_NUMBERS, 3, 52 + 320 + 15},
    /* stem; stage 0: 9*4 + 16 + 16 + 16; stage 1: 9*4 + 16 + 32 + 32; head */
    {"cnn:filters=4,stages=2,depthwise=1", NK_IMAGES, LT_DATA_NUMBERS, 3, 52 + 84 + 116 + 27},
    {"mlp:hidden=5/4", NK_VECTORS, LT_DATA_NUMBERS, 3, 13 * 5 + 6 * 4 + 5 * 3},
    {"mlp:hidden=7", NK_COLOURS, LT_DATA_NUMBERS, 3, 49 * 7 + 8 * 3},
    /* 4 gates of hidden (inputs + hidden + 2) */
    {"lstm:hidden=6,layers=2", NK_SERIES, LT_DATA_NUMBERS, 3, 4 * 6 * (4 + 6 + 2) + 4 * 6 * (6 + 6 + 2) + 3 * 7},
    {"gru:hidden=6", NK_SERIES, LT_DATA_NUMBERS, 3, 3 * 6 * (4 + 6 + 2) + 3 * 7},
    {"lstm:dim=5,hidden=6", NK_TEXTS, LT_DATA_LABELLED, 2, 258 * 5 + 4 * 6 * (5 + 6 + 2) + 2 * 7},
    {"gru:dim=5,hidden=6,layers=2", NK_NOTHING, LT_DATA_TOKENS, 0, 258 * 5 + 18 * 13 + 18 * 14 + 258 * 7},
    {"lstm:dim=6,hidden=6,tied=1,context=64", NK_NOTHING, LT_DATA_TOKENS, 0, 258 * 6 + 24 * 14},
};

lt_dataset *nk_data(ts_place *p, nk_source s)
{
    switch (s) {
    case NK_IMAGES: return numbers(p->ctx, 2, (int64_t[]){4, 4});
    case NK_COLOURS: return numbers(p->ctx, 3, (int64_t[]){4, 4, 3});
    case NK_VECTORS: return numbers(p->ctx, 1, (int64_t[]){12});
    case NK_SERIES: return numbers(p->ctx, 2, (int64_t[]){NK_STEPS, 4});
    case NK_TEXTS: return labelled(p);
    default: return NULL;
    }
}

/* Averages as a training leaves them: not 0 and 1. */
static void spoil_averages(lt_model *model)
{
    lt_params *params = lt_model_params(model);
    for (int i = 0; i < lt_params_count(params); i++) {
        lt_param *p = lt_params_at(params, i);
        if (!strstr(lt_param_name(p), "running_")) continue;
        lt_real *v = lt_param_data(p);
        for (int64_t k = 0; k < lt_param_count(p); k++) v[k] = (lt_real)(0.25 + ts_uniform(lt_param_name(p), k));
        lt_param_touch(p);
    }
}

lt_model *nk_make(ts_place *p, const nk_kind *k)
{
    lt_model *model = NULL;
    lt_dataset *data = nk_data(p, k->data);
    if (TS_OK(p->ctx, lt_model_create_for(p->ctx, k->init, NULL, data, 7, &model))) spoil_averages(model);
    lt_dataset_free(data);
    return model;
}

/* Shape of its input, the batch first. */
static int input_shape(const nk_kind *k, int64_t shape[LT_MAX_RANK])
{
    static const struct {
        int rank;
        int64_t shape[4];
    } shapes[] = {{4, {2, 4, 4, 3}}, {3, {2, 4, 4}},        {4, {2, 4, 4, 3}},
                  {2, {2, 12}},      {3, {2, NK_STEPS, 4}}, {2, {2, NK_STEPS}}};
    nk_source s = k->reads == LT_DATA_TOKENS ? NK_TEXTS : k->data;
    memcpy(shape, shapes[s].shape, sizeof shapes[s].shape);
    return shapes[s].rank;
}

lt_real *nk_logits(lt_model *model, const nk_kind *k, int64_t *count)
{
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    lt_real x[2 * NUMBERS], *logits = NULL;
    int32_t tokens[2 * NK_STEPS], last[2] = {2, 2 * NK_STEPS - 1};
    int64_t shape[LT_MAX_RANK];
    int rank = input_shape(k, shape);
    lt_graph *g = NULL;
    lt_plan *plan = NULL;
    ts_fill_normal("x", 2 * NUMBERS, 1, x);
    for (int i = 0; i < 2 * NK_STEPS; i++) tokens[i] = 40 + i * i % 50;
    if (!TS_OK(ctx, lt_graph_create(ctx, lt_model_params(model), &g))) return NULL;
    lt_training(g, false);
    lt_model_input in = {.last = lt_nil(g)};
    if (k->reads == LT_DATA_NUMBERS)
        in.x = lt_input(g, "x", LT_F32, rank, shape);
    else
        in.tokens = lt_index_input(g, "tokens", rank, shape, 0, (int32_t)lt_model_vocab(model));
    if (k->reads == LT_DATA_LABELLED) in.last = lt_index_input(g, "last", 1, (int64_t[]){2}, 0, 2 * NK_STEPS);
    lt_t y = lt_model_logits(model, g, &in);
    *count = lt_count(y);
    if (TS_OK(ctx, lt_compile(g, NULL, 1, &y, &plan))) {
        const char *const names[] = {"x", "tokens", "last"};
        const void *const bound[] = {x, tokens, last};
        for (int i = 0; i < 3; i++)
            if (lt_plan_has(plan, names[i])) TS_OK(ctx, lt_bind(plan, names[i], bound[i]));
        if (TS_OK(ctx, lt_run(plan))) {
            logits = malloc((size_t)*count * sizeof *logits);
            memcpy(logits, lt_result(plan, 0), (size_t)*count * sizeof *logits);
        }
    }
    lt_plan_free(plan);
    lt_graph_free(g);
    return logits;
}

const char *nk_exact(void)
{
    return sizeof(lt_real) == sizeof(float) ? "F32" : "F64";
}
