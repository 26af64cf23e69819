/* prompt_rows.h - what lathe generate is to continue: texts from the command line, lines, or rows of JSON, as ids. */
#ifndef CLI_PROMPT_ROWS_H
#define CLI_PROMPT_ROWS_H

#include "cli/cli.h"

typedef struct cli_prompt_options {
    cli_list given;            /* --prompt */
    const char *file;          /* --prompts; "-" is standard input */
    bool raw;                  /* the text is all there is: no BOS, control tokens by name */
    bool converse;             /* each text is what a user says */
    const char *system;        /* before it, or NULL */
    const char *chat_template; /* NULL: the model's own */
} cli_prompt_options;

typedef struct cli_prompts {
    int count, room;
    json_t **asked; /* [count]: the text, or the array of messages */
    lt_ids *ids;    /* [count] */
    char *template; /* that was used, or NULL */
    int32_t end;    /* ends an assistant's turn; -1: none */
} cli_prompts;

/* An exit code. `prompts` is to be zero before and freed in any case. */
int cli_prompts_read(cli *cli, const cli_prompt_options *options, lt_tokenizer *tokenizer, cli_prompts *prompts);
void cli_prompts_free(cli *cli, cli_prompts *prompts);

#endif
