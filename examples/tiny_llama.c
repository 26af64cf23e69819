/* tiny_llama.c - a Llama from random numbers to text: bytes as tokens, windows of 128, then greedy decoding.
 *
 * Two graphs over the same parameters: one reads whole windows and trains, the other reads one token at a time, with
 * keys and values of earlier positions in a cache, and continues a prompt. */
#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, LENGTH = 128 };

typedef struct options {
    long epochs;
    const char *data, *prompt;
} options;

static int usage(int status)
{
    fputs("usage: tiny_llama [--epochs N] [--data FILE.txt] [--prompt TEXT]\n"
          "Trains a Llama of 0.1 million parameters on a text; default examples/data/treasure.txt.\n",
          status ? stderr : stdout);
    return status;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) return usage(0), 1;
        if (i + 1 == argc) return usage(2), 2;
        if (strcmp(argv[i], "--epochs") == 0)
            o->epochs = atol(argv[++i]);
        else if (strcmp(argv[i], "--data") == 0)
            o->data = argv[++i];
        else if (strcmp(argv[i], "--prompt") == 0)
            o->prompt = argv[++i];
        else
            return usage(2), 2;
    }
    return 0;
}

static lt_status build(lt_ctx *ctx, lt_params *params, const lt_transformer_config *c, lt_plan **plan)
{
    lt_graph *g;
    if (lt_graph_create(ctx, params, &g) != LT_OK) return lt_ctx_status(ctx);
    int32_t vocab = (int32_t)c->vocab;
    lt_t tokens = lt_index_input(g, "tokens", 2, (int64_t[]){BATCH, LENGTH}, 0, vocab);
    lt_t targets = lt_index_input(g, "targets", 2, (int64_t[]){BATCH, LENGTH}, -1, vocab);
    lt_t loss = lt_transformer_loss(g, c, &(lt_model_input){.tokens = tokens}, targets, lt_nil(g));

    lt_optimizer_config config;
    lt_optimizer_config_init(&config); /* AdamW */
    lt_optimizer *optimizer = NULL;
    lt_status status = lt_optimizer_create(ctx, params, &config, &optimizer);
    if (status == LT_OK) status = lt_optimizer_fused(optimizer, g, loss);
    if (status == LT_OK) status = lt_compile(g, NULL, 1, &loss, plan);
    lt_optimizer_free(optimizer);
    lt_graph_free(g);
    return status;
}

static lt_status train(lt_ctx *ctx, const lt_dataset *set, lt_plan *plan, long epochs)
{
    static int32_t tokens[BATCH * LENGTH], targets[BATCH * LENGTH];
    lt_batches *batches;
    if (lt_batches_create(ctx, set, NULL, BATCH, 1, true, &batches) != LT_OK) return lt_ctx_status(ctx);
    lt_schedule schedule;
    lt_schedule_init(&schedule);
    schedule.kind = LT_LR_COSINE, schedule.lr = 3e-3, schedule.warmup_ratio = 0.1;
    int64_t total = epochs * lt_batches_per_epoch(batches);
    double sum = 0, count = 0;
    lt_status status = LT_OK;
    for (int64_t step = 1; step <= total; step++) {
        lt_batch batch;
        if (lt_batches_next(batches, &batch) || lt_batches_fill(batches, BATCH, LENGTH, tokens, targets) ||
            lt_bind(plan, "tokens", tokens) || lt_bind(plan, "targets", targets) ||
            lt_set(plan, "step", (double)step) || lt_set(plan, "lr", lt_lr_at(&schedule, step, total)) ||
            lt_run(plan)) {
            status = lt_ctx_status(ctx);
            break;
        }
        sum += *(const lt_real *)lt_result(plan, 0) * (double)batch.targets;
        count += (double)batch.targets;
        if (batch.last) {
            printf("epoch %3lld  loss %.4f\n", (long long)batch.epoch + 1, sum / count);
            sum = count = 0;
        }
    }
    lt_batches_free(batches);
    return status;
}

/* A plan that reads one token at position "first" and gives the logits of the next. */
static lt_status build_decoder(lt_ctx *ctx, lt_params *params, const lt_transformer_config *c, lt_plan **plan)
{
    lt_graph *g;
    if (lt_transformer_caches(params, c, 1, LENGTH) || lt_graph_create(ctx, params, &g)) return lt_ctx_status(ctx);
    lt_t token = lt_index_input(g, "token", 2, (int64_t[]){1, 1}, 0, (int32_t)c->vocab);
    lt_t hidden = lt_transformer_hidden(
        g, c, &(lt_model_input){.tokens = token, .first = lt_scalar(g, "first", 0)}); /* [1, 1, C] */
    lt_t logits = lt_transformer_head(g, c, hidden);                                  /* [1, 1, V] */
    lt_status status = lt_compile(g, NULL, 1, &logits, plan);
    lt_graph_free(g);
    return status;
}

/* Extends ids to LENGTH tokens, or to the end of the text: always the likeliest token. */
static lt_status decode(lt_ctx *ctx, lt_plan *plan, int64_t vocab, int32_t eos, int32_t *ids, int64_t *count)
{
    for (int64_t t = 0; t + 1 < LENGTH; t++) {
        if (lt_bind(plan, "token", &ids[t]) || lt_set(plan, "first", (double)t) || lt_run(plan))
            return lt_ctx_status(ctx);
        if (t + 1 < *count) continue; /* still in the prompt */
        const lt_real *z = lt_result(plan, 0);
        int32_t best = 0;
        for (int32_t v = 1; v < vocab; v++) best = z[v] > z[best] ? v : best;
        if (best == eos) break;
        ids[(*count)++] = best;
    }
    return LT_OK;
}

static lt_status sample(lt_ctx *ctx, lt_params *params, const lt_transformer_config *c, lt_tokenizer *tok,
                        const char *prompt)
{
    lt_ids prompt_ids = {0};
    int32_t ids[LENGTH];
    lt_plan *plan = NULL;
    char *text = NULL;
    int64_t bytes;
    lt_status status = lt_tokenizer_encode(tok, prompt, (int64_t)strlen(prompt), LT_ENCODE_SPECIAL_TOKENS, &prompt_ids);
    int64_t count = prompt_ids.count < LENGTH ? prompt_ids.count : LENGTH;
    if (status == LT_OK && count > 0) memcpy(ids, prompt_ids.ids, (size_t)count * sizeof *ids);
    if (status == LT_OK) status = build_decoder(ctx, params, c, &plan);
    if (status == LT_OK) status = decode(ctx, plan, c->vocab, lt_tokenizer_eos(tok), ids, &count);
    if (status == LT_OK) status = lt_tokenizer_decode(tok, ids, count, 0, &text, &bytes);
    if (status == LT_OK) printf("sample: %s\n", text);
    lt_buffer_free(ctx, text);
    lt_plan_free(plan);
    lt_ids_free(ctx, &prompt_ids);
    return status;
}

static lt_status run(lt_ctx *ctx, const options *o, lt_params *params, lt_tokenizer *tok, lt_dataset **set)
{
    lt_dataset_options data;
    lt_dataset_options_init(&data);
    data.max_seq_length = LENGTH;
    lt_transformer_config c;
    lt_transformer_config_init(&c, LT_LLAMA);
    c.vocab = lt_tokenizer_vocab_size(tok);
    c.dim = 64, c.hidden = 192, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.context = LENGTH;
    lt_plan *plan = NULL;
    lt_status status = lt_dataset_open(ctx, o->data, tok, &data, set);
    if (status == LT_OK) status = lt_transformer_params(params, &c, 1);
    if (status == LT_OK) status = build(ctx, params, &c, &plan);
    if (status == LT_OK)
        printf("%lld windows, plan of %d steps, arena %.1f MB\n", (long long)lt_dataset_rows(*set), lt_plan_steps(plan),
               (double)lt_plan_arena_bytes(plan) / 1e6);
    if (status == LT_OK) status = train(ctx, *set, plan, o->epochs);
    if (status == LT_OK) status = sample(ctx, params, &c, tok, o->prompt);
    lt_plan_free(plan);
    return status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 20, .data = "examples/data/treasure.txt", .prompt = "The captain "};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx == NULL) return 1;
    lt_params *params = NULL;
    lt_tokenizer *tok = NULL;
    lt_dataset *set = NULL;
    int failed = lt_params_create(ctx, &params) || lt_tokenizer_bytes(ctx, &tok) || run(ctx, &o, params, tok, &set);
    if (failed) fprintf(stderr, "tiny_llama: %s\n", lt_ctx_message(ctx));
    lt_dataset_free(set);
    lt_tokenizer_free(tok);
    lt_params_free(params);
    lt_ctx_free(ctx);
    return failed;
}
