/* session.c - a model with a cache of keys and values: prompts are read in pieces, then one id a row at a time.
 *
 * A session has a params of its own: the model's weights mapped, the caches beside them. So the model stays as it
 * was, may have several sessions, and nothing must ever be taken out of a params. All that depends on the number of
 * rows (these params, the plans) is a board, laid out anew when a prefill has another number of rows than the one
 * before: n rows cost, and give, what they would in a session of batch n.
 *
 * A cache has one position for all its rows, so prompts end together: shorter ones begin later, behind padding that
 * spans hide. The last piece of a prompt is padded on the right to a length there is a plan for; what it leaves in
 * the cache there is written over before anything can see it. Of a piece only the row after the last id goes through
 * the head, which has a fifth of a small model's weights. Rejected: positions a row (a scatter in place of a copy, in
 * every layer and step), and attention to a paged cache, which pays when prompts share beginnings.
 *
 * A recurrent network has states in the caches' place, and nothing can hide padding from a state: its prompts are read
 * in pieces of exact lengths (powers of two, for few plans) that end where a prompt begins, and `keep` drops what
 * padding left there. */
#include "infer/session.h"
#include "autograd/op.h"
#include "base/text.h"
#include "models/model.h"
#include "qat/kept_scales.h"
#include "qat/policy.h"

#include <string.h>

enum {
    PLANS = 24,
    LONGEST_CHUNK = 256,
    CHUNK_ROWS = 2048,
    SHORTEST_CHUNK = 8,
    DEFAULT_LENGTH = 4096,
    MOST_ROWS = 4096
};

typedef enum phase { READ, READ_TO_LOGITS } phase;

void lt_session_options_init(lt_session_options *options)
{
    *options = (lt_session_options){.size = sizeof *options, .batch = 1};
}

/* ---- Recording ---- */

/* Hidden states [B, T, C] of positions first .. first + T - 1. */
static lt_t record_hidden(const lt_session *s, lt_graph *g, int64_t B, int64_t T)
{
    const lt_transformer_config *c = lt_model_config(s->model);
    lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){B, T}, 0, (int32_t)lt_model_vocab(s->model));
    if (!c)
        return s->model->network->step(g, &s->model->net, tokens, lt_input(g, "keep", LT_F32, 2, (int64_t[]){B, 1}));
    lt_model_input in = {.tokens = tokens, .first = lt_scalar(g, "first", 0)};
    if (B > 1) in.spans = lt_index_input(g, "spans", 3, (int64_t[]){B, T, 2}, 0, INT32_MAX);
    if (lt_transformer_learns_positions(c))
        in.positions = lt_index_input(g, "positions", 2, (int64_t[]){B, T}, 0, (int32_t)c->context);
    return lt_model_hidden(s->model, g, &in);
}

static lt_t record(const lt_session *s, lt_graph *g, lt_plan_key key)
{
    const int64_t B = key.batch, T = key.length;
    lt_training(g, false);
    lt_t x = record_hidden(s, g, B, T);
    if (key.phase == READ) return lt_nil(g);
    x = lt_reshape(x, 2, (int64_t[]){B * T, lti_model_facts(s->model).width});
    if (T > 1) x = lt_gather(x, lt_index_input(g, "last", 1, &B, 0, (int32_t)(B * T))); /* [B, C] */
    return lti_model_head(s->model, g, x, lt_nil(g));                                   /* [B, V] */
}

static lt_status build(void *user, lt_plan_key key, lt_arena *arena, lt_plan **plan)
{
    lt_session *s = user;
    lt_graph *g;
    LTI_TRY(lt_graph_create(s->ctx, s->params, &g));
    if (s->hooked) lt_qat_attach(g, &s->policy);
    lt_t logits = record(s, g, key);
    lt_compile_options options;
    lt_compile_options_init(&options);
    options.arena = arena;
    lt_status status = lt_compile(g, &options, key.phase == READ ? 0 : 1, &logits, plan);
    lt_graph_free(g);
    return status;
}

/* ---- Weights ---- */

/* Whether a code of the type is all there is to the grid. */
static bool is_type(lt_scheme scheme)
{
    return scheme.kind == LT_SCHEME_TYPE && !scheme.double_scales;
}

/* The weight in the type the policy deploys it in; one that has a type already keeps it, as in training. */
static lt_status add_code(lt_session *s, const lt_quant_policy *policy, const lt_param *weight)
{
    lt_scheme scheme = lt_quant_scheme(policy, weight);
    lt_dtype type = scheme.type;
    lt_param *code;
    if (lt_param_type(weight) != LT_F32 || type == LT_F32 || !is_type(scheme)) return LT_OK;
    if (!lti_k()->all_finite(lt_param_count(weight), lt_param_read(weight)))
        return lti_fail(s->ctx, LT_ENONFINITE, "cannot quantize '%s': it holds a NaN or an infinity",
                        lt_param_name(weight));
    LTI_TRY(lt_params_add(s->codes, lt_param_name(weight), type, lt_param_rank(weight), lt_param_shape(weight),
                          LT_WEIGHT, &code));
    lti_kept_encode(lt_model_params(s->model), policy, weight, code);
    return LT_OK;
}

/* Whether hooks have work at each step: activations, and weights on grids that are no types, which stay numbers. */
static bool needs_hooks(const lt_params *weights, const lt_quant_policy *policy)
{
    bool needs = policy->activations != LT_ACT_NONE;
    for (int i = 0; i < lt_params_count(weights) && !needs; i++)
        needs = !is_type(lt_quant_scheme(policy, lt_params_at(weights, i)));
    return needs;
}

static lt_status make_codes(lt_session *s, const lt_quant_policy *policy)
{
    const lt_params *weights = lt_model_params(s->model);
    LTI_TRY(lti_quant_check_params(weights, policy));
    LTI_TRY(lt_params_create(s->ctx, &s->codes));
    if (policy) s->policy = *policy;
    s->hooked = policy && needs_hooks(weights, policy);
    for (int i = 0; policy && i < lt_params_count(weights); i++) {
        const lt_param *p = lt_params_at(weights, i);
        if (lt_param_role(p) == LT_WEIGHT) LTI_TRY(add_code(s, policy, p));
    }
    return LT_OK;
}

/* What rounding reads beside the weights: grids of static activations, learned scales. Copies: they are no weights. */
static lt_status copy_grid(lt_session *s, const lt_param *p)
{
    static const char *const parts[] = {":act_scale", ":scale", ":offset"};
    bool meant = false;
    for (int i = 0; i < LTI_COUNT(parts); i++) meant |= lti_ends_with(lt_param_name(p), parts[i]);
    if (!meant || !s->hooked || lt_param_role(p) != LT_STATE || lt_param_type(p) != LT_F32) return LT_OK;
    lt_param *copy;
    LTI_TRY(lt_params_add(s->params, lt_param_name(p), LT_F32, lt_param_rank(p), lt_param_shape(p), LT_STATE, &copy));
    memcpy(lt_param_data(copy), lt_param_read(p), lt_param_bytes(p));
    lt_param_set_trainable(copy, false);
    return LT_OK;
}

static lt_status map_weights(lt_session *s)
{
    const lt_params *weights = lt_model_params(s->model);
    for (int i = 0; i < lt_params_count(weights); i++) {
        const lt_param *p = lt_params_at(weights, i);
        if (lt_param_role(p) != LT_WEIGHT) {
            LTI_TRY(copy_grid(s, p));
            continue;
        }
        const lt_param *code = lt_params_find(s->codes, lt_param_name(p));
        if (code) p = code;
        LTI_TRY(lt_params_map(s->params, lt_param_name(p), lt_param_type(p), lt_param_rank(p), lt_param_shape(p),
                              lt_param_read(p), NULL));
    }
    return LT_OK;
}

/* ---- The board ---- */

static void clear_board(lt_session *s)
{
    void *parts[] = {s->tokens, s->spans, s->positions, s->last, s->pads, s->keep};
    lt_plan_cache_free(s->plans);
    lt_params_free(s->params);
    for (int i = 0; i < LTI_COUNT(parts); i++) lti_free(s->ctx, parts[i]);
    s->plans = NULL, s->params = NULL;
    s->tokens = s->spans = s->positions = s->last = s->pads = NULL;
    s->keep = NULL;
    s->rows = s->live = 0;
}

/* Positions of a prompt read in one run: fewer of many rows, so that activations stay small beside the weights. */
static int64_t chunk_of(int64_t rows)
{
    int64_t chunk = CHUNK_ROWS / rows / 32 * 32;
    return chunk < 32 ? 32 : chunk > LONGEST_CHUNK ? LONGEST_CHUNK : chunk;
}

static lt_status add_caches(lt_session *s, int64_t rows)
{
    const lt_transformer_config *c = lt_model_config(s->model);
    if (c) return lt_transformer_caches(s->params, c, rows, s->length);
    return s->model->network->caches(s->params, &s->model->net, rows);
}

static lt_status fill_board(lt_session *s, int64_t rows)
{
    size_t B = (size_t)rows, count = B * (size_t)chunk_of(rows);
    LTI_TRY(lt_params_create(s->ctx, &s->params));
    LTI_TRY(map_weights(s));
    LTI_TRY(add_caches(s, rows));
    LTI_TRY(lt_plan_cache_create(s->ctx, PLANS, build, s, &s->plans));
    s->tokens = lti_alloc_array(s->ctx, count, sizeof *s->tokens);
    s->spans = lti_alloc_array(s->ctx, count, 2 * sizeof *s->spans);
    s->positions = lti_alloc_array(s->ctx, count, sizeof *s->positions);
    s->last = lti_alloc_array(s->ctx, B, sizeof *s->last);
    s->pads = lti_alloc_array(s->ctx, B, sizeof *s->pads);
    s->keep = lti_alloc_array(s->ctx, B, sizeof *s->keep);
    return s->tokens && s->spans && s->positions && s->last && s->pads && s->keep ? LT_OK : LT_ENOMEM;
}

static lt_status lay_board(lt_session *s, int64_t rows)
{
    if (s->rows == rows) return LT_OK;
    clear_board(s);
    lt_status status = fill_board(s, rows);
    if (status == LT_OK)
        s->rows = rows;
    else
        clear_board(s);
    return status;
}

/* ---- Life ---- */

/* Whether it writes texts at all. */
static lt_status check_model(lt_ctx *ctx, const lt_model *model)
{
    const char *name = lt_model_family(model);
    if (lt_model_reads(model) == LT_DATA_TOKENS) return LT_OK;
    if (lt_model_is_transformer(model))
        return lti_fail(ctx, LT_EUNSUPPORTED, "%s is an encoder: it has no next token to generate", name);
    return lti_fail(ctx, LT_EUNSUPPORTED, "this %s is a classifier and writes no text; lathe eval measures it", name);
}

static lt_status check_options(lt_ctx *ctx, const lt_model *model, lt_session_options *o)
{
    const lt_transformer_config *c = lt_model_config(model);
    int64_t context = lt_model_context(model);
    if (o->size != sizeof *o) return lti_fail(ctx, LT_EINVAL, "session: call lt_session_options_init first");
    LTI_TRY(check_model(ctx, model));
    if (o->length == 0) o->length = context < DEFAULT_LENGTH ? context : DEFAULT_LENGTH;
    if (o->batch < 1 || o->batch > MOST_ROWS)
        return lti_fail(ctx, LT_EINVAL, "session: a batch of %lld rows; 1 to %d is possible", (long long)o->batch,
                        MOST_ROWS);
    if (o->length < 2 || o->length > INT32_MAX)
        return lti_fail(ctx, LT_EINVAL, "session: a cache of %lld positions; 2 to %d is possible", (long long)o->length,
                        INT32_MAX);
    if (c && lt_transformer_learns_positions(c) && o->length > c->context)
        return lti_fail(ctx, LT_EINVAL, "session: a cache of %lld positions, but %s learned %lld; give at most that",
                        (long long)o->length, lt_family_name(c->family), (long long)c->context);
    return LT_OK;
}

lt_status lt_session_create(lt_model *model, const lt_session_options *options, lt_session **session)
{
    lt_session_options o;
    lt_session_options_init(&o);
    if (options) o = *options;
    *session = NULL;
    lt_ctx *ctx = lt_params_ctx(lt_model_params(model));
    LTI_TRY(check_options(ctx, model, &o));
    lt_session *s = lti_alloc(ctx, sizeof *s);
    if (!s) return LT_ENOMEM;
    *s = (lt_session){.ctx = ctx, .model = model, .batch = o.batch, .length = o.length};
    lt_status status = make_codes(s, o.quant);
    if (status == LT_OK) status = lay_board(s, s->batch);
    if (status == LT_OK)
        *session = s;
    else
        lt_session_free(s);
    return status;
}

void lt_session_free(lt_session *s)
{
    if (!s) return;
    clear_board(s);
    lt_params_free(s->codes);
    lti_free(s->ctx, s);
}

int64_t lt_session_length(const lt_session *s)
{
    return s->length;
}

uint64_t lt_session_cache_bytes(const lt_session *s)
{
    const lt_transformer_config *c = lt_model_config(s->model);
    uint64_t bytes = 0;
    if (!c) { /* the states on the board are of s->rows */
        for (int i = 0; i < lt_params_count(s->params); i++)
            if (lt_param_role(lt_params_at(s->params, i)) == LT_SCRATCH)
                bytes += lt_param_bytes(lt_params_at(s->params, i));
        return s->rows ? bytes / (uint64_t)s->rows * (uint64_t)s->batch : 0;
    }
    return 2 * (uint64_t)(c->layers * s->batch * s->length * c->kv_heads * lti_head_dim(c)) * sizeof(lt_real);
}

int64_t lt_session_room(const lt_session *s)
{
    return s->live ? s->length - s->used : 0;
}

/* ---- Running ---- */

/* Runs over what stands in s->tokens [rows, T], from position s->used on. `logits` NULL: only the cache is filled. */
static lt_status run(lt_session *s, int64_t T, const lt_real **logits)
{
    const int64_t B = s->rows, context = lt_model_context(s->model), V = lt_model_vocab(s->model);
    lt_plan *plan;
    lt_plan_key key = {logits ? READ_TO_LOGITS : READ, (int32_t)B, (int32_t)T};
    LTI_TRY(lt_plan_cache_get(s->plans, key, &plan));
    for (int64_t i = 0; i < B * T; i++) {
        int64_t at = s->used + i % T - s->pads[i / T];
        s->positions[i] = (int32_t)(at < 0 ? 0 : at < context ? at : context - 1);
        s->spans[2 * i] = s->pads[i / T];
        s->spans[2 * i + 1] = (int32_t)s->length;
    }
    for (int64_t b = 0; b < B; b++) s->keep[b] = s->used > s->pads[b];
    const struct {
        const char *name;
        const void *data;
    } inputs[] = {
        {"tokens", s->tokens}, {"spans", s->spans}, {"positions", s->positions}, {"last", s->last}, {"keep", s->keep}};
    for (int i = 0; i < LTI_COUNT(inputs); i++)
        if (lt_plan_has(plan, inputs[i].name)) LTI_TRY(lt_bind(plan, inputs[i].name, inputs[i].data));
    if (lt_plan_has(plan, "first")) LTI_TRY(lt_set(plan, "first", (double)s->used));
    LTI_TRY(lt_run(plan));
    if (!logits) return LT_OK;
    *logits = lt_result(plan, 0);
    if (lti_k()->all_finite(B * V, *logits)) return LT_OK;
    return lti_fail(s->ctx, LT_ENONFINITE,
                    "the logits after %lld positions hold a NaN or an infinity: the weights are broken, or too large "
                    "for their type",
                    (long long)s->used);
}

static lt_status check_ids(const lt_session *s, const char *what, int64_t row, int64_t count, const int32_t *ids)
{
    int64_t vocab = lt_model_vocab(s->model);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return lti_fail(s->ctx, LT_EINVAL, "%s %lld: id %d at position %lld is outside the vocabulary of %lld",
                            what, (long long)row, ids[i], (long long)i, (long long)vocab);
    return LT_OK;
}

lt_status lti_session_check(const lt_session *s, int n, const lt_ids *prompts)
{
    for (int b = 0; b < n; b++) {
        if (prompts[b].count < 1)
            return lti_fail(s->ctx, LT_EINVAL,
                            "prompt %d is empty, and the tokenizer begins no text by itself; give "
                            "at least one id",
                            b);
        if (prompts[b].count >= s->length)
            return lti_fail(s->ctx, LT_EINVAL,
                            "prompt %d has %lld ids, but the cache has %lld positions, one of them for the answer; "
                            "make it longer or the prompt shorter",
                            b, (long long)prompts[b].count, (long long)s->length);
        LTI_TRY(check_ids(s, "prompt", b, prompts[b].count, prompts[b].ids));
    }
    return LT_OK;
}

/* Positions used .. used + T - 1 of the padded prompts, which end at `end`. */
static void fill_chunk(lt_session *s, const lt_ids *prompts, int64_t T, int64_t end)
{
    for (int64_t b = 0; b < s->rows; b++) {
        for (int64_t t = 0; t < T; t++) {
            int64_t at = s->used + t;
            bool inside = at >= s->pads[b] && at < end;
            s->tokens[b * T + t] = inside ? prompts[b].ids[at - s->pads[b]] : 0;
        }
        s->last[b] = (int32_t)(b * T + (end - s->used < T ? end - s->used : T) - 1);
    }
}

/* Positions of the next piece of a recurrent network: at most n, a power of two, and no prompt begins within. */
static int64_t recurrent_piece(const lt_session *s, int64_t n)
{
    int64_t piece = 1;
    for (int64_t b = 0; b < s->rows; b++)
        if (s->pads[b] > s->used && s->pads[b] - s->used < n) n = s->pads[b] - s->used;
    while (2 * piece <= n) piece *= 2;
    return piece;
}

static lt_status read_prompts(lt_session *s, const lt_ids *prompts, int64_t end, const lt_real **logits)
{
    const int64_t chunk = chunk_of(s->rows);
    while (s->used < end) {
        int64_t n = end - s->used < chunk ? end - s->used : chunk, room = s->length - s->used;
        if (!lt_model_is_transformer(s->model)) n = recurrent_piece(s, n);
        int64_t T = n == 1 ? 1 : n <= SHORTEST_CHUNK ? SHORTEST_CHUNK : lt_bucket(n, chunk);
        if (T > room) T = room;
        if (!lt_model_is_transformer(s->model)) T = n;
        fill_chunk(s, prompts, T, end);
        LTI_TRY(run(s, T, s->used + n == end ? logits : NULL));
        s->used += n;
    }
    return LT_OK;
}

/* States of a recurrent network to 0; `keep` alone would leave a NaN that an earlier prompt made. */
static void clear_states(lt_session *s)
{
    for (int i = 0; i < lt_params_count(s->params); i++) {
        lt_param *p = lt_params_at(s->params, i);
        if (lt_param_role(p) == LT_SCRATCH) memset(lt_param_data(p), 0, lt_param_bytes(p));
    }
}

lt_status lt_session_prefill(lt_session *s, int n, const lt_ids *prompts, const lt_real **logits)
{
    *logits = NULL;
    s->live = 0;
    if (n < 1 || n > s->batch)
        return lti_fail(s->ctx, LT_EINVAL, "prefill: %d prompts in a session of %lld rows", n, (long long)s->batch);
    LTI_TRY(lti_session_check(s, n, prompts));
    LTI_TRY(lay_board(s, n));
    if (!lt_model_is_transformer(s->model)) clear_states(s);
    int64_t end = 0;
    for (int b = 0; b < n; b++)
        if (prompts[b].count > end) end = prompts[b].count;
    for (int b = 0; b < n; b++) s->pads[b] = (int32_t)(end - prompts[b].count);
    s->used = 0;
    LTI_TRY(read_prompts(s, prompts, end, logits));
    s->live = n;
    return LT_OK;
}

lt_status lt_session_step(lt_session *s, const int32_t *ids, const lt_real **logits)
{
    *logits = NULL;
    if (!s->live) return lti_fail(s->ctx, LT_EINVAL, "step: there is no prompt; call lt_session_prefill first");
    if (s->used >= s->length)
        return lti_fail(s->ctx, LT_ELIMIT, "the cache of %lld positions is full; make it longer", (long long)s->length);
    LTI_TRY(check_ids(s, "step: row ids", 0, s->live, ids));
    memcpy(s->tokens, ids, (size_t)s->live * sizeof *ids);
    lt_status status = run(s, 1, logits);
    if (status == LT_OK)
        s->used++;
    else
        s->live = 0;
    return status;
}
