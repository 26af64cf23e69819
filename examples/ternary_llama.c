/* ternary_llama.c - a Llama of -1, 0 and 1, from nothing.
 *
 * BitNet b1.58: every linear layer has three values times one scale, what it reads is rounded to 8 bits a token, and a
 * norm before each projection back into the residual stream keeps that rounding gentle. Two models from the same start
 * see the same batches, one in float and one ternary. The ternary one is then written as TQ2_0, two bits a weight, for
 * llama.cpp: its scales were f16 in training as they are there, so not a trit and not a scale moves, and the file is
 * read back, compared and measured once more. */
#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LENGTH = 128 };

typedef struct options {
    long epochs;
    const char *data, *out;
} options;

static int usage(int status)
{
    fputs("usage: ternary_llama [--epochs N] [--data FILE.txt] [--out FILE.gguf]\n"
          "Prints the validation loss of a float and of a ternary model, and writes the ternary one.\n",
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
        else if (strcmp(argv[i], "--out") == 0)
            o->out = argv[++i];
        else
            return usage(2), 2;
    }
    return 0;
}

static void progress(void *user, const lt_train_progress *p)
{
    if (p->step == 1 || p->step == p->steps || p->step % 100 == 0)
        printf("%s  step %4lld/%lld  loss %.4f\n", (const char *)user, (long long)p->step, (long long)p->steps,
               p->loss);
}

static lt_status train(lt_ctx *ctx, const options *o, const char *name, const lt_quant_policy *policy, lt_dataset *set,
                       lt_dataset *valid, lt_model **model)
{
    const char *shape = "bitnet:layers=1,dim=256,hidden=256,heads=8,kv_heads=4"; /* rows of whole blocks of 256 */
    if (lt_model_create(ctx, shape, NULL, 1, model) != LT_OK) return lt_ctx_status(ctx);
    lt_train_config config;
    lt_train_config_init(&config);
    config.epochs = (double)o->epochs;
    config.batch_size = 8;
    config.max_seq_length = LENGTH;
    config.learning_rate = 3e-3;
    config.on_progress = progress;
    config.user = (void *)name;
    if (policy) config.quant = *policy;
    lt_train_result result;
    return lt_train(*model, set, valid, &config, &result);
}

static lt_status loss(const char *name, lt_model *model, const lt_dataset *valid, const lt_quant_policy *policy)
{
    lt_eval_result result;
    lt_status status = lt_evaluate(model, valid, policy, 0, &result);
    if (status == LT_OK) printf("%-9s loss %.4f  perplexity %.4f\n", name, result.nll, result.perplexity);
    return status;
}

static lt_status ship(lt_ctx *ctx, lt_model *model, const options *o, const lt_dataset *valid,
                      const lt_quant_policy *policy)
{
    lt_quant_policy held = *policy, met = {.size = sizeof met, .activations = policy->activations};
    held.weights = lt_scheme_of(LT_TQ2_0);
    lt_export_options how;
    lt_export_options_init(&how);
    how.other = &held; /* another type, which holds the same values: else this is refused */
    lt_exported exported;
    lt_model *file = NULL;
    if (lt_export(model, policy, o->out, &how, &exported) != LT_OK) return LT_EIO;
    printf("%s: %lld weights read back and equal, values moved by %g\n", o->out, (long long)exported.weights,
           exported.moved);
    lt_string_free(ctx, exported.report);
    lt_status status = lt_model_with_codes(model, o->out, &file);
    if (status == LT_OK) status = loss("the file", file, valid, &met);
    lt_model_free(file);
    return status;
}

static lt_status compare(lt_ctx *ctx, const options *o, lt_dataset *set, lt_dataset *valid)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights = (lt_scheme){.kind = LT_SCHEME_TERNARY, .per = LT_PER_TENSOR, .half_scales = true};
    policy.activations = LT_ACT_INT8_TOKEN;
    lt_model *plain = NULL, *ternary = NULL;
    lt_status status = train(ctx, o, "float  ", NULL, set, valid, &plain);
    if (status == LT_OK) status = train(ctx, o, "ternary", &policy, set, valid, &ternary);
    if (status == LT_OK) status = loss("float", plain, valid, NULL);
    if (status == LT_OK) status = loss("ternary", ternary, valid, &policy);
    if (status == LT_OK) status = ship(ctx, ternary, o, valid, &policy);
    lt_model_free(plain);
    lt_model_free(ternary);
    return status;
}

static lt_status open_split(lt_ctx *ctx, const char *path, lt_tokenizer *tok, lt_split split, lt_dataset **set)
{
    lt_dataset_options data;
    lt_dataset_options_init(&data);
    data.max_seq_length = LENGTH;
    data.split = split;
    return lt_dataset_open(ctx, path, tok, &data, set);
}

int main(int argc, char **argv)
{
    options o = {.epochs = 24, .data = "examples/data/treasure.txt", .out = "out/ternary_llama.gguf"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    mkdir("out", 0777); /* where the default goes; it may be there already */
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx == NULL) return 1;
    lt_tokenizer *tok = NULL;
    lt_dataset *set = NULL, *valid = NULL;
    int failed = lt_tokenizer_bytes(ctx, &tok) || open_split(ctx, o.data, tok, LT_SPLIT_TRAIN, &set) ||
                 open_split(ctx, o.data, tok, LT_SPLIT_VALID, &valid) || compare(ctx, &o, set, valid);
    if (failed) fprintf(stderr, "ternary_llama: %s\n", lt_ctx_message(ctx));
    lt_dataset_free(set);
    lt_dataset_free(valid);
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
    return failed;
}
