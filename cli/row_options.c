/* row_options.c - rows of .jsonl as tokens: the options that every verb with --data shares. */
#include "cli/cli.h"

bool cli_may_converse(const char *data)
{
    return cli_ends_with(data, ".jsonl") || cli_ends_with(data, ".json") || cli_is_directory(data);
}

int cli_rows_options(cli *c, const cli_rows *rows, const char *data, lt_tokenizer *tokenizer,
                     lt_dataset_options *options, lt_chat **chat)
{
    *chat = NULL;
    if (rows->chat_template && !cli_may_converse(data))
        return cli_fail(c, EXIT_USAGE, "--chat-template is for conversations, and %s is text; leave it out", data);
    options->score_prompt = rows->train_on_prompt;
    options->pack = rows->pack;
    options->skip_bad_rows = rows->skip_bad_rows;
    options->prompt_key = rows->prompt_key;
    options->completion_key = rows->completion_key;
    bool asked = rows->chat_template != NULL;
    if (!cli_may_converse(data) || (!asked && !lt_tokenizer_chat_template(tokenizer))) return EXIT_DONE;
    lt_status status = lt_chat_open(c->ctx, tokenizer, rows->chat_template, chat);
    if (status != LT_OK && asked) return cli_fail_status(c, status, status != LT_EINVAL);
    if (status != LT_OK) { /* rows that need no template are read without one */
        cli_warn(c, "%s", lt_ctx_message(c->ctx));
        *chat = NULL;
        return EXIT_DONE;
    }
    options->chat = *chat;
    cli_say(c, "template    %s%s%s", lt_chat_name(*chat), *lt_chat_note(*chat) ? ": " : "", lt_chat_note(*chat));
    return EXIT_DONE;
}
