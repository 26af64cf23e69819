/* capi.c - the C API whole, on one page: context, params, graph, a hook, gradients, optimizer nodes, plan, file.
 *
 * A digit classifier whose weights are trained on the grid of a block lattice (q8_0): the hook quantizes what the
 * layers see, the layers do not know. Nothing here is a convenience: each step is one call of the engine. */
#include <lathe/lathe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TRY(call)                                                                                                      \
    if ((call) != LT_OK) return lt_ctx_status(ctx)

enum { HIDDEN = 32 };

/* Called once for each weight matrix when the model is recorded. */
static lt_t on_grid(lt_t w, const lt_site *site, void *type)
{
    printf("hook: %s [%lld, %lld] goes on the %s grid\n", site->name, (long long)lt_dim(w, 0), (long long)lt_dim(w, 1),
           lt_dtype_name(*(lt_dtype *)type));
    return lt_quantize(w, *(lt_dtype *)type);
}

/* Params are named arrays; "fc1" in lt_nn_linear means "fc1.weight" and "fc1.bias". */
static lt_status add_params(lt_ctx *ctx, lt_params *params, int64_t in, int64_t out)
{
    lt_param *w;
    TRY(lt_params_add(params, "fc1.weight", LT_F32, 2, (int64_t[]){HIDDEN, in}, LT_WEIGHT, &w));
    lt_init_uniform(w, 1, 0.125);
    TRY(lt_params_add(params, "fc1.bias", LT_F32, 1, (int64_t[]){HIDDEN}, LT_WEIGHT, NULL));
    TRY(lt_params_add(params, "fc2.weight", LT_F32, 2, (int64_t[]){out, HIDDEN}, LT_WEIGHT, &w));
    lt_init_uniform(w, 1, 0.175);
    TRY(lt_params_add(params, "fc2.bias", LT_F32, 1, (int64_t[]){out}, LT_WEIGHT, NULL));
    return LT_OK;
}

/* Forward, backward and update as nodes of one graph. Errors are sticky: lt_compile reports the first. */
static lt_status record(lt_ctx *ctx, lt_graph *g, const lt_arrays *set, lt_plan **plan)
{
    static lt_dtype type = LT_Q8_0;
    lt_attach(g, &(lt_attachment){.size = sizeof(lt_attachment), .weight = on_grid, .config = &type});

    lt_t x = lt_scale(lt_input(g, "x", LT_F32, 2, (int64_t[]){set->n, set->d}), 1.0 / 16); /* [n, d] */
    lt_t y = lt_index_input(g, "y", 1, (int64_t[]){set->n}, 0, set->classes);              /* [n] */
    lt_t logits = lt_nn_linear(lt_relu(lt_nn_linear(x, "fc1")), "fc2");                    /* [n, classes] */
    lt_t loss = lt_cross_entropy(logits, y, lt_nil(g));

    lt_params *params = lt_graph_params(g);
    lt_param *param[4];
    lt_t w[4], dw[4];
    for (int i = 0; i < 4; i++) {
        param[i] = lt_params_at(params, i);
        w[i] = lt_param_value(g, param[i]);
    }
    lt_grad(loss, 4, w, dw);
    lt_sgd_config sgd;
    lt_sgd_config_init(&sgd);
    lt_t lr = lt_scalar(g, "lr", 0.5), clip = lt_clip_factor(lt_global_norm(4, dw), 1.0);
    for (int i = 0; i < 4; i++) lt_sgd(param[i], NULL, dw[i], lr, clip, lt_nil(g), &sgd);
    TRY(lt_compile(g, NULL, 1, &loss, plan));
    printf("plan: %d steps, arena %zu bytes\n", lt_plan_steps(*plan), lt_plan_arena_bytes(*plan));
    return LT_OK;
}

static lt_status save(lt_ctx *ctx, lt_params *params, const char *path)
{
    lt_tensor_entry entries[4];
    for (int i = 0; i < 4; i++) {
        lt_param *p = lt_params_at(params, i);
        entries[i] = (lt_tensor_entry){.name = lt_param_name(p),
                                       .dtype = LT_STORED_F32,
                                       .rank = lt_param_rank(p),
                                       .shape = lt_param_shape(p),
                                       .real = lt_param_read(p)};
    }
    char hash[33];
    TRY(lt_tensors_write(ctx, path, entries, 4, NULL, 0, hash));
    printf("saved %s, XXH3 %s\n", path, hash);
    return LT_OK;
}

static lt_status run(lt_ctx *ctx, long epochs, const char *out, lt_params *params, lt_graph *g, lt_arrays *set,
                     lt_plan **plan)
{
    TRY(add_params(ctx, params, set->d, set->classes));
    TRY(record(ctx, g, set, plan));
    TRY(lt_bind(*plan, "x", set->x));
    TRY(lt_bind(*plan, "y", set->y));
    for (long epoch = 1; epoch <= epochs; epoch++) {
        TRY(lt_set(*plan, "lr", epoch * 2 <= epochs ? 0.5 : 0.1));
        TRY(lt_run(*plan));
        if (epoch == 1 || epoch == epochs || epoch % 20 == 0)
            printf("epoch %3ld  loss %.4f\n", epoch, (double)*(const lt_real *)lt_result(*plan, 0));
    }
    return save(ctx, params, out);
}

int main(int argc, char **argv)
{
    long epochs = 100;
    const char *data = "examples/data/digits.csv.gz", *out = "out/capi.safetensors";
    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && strcmp(argv[i], "--epochs") == 0)
            epochs = atol(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--data") == 0)
            data = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--out") == 0)
            out = argv[++i];
        else
            return puts("usage: capi [--epochs N] [--data FILE.csv] [--out FILE.safetensors]"),
                   strcmp(argv[i], "--help") != 0;
    }
    mkdir("out", 0777); /* where the default goes; it may be there already */
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_params *params = NULL;
    lt_graph *graph = NULL;
    lt_arrays *set = NULL;
    lt_plan *plan = NULL;
    int failed = ctx == NULL || lt_arrays_open(ctx, data, &set) || lt_params_create(ctx, &params) ||
                 lt_graph_create(ctx, params, &graph) || run(ctx, epochs, out, params, graph, set, &plan);
    if (failed && ctx) fprintf(stderr, "capi: %s\n", lt_ctx_message(ctx));
    lt_plan_free(plan);
    lt_graph_free(graph);
    lt_params_free(params);
    lt_arrays_free(ctx, set);
    lt_ctx_free(ctx);
    return failed;
}
