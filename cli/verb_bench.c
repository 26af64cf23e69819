/* verb_bench.c - lathe bench: whole training steps (bench_step.c), a model at work (bench_model.c), or single kernels
 * (bench_kernels.c), timed on this machine. */
#include "cli/bench_kernels.h"
#include "cli/bench_model.h"
#include "cli/bench_step.h"

#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    cli_common common;
    cli_bench_step step;
    cli_bench_model model;
    bool kernels;
} bench_options;

#define AT(field) offsetof(bench_options, field)
#define GROUP "Training step"
#define USE "A model at work"

static const cli_option options[] = {
    {"step", CLI_CHOICE, AT(step.step), "full", GROUP, "what is trained", .choices = "full|qat",
     .later = "lora|qlora|dora|kd"},
    {"shape", CLI_TEXT, AT(step.shape), "smollm2", GROUP, .value = "SHAPE",
     .help = "smollm2: 135 million parameters; tiny: 260 thousand; or sizes of a Llama: "
             "vocab=512,dim=256,hidden=768,layers=4,heads=4,kv_heads=4"},
    {"batch", CLI_INT, AT(step.batch), "4", GROUP, "rows", .low = 1, .high = 65536},
    {"seq", CLI_INT, AT(step.seq), "256", GROUP, "positions a row", .low = 2, .high = 65536},
    {"steps", CLI_INT, AT(step.steps), "4", GROUP, "timed steps, after one that is not; the median counts", .low = 1,
     .high = 100000},
    {"optimizer", CLI_CHOICE, AT(step.optimizer), "adamw", GROUP, "what updates the weights",
     .choices = "adamw|adamw_8bit|lion|muon|sgd"},
    {"max_grad_norm", CLI_REAL, AT(step.max_grad_norm), "0", GROUP,
     "gradients are clipped to this norm; 0: not, and updates run inside the backward", .low = 0, .high = 1e9},
    {"checkpoint_activations", CLI_SWITCH, AT(step.checkpoint), .group = GROUP,
     .help = "compute activations again in the backward"},
    {"store_activations", CLI_CHOICE, AT(step.store), "f32", GROUP, "type in which the backward's values are kept",
     .choices = "f32|bf16"},
    {"qat_type", CLI_TEXT, AT(step.qat_type), "q4_0", GROUP, .value = "TYPE",
     .help = "grid of the linear layers in --step qat, as --qat of lathe train has it"},
    {"qat_activations", CLI_CHOICE, AT(step.qat_activations), .group = GROUP,
     .help = "activations in --step qat; runtime: as llama.cpp pairs them with the type, products in integers",
     .choices = "none|runtime|int8_token"},
    {"compute", CLI_CHOICE, AT(step.compute), "f32", GROUP,
     "type of the factors of products; auto: the faster one, measured", .choices = "auto|f32|bf16"},
    {"threads", CLI_TEXT, AT(step.threads), "0", GROUP, .value = "N[,N...]",
     .help = "threads; 0: the cores this process may use; several: each in turn, with what the added ones gain"},
    {"kernels", CLI_SWITCH, AT(kernels), .group = "Kernels", .help = "time single kernels and products instead"},
    {"model", CLI_TEXT, AT(model.model), .group = USE, .value = "M",
     .help = "time this model's generation, not training: Hugging Face directory, lathe checkpoint or .gguf"},
    {"prompt_tokens", CLI_INT, AT(model.prompt_tokens), "128", USE, "tokens read before the first new one", .low = 1,
     .high = 1 << 24},
    {"tokens", CLI_INT, AT(model.tokens), "64", USE, "timed tokens, one by one", .low = 1, .high = 1 << 24},
    {"batch_size", CLI_INT, AT(model.batch_size), "4", USE, "rows at once, besides one alone; 1: only that", .low = 1,
     .high = 4096},
};

static int verb_bench(cli *cli, void *target);

const cli_verb cli_verb_bench = {
    .name = "bench",
    .summary = "training steps, kernels, or a model's generation, timed on this machine",
    .usage = "[options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(bench_options),
    .run = verb_bench,
};

static const char *const of_steps[] = {"step",
                                       "shape",
                                       "batch",
                                       "seq",
                                       "steps",
                                       "optimizer",
                                       "checkpoint_activations",
                                       "store_activations",
                                       "qat_type",
                                       "qat_activations",
                                       "max_grad_norm",
                                       "compute",
                                       NULL};
static const char *const of_model[] = {"prompt_tokens", "tokens", "batch_size", NULL};

/* The first of the options that was given, or NULL. */
static const char *given(const cli *c, const char *const *names)
{
    while (*names && !cli_settings_given(c->settings, *names)) names++;
    return *names;
}

/* Options of the one measurement given to the other would be passed over in silence. */
static int check_options(cli *c, const bench_options *o)
{
    const char *what = o->kernels ? "--kernels" : "--model", *name;
    if (o->kernels && o->model.model) return cli_fail(c, EXIT_USAGE, "--kernels and --model are two measurements");
    if ((o->kernels || o->model.model) && (name = given(c, of_steps)))
        return cli_fail(c, EXIT_USAGE, "%s is about training steps; leave it out with %s", name, what);
    if (!o->model.model && (name = given(c, of_model))) return cli_fail(c, EXIT_USAGE, "%s goes with --model M", name);
    return EXIT_DONE;
}

/* The single number of threads of the other measurements. */
static int set_threads(cli *c, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 0 || n > 4096)
        return cli_fail(c, EXIT_USAGE, "--threads '%s': one number here; several go with --step", text);
    if (n > 0) lt_set_threads((int)n);
    return EXIT_DONE;
}

static int verb_bench(cli *c, void *target)
{
    const bench_options *o = target;
    int code = check_options(c, o);
    if (code == EXIT_DONE && (o->model.model || o->kernels)) code = set_threads(c, o->step.threads);
    if (code) return code;
    if (o->model.model) return cli_bench_model_run(c, &o->model, o->common.seed);
    if (o->kernels) return cli_bench_kernels_run(c);
    return cli_bench_step_run(c, &o->step, o->common.seed);
}
