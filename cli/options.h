/* options.h - one table a verb, from which everything a user can write follows.
 *
 * A row {name, type, offset, default, help, group} yields the flag (--learning-rate X, --learning-rate=X), the YAML key
 * (learning_rate in the file given by -c), its line in --help, the check of its value and its line in the resolved
 * configuration. Nothing about an option is written down twice, so the five cannot disagree.
 *
 * YAML scalars are read as text and the option's type decides what they mean: YAML 1.1 calls 1e-5 a string and `no` a
 * boolean, and a file must mean what the same words mean on the command line. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum cli_type {
    CLI_SWITCH, /* bool: --json, --no-json, json: true */
    CLI_INT,    /* int64_t, or uint64_t where low >= 0 */
    CLI_REAL,   /* double */
    CLI_BYTES,  /* uint64_t: 300M, 8GB (10^9), 8GiB (2^30) */
    CLI_TEXT,   /* const char *, NULL without a default */
    CLI_CHOICE, /* const char *, as `choices` spells it */
    CLI_LIST    /* cli_list: the flag may be repeated */
} cli_type;

enum {
    CLI_POSITIONAL = 1, /* also the word without a flag */
    CLI_TRANSIENT = 2   /* how to talk, not what to do: left out of the resolved configuration */
};

typedef struct cli_list {
    const char **items;
    int count;
} cli_list;

typedef struct cli_option {
    const char *name; /* as the YAML key: learning_rate */
    cli_type type;
    size_t offset;        /* in the verb's target */
    const char *fallback; /* the default, as one would type it; NULL: none */
    const char *group, *help;
    double low, high;    /* bounds of a number; both 0: any */
    const char *choices; /* "cosine|linear" */
    const char *later;   /* "nf4|int*": globs of values that are known but come with a later version */
    const char *value;   /* what --help calls the value: "DIR" */
    unsigned flags;
} cli_option;

/* Options of every verb; the first member of every target. */
typedef struct cli_common {
    bool json, quiet, help;
    int64_t threads; /* 0: the cores this process may use */
    int64_t seed;
    const char *compute, *config;
} cli_common;

struct cli;
typedef struct cli_verb {
    const char *name, *summary, *usage;
    const cli_option *options;
    int n_options;
    size_t target_bytes;
    const char *const *later; /* names of options to come, ended by NULL; may be NULL */
    int (*run)(struct cli *cli, void *target);
} cli_verb;

typedef struct cli_settings {
    const cli_verb *verb;
    void *target;         /* zeroed by the caller before; strings in it live until cli_settings_free */
    const char **origins; /* per option: NULL default, "" command line, or "file:line" */
    void **kept;
    int n_kept;
    char error[1024];
} cli_settings;

/* Reads defaults, then the file of -c, then the flags. 0, or an exit code with `error` set. */
int cli_settings_read(cli_settings *settings, const cli_verb *verb, void *target, int argc, char **argv);
void cli_settings_free(cli_settings *settings);
/* Whether the user set the option, in the file or by a flag. */
bool cli_settings_given(const cli_settings *settings, const char *name);

/* The resolved configuration as YAML, to be freed; NULL when memory is out. Reading it back gives the same settings. */
char *cli_settings_yaml(const cli_settings *settings);
void cli_help(FILE *file, const cli_verb *verb);

/* ---- Between options.c, options_yaml.c and options_help.c ---- */
int cli_option_count(const cli_verb *verb);
const cli_option *cli_option_at(const cli_verb *verb, int index); /* the verb's own first, then the common ones */
int cli_option_find(const cli_verb *verb, const char *name);      /* '-' and '_' are the same; -1 */
/* Whether option `index` is a common one whose place an option of the verb's own takes: nobody can set it. */
bool cli_option_shadowed(const cli_verb *verb, int index);
bool cli_option_later(const cli_verb *verb, const char *name);
/* Sets option `index` from text. `fresh`: a list starts anew. */
int cli_settings_set(cli_settings *settings, int index, const char *text, const char *origin, bool fresh);
int cli_settings_fail(cli_settings *settings, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Takes `memory` (from malloc) into the settings, which free it; NULL reports that memory is out. */
void *cli_settings_keep(cli_settings *settings, void *memory);
/* Fails for an unknown name; `where` is "" or "file:line: ". `dashes` is "--" for flags and "" for keys. */
int cli_settings_unknown(cli_settings *settings, const char *where, const char *dashes, const char *name);
int cli_settings_read_yaml(cli_settings *settings, const char *path);

/* How many edits lead from a to b: insert, delete, replace, swap neighbours. '-' and '_' are equal. */
int cli_distance(const char *a, const char *b);

#endif
