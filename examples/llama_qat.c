/* llama_qat.c - what 4 bits cost, and what training on the 4-bit grid gives back.
 *
 * Two models from the same start see the same batches. One trains in float; its perplexity is measured as it is and
 * after rounding its linear layers to q4_0 (RTN). The other has q4_0 attached from the middle of its run (QAT): its
 * perplexity is that of the codes which would be exported. */
#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 128 };

typedef struct options {
    long epochs;
    const char *data;
} options;

static int usage(int status)
{
    fputs("usage: llama_qat [--epochs N] [--data FILE.txt]\n"
          "Prints the validation perplexity in float, rounded to q4_0, and trained on q4_0.\n",
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

static void progress(void *user, const lt_train_progress *p)
{
    if (p->step == 1 || p->step == p->steps || p->step % 100 == 0)
        printf("%s  step %4lld/%lld  loss %.4f\n", (const char *)user, (long long)p->step, (long long)p->steps,
               p->loss);
}

/* Trains a new model, on the grid of the policy from half of the run on if there is one. */
static lt_status train(lt_ctx *ctx, const options *o, const char *name, const lt_quant_policy *policy, lt_dataset *set,
                       lt_dataset *valid, lt_model **model)
{
    const char *shape = "llama:layers=2,dim=64,hidden=192,heads=4,kv_heads=2";
    if (lt_model_create(ctx, shape, NULL, 1, model) != LT_OK) return lt_ctx_status(ctx);
    lt_train_config config;
    lt_train_config_init(&config);
    config.epochs = (double)o->epochs;
    config.batch_size = 8;
    config.max_seq_length = LENGTH;
    config.learning_rate = 3e-3;
    config.on_progress = progress;
    config.user = (void *)name;
    if (policy) {
        config.quant = *policy;
        config.qat_start = 0.5;
    }
    lt_train_result result;
    return lt_train(*model, set, valid, &config, &result);
}

static lt_status perplexity(const char *name, lt_model *model, const lt_dataset *valid, const lt_quant_policy *policy)
{
    lt_eval_result result;
    lt_status status = lt_evaluate(model, valid, policy, 0, &result);
    if (status == LT_OK) printf("%-22s perplexity %.4f\n", name, result.perplexity);
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

static lt_status compare(lt_ctx *ctx, const options *o, lt_dataset *set, lt_dataset *valid)
{
    lt_quant_policy policy;
    lt_quant_policy_init(&policy);
    policy.weights.type = LT_Q4_0;
    lt_model *plain = NULL, *qat = NULL;
    lt_status status = train(ctx, o, "float", NULL, set, valid, &plain);
    if (status == LT_OK) status = train(ctx, o, "qat  ", &policy, set, valid, &qat);
    if (status == LT_OK) status = perplexity("float", plain, valid, NULL);
    if (status == LT_OK) status = perplexity("float, rounded to q4_0", plain, valid, &policy);
    if (status == LT_OK) status = perplexity("trained on q4_0", qat, valid, &policy);
    lt_model_free(plain);
    lt_model_free(qat);
    return status;
}

int main(int argc, char **argv)
{
    options o = {.epochs = 24, .data = "examples/data/treasure.txt"};
    int stop = parse(argc, argv, &o);
    if (stop) return stop == 1 ? 0 : stop;
    lt_ctx *ctx = lt_ctx_create(NULL);
    if (ctx == NULL) return 1;
    lt_tokenizer *tok = NULL;
    lt_dataset *set = NULL, *valid = NULL;
    int failed = lt_tokenizer_bytes(ctx, &tok) || open_split(ctx, o.data, tok, LT_SPLIT_TRAIN, &set) ||
                 open_split(ctx, o.data, tok, LT_SPLIT_VALID, &valid) || compare(ctx, &o, set, valid);
    if (failed) fprintf(stderr, "llama_qat: %s\n", lt_ctx_message(ctx));
    lt_dataset_free(set);
    lt_dataset_free(valid);
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
    return failed;
}
