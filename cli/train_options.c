/* train_options.c - the table of `lathe train`. Names are those of PEFT, Transformers and mlx-lm. */
#include "cli/train_options.h"

#define AT(field) offsetof(train_options, field)
#define C(field) offsetof(train_options, config.field)
#define MODEL "Model"
#define DATA "Data"
#define STEPS "Steps and memory"
#define OPTIMIZER "Optimizer"
#define RANGE "Range test of the learning rate"
#define OUTPUT "Output"
#define QAT "Quantization-aware training"
#define CLUSTERS "Weight clustering"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = MODEL, .value = "DIR",
     .help =
         "Hugging Face directory (config.json, safetensors, tokenizer.json), .gguf or lathe checkpoint to start from"},
    {"init", CLI_TEXT, AT(init), .group = MODEL, .value = "SPEC",
     .help =
         "start from nothing: llama:layers=4,dim=256,hidden=768,heads=8,kv_heads=4 (or qwen2, qwen3, gemma3, bitnet, "
         "gpt2, bert); of the data's sizes and classes: cnn:filters=16,stages=3,blocks=1 (depthwise=1), "
         "mlp:hidden=256/128, "
         "lstm:dim=64,hidden=128,layers=1, gru:..; a name alone takes these defaults"},
    {"tokenizer", CLI_TEXT, AT(tokenizer), .group = MODEL, .value = "M",
     .help = "with --init: a model directory, tokenizer.json or .gguf; bytes when left out"},
    {"freeze", CLI_TEXT, C(freeze), .group = MODEL, .value = "GLOBS",
     .help = "comma-separated patterns of parameters that stay as they are"},
    {"train_only", CLI_TEXT, C(train_only), .group = MODEL, .value = "GLOBS",
     .help = "comma-separated patterns of the only parameters to train"},

    {"data", CLI_TEXT, AT(data), .group = DATA, .value = "PATH",
     .help =
         "text (documents separated by a line <|endoftext|>), .jsonl of {text}, {prompt, completion}, {messages}, "
         "alpaca or sharegpt rows; for classes: .csv with a heading (text, label), .jsonl of {text, label}, .txt of "
         "lines LABEL:sub text, or images and numbers: IDX (.gz too), .csv with the class last, HDF5; or a directory "
         "with train.*, valid.*, or MNIST's four files"},
    {"valid_data", CLI_TEXT, AT(valid_data), .group = DATA, .value = "PATH",
     .help = "data to validate on; else a part of --data"},
    {"valid_fraction", CLI_REAL, AT(valid_fraction), "0.1", DATA, "share of the documents kept for validation; 0: none",
     .low = 0, .high = 0.9},
    {"max_seq_length", CLI_INT, C(max_seq_length), "512", DATA, "positions a window, at most the model's context",
     .low = 2, .high = 1 << 20},
    {"append_eos", CLI_SWITCH, AT(append_eos), .group = DATA, .help = "end every training document with EOS"},
    {"pack", CLI_SWITCH, AT(rows.pack), .group = DATA,
     .help = "several rows in one window, each seeing itself alone: less padding. For transformers"},
    CLI_ROW_OPTIONS(AT, DATA),

    {"steps", CLI_INT, C(steps), "0", STEPS, "optimizer steps; 0: as many as --epochs make", .low = 0, .high = 1e12},
    {"epochs", CLI_REAL, C(epochs), "1", STEPS, "passes over the data", .low = 1e-6, .high = 1e6},
    {"batch_size", CLI_INT, C(batch_size), "4", STEPS, "rows a micro-batch", .low = 1, .high = 1 << 20},
    {"grad_accumulation_steps", CLI_INT, C(grad_accumulation_steps), "1", STEPS, "micro-batches a step", .low = 1,
     .high = 1 << 20},
    {"checkpoint_activations", CLI_SWITCH, C(checkpoint_activations), .group = STEPS,
     .help = "compute activations again in the backward: less memory, more time"},
    {"compute", CLI_CHOICE, C(compute), "f32", STEPS,
     "factors of products while training; sums stay f32. auto: the faster one, measured", .choices = "auto|f32|bf16"},
    {"store_activations", CLI_CHOICE, C(store_activations), "f32", STEPS,
     "what the backward reads is kept in; bf16 halves it", .choices = "f32|bf16"},
    {"frozen_type", CLI_CHOICE, C(frozen_type), "f32", STEPS, "frozen matrices are held in; bf16 halves them",
     .choices = "f32|bf16"},
    {"memory_limit", CLI_BYTES, C(memory_limit), "0", STEPS,
     .help = "refuse to start when the forecast passes this; 0: what the machine has free"},
    {"max_seconds", CLI_REAL, C(max_seconds), "0", STEPS, "save a checkpoint and stop after; 0: never", .low = 0,
     .high = 1e9},

    {"optimizer", CLI_CHOICE, C(optimizer), "adamw", OPTIMIZER, "how gradients become updates",
     .choices = "adamw|adamw_8bit|adamw8bit|lion|muon|sgd"},
    {"learning_rate", CLI_REAL, C(learning_rate), "1e-3", OPTIMIZER, "the peak", .low = 0, .high = 1e3},
    {"lr_schedule", CLI_CHOICE, C(lr_schedule), "cosine", OPTIMIZER, "how it falls",
     .choices = "cosine|linear|constant|wsd"},
    {"warmup_ratio", CLI_REAL, C(warmup_ratio), "0.05", OPTIMIZER, "share of the steps to reach the peak", .low = 0,
     .high = 1},
    {"lr_min_ratio", CLI_REAL, C(lr_min_ratio), "0", OPTIMIZER, "share of the peak at the end", .low = 0, .high = 1},
    {"weight_decay", CLI_REAL, C(weight_decay), "0", OPTIMIZER, "decoupled, as AdamW has it", .low = 0, .high = 1e3},
    {"layer_decay", CLI_REAL, C(layer_decay), "1", OPTIMIZER,
     "learning rates fall by this factor a layer, from the head down", .low = 1e-6, .high = 1},
    {"ema_decay", CLI_REAL, C(ema_decay), "0", OPTIMIZER,
     "average the weights (0.999, ..): the averages are validated and saved; 0: not", .low = 0, .high = 0.99999999},
    {"label_smoothing", CLI_REAL, C(label_smoothing), "0", OPTIMIZER,
     "share of each target that is spread over all classes or tokens, while training", .low = 0, .high = 0.999999},
    {"beta1", CLI_REAL, C(beta1), "-1", OPTIMIZER, "adamw, lion: decay of the mean; -1: the optimizer's own (0.9)",
     .low = -1, .high = 0.999999},
    {"beta2", CLI_REAL, C(beta2), "-1", OPTIMIZER,
     "adamw: decay of the square; lion: of its momentum; -1: the optimizer's own (0.999; lion 0.99)", .low = -1,
     .high = 0.99999999},
    {"eps", CLI_REAL, C(eps), "-1", OPTIMIZER, "adamw: added to the root; -1: the optimizer's own (1e-8)", .low = -1,
     .high = 1},
    {"momentum", CLI_REAL, C(momentum), "0", OPTIMIZER, "sgd; muon: 0 counts as 0.95", .low = 0, .high = 0.999999},
    {"max_grad_norm", CLI_REAL, C(max_grad_norm), "1", OPTIMIZER,
     "gradients are clipped to this norm; 0: not, and updates run inside the backward", .low = 0, .high = 1e9},

    {"lr_find", CLI_SWITCH, AT(lr_find), .group = RANGE,
     .help = "do not train: raise the rate step by step, write OUT/lr_find.svg and suggest one"},
    {"lr_find_low", CLI_REAL, AT(lr_find_low), "1e-7", RANGE, "where it begins", .low = 1e-30, .high = 1e6},
    {"lr_find_high", CLI_REAL, AT(lr_find_high), "1", RANGE, "where it ends, unless the loss diverges before",
     .low = 1e-30, .high = 1e6},
    {"lr_find_steps", CLI_INT, AT(lr_find_steps), "100", RANGE, "steps from one to the other", .low = 10,
     .high = 100000},

    CLI_QUANT_OPTIONS(AT, QAT, "train linear layers on the grid of this type; its codes are exported and evaluated"),
    {"auto_bits", CLI_REAL, AT(auto_bits), "0", QAT, .low = 0, .high = 32,
     .help = "in place of --qat: choose each linear layer's type so that all together take this many bits a weight; "
             "what rounding costs is measured on the training data. 0: not"},
    {"qat_init", CLI_CHOICE, C(qat_init), "none", QAT,
     "change the weights before the first step so that they round better: gptq (columns corrected for the errors "
     "before "
     "them), awq or smoothquant (channels scaled, the same function); measured on the training data",
     .choices = "none|gptq|awq|smoothquant"},
    {"qat_start", CLI_REAL, C(qat_start), "0", QAT, "share of the steps trained, and validated, in float first",
     .low = 0, .high = 1},
    {"qat_scale", CLI_CHOICE, AT(quant.scale), "dynamic", QAT,
     "where the scales of integer grids come from: absmax, the least squared error, or learned",
     .choices = "dynamic|mse|lsq|lsq+|range"},
    {"qat_scale_every", CLI_INT, AT(quant.scale_every), "1", QAT,
     "K-quants: search scales and minima every so many steps only, codes at each", .low = 1, .high = 1e9},
    {"qat_backward", CLI_CHOICE, AT(quant.backward), "auto", QAT,
     "where products are sums of integers: how the gradient of their input is summed. auto: in the type of --compute; "
     "int8: in integers too, of gradients as int8 by rows",
     .choices = "auto|int8"},
    {"qat_gradient", CLI_CHOICE, AT(quant.gradient), "ste", QAT,
     "gradient through the rounding: straight, 0 outside of the grid's range (of the number, of its code), or weights "
     "drawn to the grid after each step",
     .choices = "ste|clip|clip_code|prox"},
    {"qat_damping", CLI_REAL, AT(quant.damping), "0", QAT,
     "draw weights to their grid by this times the squared distance, rising along half a cosine", .low = 0,
     .high = 1e6},
    {"qat_freeze", CLI_REAL, AT(quant.freeze), "0", QAT,
     "integer grids: hold weights whose average share of code flips passes this; 0: none", .low = 0, .high = 1},
    {"qat_observer", CLI_CHOICE, AT(quant.observer), "average", QAT,
     "int8_static: how a site's range is observed: moving averages of least and largest, the extremes, 99.99 % of the "
     "numbers, the least squared error, PyTorch's search in a histogram; or from 16 batches on its scale is learned",
     .choices = "average|minmax|percentile|mse|histogram|lsq|pact"},
    {"qat_observe_rate", CLI_REAL, AT(quant.observe_rate), "0", QAT,
     "of the moving averages: how far each batch moves them; 0: 0.01", .low = 0, .high = 1},
    {"qat_fold_norms", CLI_SWITCH, AT(fold_norms), .group = QAT,
     .help = "fold the batch norms of a trained cnn into its convolutions first: what integers run (eval --int8)"},
    {"export", CLI_TEXT, AT(export_path), .group = QAT, .value = "FILE",
     .help = "where the codes go: .gguf as llama.cpp reads it, or .safetensors; OUT/codes.safetensors when left out"},
    {"export_format", CLI_CHOICE, AT(export_format), "file", QAT,
     "a directory in place of the file, " CLI_QUANT_FORMATS_HELP "--qat is the format's usual grid when left out",
     .choices = "file|" CLI_QUANT_FORMATS},
    {"export_type", CLI_TEXT, AT(export_type), .group = QAT, .value = "TYPE",
     .help = "another type that holds the same values (tq2_0 for ternary weights)"},
    {"export_other_type", CLI_SWITCH, AT(export_other_type), .group = QAT,
     .help = "allow an --export-type that does not: it rounds the trained values a second time"},

    {"clusters", CLI_INT, AT(cluster.clusters), "0", CLUSTERS, .low = 0, .high = 256,
     .help = "matrices share so many values each, 2 to 256: OUT gets them, and clusters.safetensors packed. 0: none"},
    {"cluster_mode", CLI_CHOICE, AT(cluster.mode), "centroids", CLUSTERS,
     "train the centroids, each weight keeping its own; or the weights, straight through the look-up",
     .choices = "centroids|ste"},
    CLI_CLUSTER_OPTIONS(AT, CLUSTERS),

    {"out", CLI_TEXT, C(out), .group = OUTPUT, .value = "DIR",
     .help = "gets the model, config.yaml, run.json, metrics.jsonl, report.html and checkpoints/"},
    {"save_dtype", CLI_CHOICE, AT(save_dtype), "f32", OUTPUT, "type of the saved weights", .choices = "f32|f16|bf16"},
    {"save_every", CLI_INT, C(save_every), "0", OUTPUT, "steps between checkpoints; 0: only when interrupted", .low = 0,
     .high = 1e12},
    {"keep", CLI_INT, C(keep), "2", OUTPUT, "checkpoints kept", .low = 1, .high = 1e6},
    {"eval_every", CLI_INT, C(eval_every), "0", OUTPUT, "steps between validations; 0: at the end", .low = 0,
     .high = 1e12},
    {"log_every", CLI_INT, C(log_every), "1", OUTPUT,
     "steps between lines of metrics.jsonl; when given, of the screen too (else a line every 10 s)", .low = 1,
     .high = 1e9},
    {"compare", CLI_TEXT, C(compare), .group = OUTPUT, .value = "RUN,..",
     .help = "directories of other runs that report.html draws beside this one"},
    {"resume", CLI_TEXT, C(resume), "auto", OUTPUT, .value = "auto|never|DIR",
     .help = "go on from the newest whole checkpoint of --out, or from the one named"},
};

static const char *const later[] = {
    "lora-rank",    "lora-alpha",  "lora-targets",    "lora-dropout",  "rslora",       "dora",           "lora-init",
    "lora-budget",  "preference",  "lora-plus-ratio", "base-type",     "lora-inside",  "teacher",        "teacher-dump",
    "kd-loss",      "kd-weight",   "kd-temperature",  "kd-hidden",     "kd-attention", "kd-relations",   "kd-on-policy",
    "kd-tail",      "init-from",   "prune-sparsity",  "prune-pattern", "prune-score",  "prune-schedule", "prune-regrow",
    "share-layers", "prune-start", "prune-end",       "prune-every",   NULL,
};

const cli_verb cli_verb_train = {
    .name = "train",
    .summary = "trains or fine-tunes a model, of texts or classes; with --qat on the grid that ships",
    .usage = "--model DIR | --init SPEC  --data PATH --out DIR [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(train_options),
    .later = later,
    .run = cli_train,
};
