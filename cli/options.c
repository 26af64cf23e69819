/* options.c - reading values: defaults, flags and the types behind them. See options.h.
 *
 * A default goes through the same parser as what a user types, so --help cannot show one that would be refused. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COMMON "Every verb"
static const cli_option common_options[] = {
    {"config", CLI_TEXT, offsetof(cli_common, config), .group = COMMON, .value = "FILE", .flags = CLI_TRANSIENT,
     .help = "YAML file with any of these options (-c FILE); flags win"},
    {"json", CLI_SWITCH, offsetof(cli_common, json), .group = COMMON, .flags = CLI_TRANSIENT,
     .help = "one JSON object on stdout, nothing else there"},
    {"threads", CLI_INT, offsetof(cli_common, threads), "0", COMMON, .high = 4096, .value = "N",
     .help = "threads; 0: the cores this process may use. Results do not depend on it"},
    {"seed", CLI_INT, offsetof(cli_common, seed), "42", COMMON, .high = 9007199254740992.0, .value = "N",
     .help = "of initial weights, data order and dropout"},
    {"compute", CLI_CHOICE, offsetof(cli_common, compute), "auto", COMMON, .choices = "auto|f32", .later = "bf16",
     .help = "type of computed values; auto is f32 in this version"},
    {"quiet", CLI_SWITCH, offsetof(cli_common, quiet), .group = COMMON, .flags = CLI_TRANSIENT,
     .help = "only results, warnings and errors"},
    {"help", CLI_SWITCH, offsetof(cli_common, help), .group = COMMON, .flags = CLI_TRANSIENT, .help = "this text"},
};
enum { N_COMMON = sizeof common_options / sizeof *common_options };

int cli_option_count(const cli_verb *verb)
{
    return verb->n_options + N_COMMON;
}

const cli_option *cli_option_at(const cli_verb *verb, int index)
{
    return index < verb->n_options ? &verb->options[index] : &common_options[index - verb->n_options];
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return *a == *b;
}

int cli_option_find(const cli_verb *verb, const char *name)
{
    for (int i = 0; i < cli_option_count(verb); i++)
        if (same_name(cli_option_at(verb, i)->name, name)) return i;
    return -1;
}

bool cli_option_shadowed(const cli_verb *verb, int index)
{
    return cli_option_find(verb, cli_option_at(verb, index)->name) != index;
}

bool cli_option_later(const cli_verb *verb, const char *name)
{
    for (const char *const *later = verb->later; later && *later; later++)
        if (same_name(*later, name)) return true;
    return false;
}

int cli_settings_fail(cli_settings *s, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(s->error, sizeof s->error, format, list);
    va_end(list);
    return code;
}

void *cli_settings_keep(cli_settings *s, void *memory)
{
    void **kept = memory ? realloc(s->kept, (size_t)(s->n_kept + 1) * sizeof *kept) : NULL;
    if (!kept) {
        free(memory);
        cli_settings_fail(s, EXIT_MEMORY, "out of memory while reading the options");
        return NULL;
    }
    s->kept = kept;
    return s->kept[s->n_kept++] = memory;
}

/* Fails for a value; names the option the way it was written. */
static int refuse(cli_settings *s, const cli_option *o, const char *origin, const char *text, const char *why)
{
    char name[96];
    if (origin && !*origin)
        snprintf(name, sizeof name, "--%s", o->name);
    else
        snprintf(name, sizeof name, "%s", o->name);
    for (char *c = name; origin && !*origin && *c; c++)
        if (*c == '_') *c = '-';
    return cli_settings_fail(s, EXIT_USAGE, "%s%s%s: '%s' %s", origin && *origin ? origin : "",
                             origin && *origin ? ": " : "", name, text, why);
}

static bool parse_switch(const char *text, bool *value)
{
    static const char *const words[] = {"true", "yes", "on", "1", "false", "no", "off", "0"};
    for (int i = 0; i < 8; i++)
        if (!strcasecmp(text, words[i])) {
            *value = i < 4;
            return true;
        }
    return false;
}

static bool parse_real(const char *text, double *value)
{
    char *end;
    if (!*text || isspace((unsigned char)*text)) return false;
    *value = strtod(text, &end);
    return !*end && isfinite(*value);
}

/* Whole numbers, also written as 1e6. */
static bool parse_int(const char *text, int64_t *value)
{
    char *end;
    double real;
    if (!*text || isspace((unsigned char)*text)) return false;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (!*end) return errno == 0;
    if (!parse_real(text, &real) || real != floor(real) || fabs(real) > 9007199254740992.0) return false;
    *value = (int64_t)real;
    return true;
}

static bool parse_bytes(const char *text, uint64_t *value)
{
    static const char units[] = "KMGT";
    char *end;
    double number = strtod(text, &end);
    if (end == text || isspace((unsigned char)*text) || !(number >= 0)) return false;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        bool binary = (end[1] | 32) == 'i';
        for (const char *u = units; u <= unit; u++) number *= binary ? 1024 : 1000;
        end += binary ? 2 : 1;
    }
    if ((*end | 32) == 'b') end++;
    if (*end || !(number < 9e18)) return false;
    *value = (uint64_t)number;
    return true;
}

/* Finds text in "a|b|c"; the length of what matched, and where, or NULL. */
static const char *find_choice(const char *choices, const char *text, size_t *length)
{
    for (const char *at = choices; at && *at; at += *length + (at[*length] == '|')) {
        *length = strcspn(at, "|");
        if (strlen(text) == *length && !strncasecmp(at, text, *length)) return at;
    }
    return NULL;
}

static bool comes_later(const char *later, const char *text)
{
    for (const char *at = later; at && *at;) {
        char glob[64];
        size_t length = strcspn(at, "|");
        snprintf(glob, sizeof glob, "%.*s", (int)length, at);
        if (fnmatch(glob, text, FNM_CASEFOLD) == 0) return true;
        at += length + (at[length] == '|');
    }
    return false;
}

static int set_choice(cli_settings *s, const cli_option *o, const char *text, const char *origin, const char **place)
{
    char why[256];
    size_t length;
    const char *found = find_choice(o->choices, text, &length);
    if (found) {
        *place = cli_settings_keep(s, strndup(found, length));
        return *place ? 0 : EXIT_MEMORY;
    }
    const char *what = comes_later(o->later, text) ? "comes with a later version; known now:" : "is none of";
    snprintf(why, sizeof why, "%s %s", what, o->choices);
    return refuse(s, o, origin, text, why);
}

static int add_to_list(cli_settings *s, const char *text, bool fresh, cli_list *list)
{
    int count = fresh ? 0 : list->count;
    const char **items = cli_settings_keep(s, calloc((size_t)count + 1, sizeof *items));
    char *copy = cli_settings_keep(s, strdup(text));
    if (!items || !copy) return EXIT_MEMORY;
    for (int i = 0; i < count; i++) items[i] = list->items[i];
    items[count] = copy;
    *list = (cli_list){items, count + 1};
    return 0;
}

static int check_bounds(cli_settings *s, const cli_option *o, const char *text, const char *origin, double value)
{
    char why[128];
    if ((o->low == 0 && o->high == 0) || (value >= o->low && value <= o->high)) return 0;
    if (isinf(o->high))
        snprintf(why, sizeof why, "is out of range: at least %g", o->low);
    else
        snprintf(why, sizeof why, "is out of range: %.10g to %.10g", o->low, o->high);
    return refuse(s, o, origin, text, why);
}

int cli_settings_set(cli_settings *s, int index, const char *text, const char *origin, bool fresh)
{
    const cli_option *o = cli_option_at(s->verb, index);
    void *place = (char *)s->target + o->offset;
    int64_t whole;
    double real;
    int code = 0;
    switch (o->type) {
    case CLI_SWITCH:
        if (!parse_switch(text, place)) return refuse(s, o, origin, text, "is neither true nor false");
        break;
    case CLI_INT:
        if (!parse_int(text, &whole)) return refuse(s, o, origin, text, "is no whole number");
        memcpy(place, &whole, sizeof whole);
        code = check_bounds(s, o, text, origin, (double)whole);
        break;
    case CLI_REAL:
        if (!parse_real(text, &real)) return refuse(s, o, origin, text, "is no number");
        memcpy(place, &real, sizeof real);
        code = check_bounds(s, o, text, origin, real);
        break;
    case CLI_BYTES:
        if (!parse_bytes(text, place)) return refuse(s, o, origin, text, "is no size; write 300M, 8GB or 8GiB");
        break;
    case CLI_TEXT: {
        const char *copy = cli_settings_keep(s, strdup(text));
        if (!copy) return EXIT_MEMORY;
        memcpy(place, &copy, sizeof copy);
        break;
    }
    case CLI_CHOICE: code = set_choice(s, o, text, origin, place); break;
    case CLI_LIST: code = add_to_list(s, text, fresh, place); break;
    }
    s->origins[index] = origin;
    return code;
}

/* Names other programs use, which no edit distance leads to ours. */
static const char *known_elsewhere(const cli_verb *verb, const char *name)
{
    static const char *const pairs[][2] = {
        {"lr", "learning_rate"},
        {"max_steps", "steps"},
        {"iters", "steps"},
        {"num_train_epochs", "epochs"},
        {"num_epochs", "epochs"},
        {"per_device_train_batch_size", "batch_size"},
        {"output_dir", "out"},
        {"output", "out"},
        {"adapter_path", "out"},
        {"max_length", "max_seq_length"},
        {"save_steps", "save_every"},
        {"eval_steps", "eval_every"},
        {"logging_steps", "log_every"},
        {"model_name_or_path", "model"},
        {"lr_scheduler_type", "lr_schedule"},
        {"gradient_checkpointing", "checkpoint_activations"},
        {"ctx_size", "max_seq_length"},
        {"resume_from_checkpoint", "resume"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (same_name(pairs[i][0], name) && cli_option_find(verb, pairs[i][1]) >= 0) return pairs[i][1];
    return NULL;
}

int cli_settings_unknown(cli_settings *s, const char *where, const char *dashes, const char *name)
{
    if (cli_option_later(s->verb, name))
        return cli_settings_fail(s, EXIT_USAGE, "%s%s%s comes with a later version; leave it out for now", where,
                                 dashes, name);
    const char *nearest = known_elsewhere(s->verb, name), *kind = *dashes ? "option" : "key";
    int best = nearest ? -1 : INT_MAX;
    for (int i = 0; i < cli_option_count(s->verb); i++) {
        int distance = cli_distance(name, cli_option_at(s->verb, i)->name);
        if (distance < best) best = distance, nearest = cli_option_at(s->verb, i)->name;
    }
    char shown[64];
    snprintf(shown, sizeof shown, "%s", nearest);
    for (char *c = shown; *dashes && *c; c++)
        if (*c == '_') *c = '-';
    return cli_settings_fail(s, EXIT_USAGE, "%sunknown %s %s%s; did you mean %s%s? (lathe %s --help lists all)", where,
                             kind, dashes, name, dashes, shown, s->verb->name);
}

/* One flag at argv[*at]; moves *at over its value. `only_config`: the first pass, which looks for -c alone. */
static int read_flag(cli_settings *s, int argc, char **argv, int *at, bool only_config)
{
    const char *word = argv[*at] + (argv[*at][1] == '-' ? 2 : 1);
    if (!strcmp(argv[*at], "-c")) word = "config";
    if (!strcmp(argv[*at], "-h")) word = "help";
    char name[128];
    const char *equals = strchr(word, '=');
    snprintf(name, sizeof name, "%.*s", (int)(equals ? equals - word : (long)strlen(word)), word);
    int index = cli_option_find(s->verb, name);
    bool off = index < 0 && !strncmp(name, "no-", 3) && !equals;
    if (off) {
        index = cli_option_find(s->verb, name + 3);
        if (index >= 0 && cli_option_at(s->verb, index)->type != CLI_SWITCH) index = -1;
    }
    if (index < 0) return cli_settings_unknown(s, "", argv[*at][1] == '-' ? "--" : "-", name);
    const cli_option *o = cli_option_at(s->verb, index);
    const char *text = equals ? equals + 1 : off ? "false" : "true";
    if (o->type != CLI_SWITCH && !equals) {
        text = ++*at < argc ? argv[*at] : NULL;
        if (!text || (!strncmp(text, "--", 2) && cli_option_find(s->verb, text + 2) >= 0))
            return cli_settings_fail(s, EXIT_USAGE, "%s needs a value after it (lathe %s --help)", argv[*at - 1],
                                     s->verb->name);
    }
    if (only_config != !strcmp(o->name, "config")) return 0;
    return cli_settings_set(s, index, text, "", !s->origins[index] || *s->origins[index]);
}

static int read_word(cli_settings *s, const char *word)
{
    for (int i = 0; i < s->verb->n_options; i++) {
        const cli_option *o = cli_option_at(s->verb, i);
        if ((o->flags & CLI_POSITIONAL) && (!s->origins[i] || *s->origins[i]))
            return cli_settings_set(s, i, word, "", true);
    }
    return cli_settings_fail(s, EXIT_USAGE, "'%s' stands alone: no option takes it. usage: lathe %s %s", word,
                             s->verb->name, s->verb->usage);
}

static int read_flags(cli_settings *s, int argc, char **argv, bool only_config)
{
    bool words = false;
    for (int i = 0; i < argc; i++) {
        int code = 0;
        if (!words && !strcmp(argv[i], "--"))
            words = true;
        else if (!words && argv[i][0] == '-' && argv[i][1])
            code = read_flag(s, argc, argv, &i, only_config);
        else if (!only_config)
            code = read_word(s, argv[i]);
        if (code) return code;
    }
    return 0;
}

int cli_settings_read(cli_settings *s, const cli_verb *verb, void *target, int argc, char **argv)
{
    int count = cli_option_count(verb);
    *s = (cli_settings){.verb = verb, .target = target, .origins = calloc((size_t)count, sizeof(char *))};
    if (!s->origins) return cli_settings_fail(s, EXIT_MEMORY, "out of memory while reading the options");
    for (int i = 0; i < count; i++) {
        const char *fallback = cli_option_at(verb, i)->fallback;
        int code = fallback ? cli_settings_set(s, i, fallback, NULL, true) : 0;
        if (code) return code;
    }
    int code = read_flags(s, argc, argv, true);
    const char *config = ((const cli_common *)target)->config;
    if (!code && config) code = cli_settings_read_yaml(s, config);
    if (!code) code = read_flags(s, argc, argv, false);
    return code;
}

void cli_settings_free(cli_settings *s)
{
    for (int i = 0; i < s->n_kept; i++) free(s->kept[i]);
    free(s->kept);
    free(s->origins);
    *s = (cli_settings){0};
}

bool cli_settings_given(const cli_settings *s, const char *name)
{
    int index = cli_option_find(s->verb, name);
    return index >= 0 && s->origins[index];
}
