/* char_lstm.c - an LSTM that reads a text byte by byte and learns what comes next; then it writes.
 *
 * The text is cut into 32 streams that are read side by side, 64 bytes a step. The state at the end of a step is where
 * the next one starts (truncated backpropagation through time): the plan takes h and c as inputs and gives them as
 * results. The last tenth of the text is never trained on. char_lstm_torch.py is the same in PyTorch, line by line. */
#include <lathe/lathe.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 32, LENGTH = 64, EMBEDDING = 64, HIDDEN = 256, VOCAB = 256, SAMPLE = 200 };
static const double LEARNING_RATE = 2e-3, TEMPERATURE = 0.7;

typedef struct options {
    long epochs;
    const char *data;
} options;

/* Which of the three plans: each reads [batch, length] bytes from a state and gives the next one. */
typedef enum kind { TRAIN, VALIDATE, WRITE } kind;

typedef struct state {
    lt_real h[BATCH * HIDDEN], c[BATCH * HIDDEN];
} state;

static int usage(int status)
{
    fputs("usage: char_lstm [--epochs N] [--data FILE]\n"
          "Trains an LSTM of 0.4 million parameters on the bytes of a text; default examples/data/treasure.txt.\n",
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
        else
            return usage(2), 2;
    }
    return 0;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static unsigned char *read_text(const char *path, long *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0 && (*size = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0)
        text = malloc((size_t)*size);
    if (text && fread(text, 1, (size_t)*size, file) != (size_t)*size) {
        free(text);
        text = NULL;
    }
    if (file) fclose(file);
    return text;
}

/* Results: the loss, or when it writes the logits; h; c. */
static lt_status build(lt_ctx *ctx, lt_params *params, kind what, lt_plan **plan)
{
    lt_graph *g;
    if (lt_graph_create(ctx, params, &g) != LT_OK) return lt_ctx_status(ctx);
    int64_t batch = what == WRITE ? 1 : BATCH, length = what == WRITE ? 1 : LENGTH;
    lt_t bytes = lt_index_input(g, "bytes", 2, (int64_t[]){batch, length}, 0, VOCAB);
    lt_t h = lt_input(g, "h", LT_F32, 2, (int64_t[]){batch, HIDDEN});
    lt_t c = lt_input(g, "c", LT_F32, 2, (int64_t[]){batch, HIDDEN});
    lt_t x = lt_nn_embedding(bytes, "token_embd");   /* [B, T, E] */
    lt_recurrent r = lt_nn_lstm(x, "rnn.0", h, c);   /* y [B, T, H] */
    lt_t results[3] = {lt_nn_linear(r.y, "output")}; /* logits [B, T, 256] */
    results[1] = r.h, results[2] = r.c;
    if (what != WRITE) {
        lt_t next = lt_index_input(g, "next", 2, (int64_t[]){batch, length}, 0, VOCAB);
        results[0] = lt_cross_entropy(results[0], next, lt_nil(g));
    }
    lt_status status = LT_OK;
    if (what == TRAIN) {
        lt_optimizer_config config;
        lt_optimizer_config_init(&config); /* AdamW */
        lt_optimizer *optimizer = NULL;
        status = lt_optimizer_create(ctx, params, &config, &optimizer);
        if (status == LT_OK) status = lt_optimizer_fused(optimizer, g, results[0]);
        lt_optimizer_free(optimizer);
    }
    if (status == LT_OK) status = lt_compile(g, NULL, 3, results, plan);
    lt_graph_free(g);
    return status;
}

static lt_status run_plan(lt_ctx *ctx, lt_plan *plan, int64_t batch, state *s)
{
    if (lt_bind(plan, "h", s->h) || lt_bind(plan, "c", s->c) || lt_run(plan)) return lt_ctx_status(ctx);
    memcpy(s->h, lt_result(plan, 1), (size_t)(batch * HIDDEN) * sizeof(lt_real));
    memcpy(s->c, lt_result(plan, 2), (size_t)(batch * HIDDEN) * sizeof(lt_real));
    return LT_OK;
}

/* Reads the text once from a state of zeros: stream b begins at byte b * stream. *step counts on when it trains. */
static lt_status pass(lt_ctx *ctx, lt_plan *plan, const unsigned char *text, long size, long *step, double *loss)
{
    static int32_t bytes[BATCH * LENGTH], next[BATCH * LENGTH];
    static state s;
    long stream = (size - 1) / BATCH, steps = stream / LENGTH;
    memset(&s, 0, sizeof s);
    *loss = 0;
    for (long at = 0; at < steps; at++) {
        for (long b = 0; b < BATCH; b++)
            for (long t = 0; t < LENGTH; t++) {
                const unsigned char *byte = text + b * stream + at * LENGTH + t;
                bytes[b * LENGTH + t] = byte[0];
                next[b * LENGTH + t] = byte[1];
            }
        if (lt_bind(plan, "bytes", bytes) || lt_bind(plan, "next", next)) return lt_ctx_status(ctx);
        if (step && (lt_set(plan, "step", (double)++*step) || lt_set(plan, "lr", LEARNING_RATE)))
            return lt_ctx_status(ctx);
        lt_status status = run_plan(ctx, plan, BATCH, &s);
        if (status != LT_OK) return status;
        *loss += (double)*(const lt_real *)lt_result(plan, 0) / (double)steps;
    }
    return LT_OK;
}

/* A byte drawn from softmax(z / TEMPERATURE). */
static int32_t draw(const lt_real *z, uint64_t *seed)
{
    double weight[VOCAB], sum = 0, top = (double)z[0];
    for (int v = 1; v < VOCAB; v++) top = fmax(top, (double)z[v]);
    for (int v = 0; v < VOCAB; v++) sum += weight[v] = exp(((double)z[v] - top) / TEMPERATURE);
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    double left = (double)(*seed >> 11) * 0x1p-53 * sum;
    int32_t v = 0;
    while (v + 1 < VOCAB && (left -= weight[v]) > 0) v++;
    return v;
}

static lt_status write_text(lt_ctx *ctx, lt_params *params)
{
    lt_plan *plan = NULL;
    static state s;
    uint64_t seed = 1;
    int32_t byte = '\n';
    lt_status status = build(ctx, params, WRITE, &plan);
    fputs("sample: ", stdout);
    for (int i = 0; i < SAMPLE && status == LT_OK; i++) {
        status = lt_bind(plan, "bytes", &byte);
        if (status == LT_OK) status = run_plan(ctx, plan, 1, &s);
        if (status != LT_OK) break;
        byte = draw(lt_result(plan, 0), &seed);
        putchar(byte == '\n' || (byte >= ' ' && byte < 127) ? byte : '?');
    }
    puts("");
    lt_plan_free(plan);
    return status;
}

static lt_status run(lt_ctx *ctx, const options *o, lt_params *params, const unsigned char *text, long size)
{
    lt_rnn_config c;
    lt_rnn_config_init(&c);
    c.vocab = VOCAB, c.dim = EMBEDDING, c.hidden = HIDDEN;
    lt_plan *train = NULL, *validate = NULL;
    lt_status status = lt_rnn_params(params, &c, 1);
    if (status == LT_OK) status = build(ctx, params, VALIDATE, &validate);
    if (status == LT_OK) status = build(ctx, params, TRAIN, &train);
    long step = 0, held_out = size / 10;
    for (long epoch = 1; epoch <= o->epochs && status == LT_OK; epoch++) {
        double loss = 0, valid = 0, start = now();
        status = pass(ctx, train, text, size - held_out, &step, &loss);
        double seconds = now() - start;
        if (status == LT_OK) status = pass(ctx, validate, text + size - held_out, held_out, NULL, &valid);
        if (status == LT_OK)
            printf("epoch %3ld  loss %.4f  valid %.4f  %.0f bytes/s\n", epoch, loss, valid,
                   (double)(size - held_out) / seconds);
    }
    if (status == LT_OK) status = write_text(ctx, params);
    lt_plan_free(train);
    lt_plan_free(validate);
    return status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 20, .data = "examples/data/treasure.txt"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    long size = 0;
    unsigned char *text = read_text(o.data, &size);
    if (!text || size < 10 * (BATCH * LENGTH + 1)) {
        fprintf(stderr, "char_lstm: %s cannot be read, or is shorter than %d bytes\n", o.data, 10 * BATCH * LENGTH);
        free(text);
        return 1;
    }
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_params *params = NULL;
    int failed = !ctx || lt_params_create(ctx, &params) || run(ctx, &o, params, text, size);
    if (failed) fprintf(stderr, "char_lstm: %s\n", ctx ? lt_ctx_message(ctx) : "out of memory");
    lt_params_free(params);
    lt_ctx_free(ctx);
    free(text);
    return failed;
}
