/* eval_options.c - the table of `lathe eval`. */
#include "cli/eval_options.h"

#define AT(field) offsetof(eval_options, field)
#define MODEL "Model"
#define DATA "Data"
#define LOOK "What to look at"
#define BACK "What was before"
#define OUTPUT "Output"

static const cli_option options[] = {
    {"model", CLI_TEXT, AT(model), .group = MODEL, .value = "DIR",
     .help = "Hugging Face directory, .gguf or lathe checkpoint"},
    {"codes", CLI_TEXT, AT(codes), .group = MODEL, .value = "FILE",
     .help = "take the weights from these exported codes; --model gives config and tokenizer"},
    {"int8", CLI_SWITCH, AT(int8), .group = MODEL,
     .help = "run a cnn, mlp, lstm or gru in integers beside float: loss, accuracy, speed and bytes of both. Of a run "
             "trained with int8_static activations; --codes FILE: the network that lathe convert --to int8 wrote"},
    {"reference", CLI_TEXT, AT(reference), .group = MODEL, .value = "DIR",
     .help = "compare with this model (the original of a compressed one): KL, top-1 agreement, what changed most"},
    CLI_QUANT_OPTIONS(AT, MODEL, "round linear layers to this type on the way, as training does"),

    {"data", CLI_TEXT, AT(data), .group = DATA, .value = "PATH",
     .help = "text (documents separated by a line <|endoftext|>), .jsonl of texts, conversations, choices, "
             "continuations or labels, .csv with a header, or a directory with test.* or valid.*"},
    {"suite", CLI_TEXT, AT(suite), .group = DATA, .value = "DIR",
     .help = "instead of --data: every .jsonl, .json, .txt and .csv of a folder is a task"},
    {"task", CLI_CHOICE, AT(task), "auto", DATA, "what the rows are; auto: by the first row with known fields",
     .choices = "auto|text|chat|choice|cloze|classification"},
    {"split", CLI_CHOICE, AT(split), "auto", DATA,
     "part of the data; auto: all of a file, test or else valid of a directory",
     .choices = "auto|all|train|valid|test"},
    {"valid_fraction", CLI_REAL, AT(valid_fraction), "0.1", DATA,
     "of a file, for --split train and valid, as in training", .low = 1e-9, .high = 0.9},
    {"limit", CLI_INT, AT(limit), "0", DATA, "only the first N documents or rows; 0: all", .low = 0, .high = 1e15,
     .value = "N"},
    {"max_seq_length", CLI_INT, AT(max_seq_length), "512", DATA,
     "positions a window of text; windows do not overlap, and all but the first position are scored. Rows of tasks may "
     "fill the model's context unless this is given",
     .low = 2, .high = 1 << 20},
    {"batch_size", CLI_INT, AT(batch_size), "0", DATA, "windows at once; 0: chosen. The result does not depend on it",
     .low = 0, .high = 1 << 20},
    {"label_prompt", CLI_TEXT, AT(label_prompt), "{text}\\nLabel:", DATA,
     "what a decoder reads before it chooses among labels; \\n is a line end", .value = "TEXT"},
    {"delimiter", CLI_TEXT, AT(delimiter), .group = DATA, .value = "TEXT",
     .help = "between query and choice; left out: a blank where none stands and none would be wrong"},
    CLI_ROW_OPTIONS(AT, DATA),

    {"slice", CLI_TEXT, AT(slice), .group = LOOK, .value = "FIELD",
     .help = "every metric also by the values of this field of the rows"},
    {"perturb", CLI_TEXT, AT(perturb), .group = LOOK, .value = "KINDS",
     .help = "also on inputs with typos,case,whitespace,shift (any of them, or all)"},
    {"details", CLI_SWITCH, AT(details), .group = LOOK,
     .help = "of texts: intervals and perplexity by position, which tasks have always"},
    {"resamples", CLI_INT, AT(resamples), "1000", LOOK, "of the bootstrap that makes 95 % intervals; 0: none", .low = 0,
     .high = 1000000},
    {"samples", CLI_INT, AT(samples), "0", LOOK, "texts to generate, to measure how diverse they are", .low = 0,
     .high = 100000, .value = "N"},
    {"sample_tokens", CLI_INT, AT(sample_tokens), "64", LOOK, "tokens of each", .low = 1, .high = 1 << 20},
    {"temperature", CLI_REAL, AT(temperature), "1", LOOK, "of these samples", .low = 0, .high = 100},

    CLI_GOLDEN_OPTIONS(AT, BACK),

    {"gate", CLI_LIST, AT(gates), .group = OUTPUT, .value = "'KEY<=X'",
     .help = "exit 1 unless it holds, for any number of --json: 'perplexity<=5.2', 'tasks.copa.accuracy>=0.6', or "
             "'perplexity<=1.03x': times the reference's. May be repeated"},
    {"dump_logits", CLI_TEXT, AT(dump_logits), .group = OUTPUT, .value = "FILE",
     .help = "write the logits of the first window as raw f32 [positions, vocabulary]"},
};
static const char *const later[] = {"adapter", "dump", NULL};

const cli_verb cli_verb_eval = {
    .name = "eval",
    .summary = "perplexity, tasks, comparison with a reference, gates",
    .usage = "--model DIR --data PATH [options]",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .target_bytes = sizeof(eval_options),
    .later = later,
    .run = cli_eval,
};
