/* train_data.c - the model and the data of `lathe train`.
 *
 * A model that exists says what rows it takes. A new transformer that predicts tokens is made first, because its
 * tokenizer and its context decide about the rows. A new network takes sizes and classes from the data, which are
 * therefore opened first; of what kind they are, the files tell. */
#include "base/ctx.h"
#include "cli/train_run.h"

#include <inttypes.h>
#include <string.h>

static const char *unit_of(lt_dataset_kind kind)
{
    return kind == LT_DATA_NUMBERS ? "rows of numbers" : "labelled texts";
}

/* Whether the model that --init describes is made for its data; and of what kind of rows then. */
static bool made_for_data(const train_run *r, lt_dataset_kind *kind)
{
    static const char *const names[] = {"mlp", "cnn", "lstm", "gru", "bert"};
    const char *init = r->o->init;
    size_t n = init ? strcspn(init, ":") : 0;
    *kind = LT_DATA_TOKENS;
    for (int i = 0; i < 5 && init; i++) {
        if (strlen(names[i]) != n || strncmp(init, names[i], n)) continue;
        *kind = i < 2 ? LT_DATA_NUMBERS : i == 4 ? LT_DATA_LABELLED : lt_dataset_kind_at(r->cli->ctx, r->o->data);
        return true;
    }
    return false;
}

/* ---- Opening sets ---- */

/* The classes a model knows by name, as a set to be like; *like stays NULL where it knows none. */
lt_status cli_labels_of(lt_ctx *ctx, const lt_model *model, lt_dataset **like)
{
    int64_t n = model ? lt_model_classes(model) : 0, named = 0;
    *like = NULL;
    if (n == 0) return LT_OK;
    const char **names = lti_alloc_array(ctx, (size_t)n, sizeof *names);
    if (!names) return LT_ENOMEM;
    while (named < n && (names[named] = lt_model_label(model, named)) && strncmp(names[named], "LABEL_", 6)) named++;
    lt_status status = named == n ? lt_dataset_of_labels(ctx, n, names, like) : LT_OK;
    lti_free(ctx, names);
    return status;
}

static lt_status open_one(train_run *r, const char *path, lt_dataset_kind kind, lt_tokenizer *tokenizer,
                          const lt_dataset_options *d, const lt_dataset *like, lt_dataset **set)
{
    lt_ctx *ctx = r->cli->ctx;
    if (kind == LT_DATA_NUMBERS) return lt_dataset_open_numbers(ctx, path, d, set);
    if (kind == LT_DATA_LABELLED) return lt_dataset_open_labelled(ctx, path, tokenizer, d, like, set);
    return lt_dataset_open(ctx, path, tokenizer, d, set);
}

static lt_status open_sets(train_run *r, lt_dataset_kind kind, lt_tokenizer *tokenizer, lt_dataset_options *d)
{
    const train_options *o = r->o;
    lt_dataset *like;
    if (cli_labels_of(r->cli->ctx, r->model, &like) != LT_OK) return lt_ctx_status(r->cli->ctx);
    d->max_seq_length = o->config.max_seq_length;
    d->valid_fraction = o->valid_fraction;
    bool split = !o->valid_data && o->valid_fraction > 0;
    d->split = split || cli_is_directory(o->data) ? LT_SPLIT_TRAIN : LT_SPLIT_ALL;
    d->append_eos = o->append_eos;
    lt_status status = open_one(r, o->data, kind, tokenizer, d, like, &r->train);
    d->append_eos = false;
    d->split = split ? LT_SPLIT_VALID : LT_SPLIT_ALL;
    if (status == LT_OK && o->valid_data && cli_is_directory(o->valid_data)) d->split = LT_SPLIT_VALID;
    if (status == LT_OK && (split || o->valid_data))
        status = open_one(r, split ? o->data : o->valid_data, kind, tokenizer, d, r->train, &r->valid);
    lt_dataset_free(like);
    return status;
}

/* Options that say how texts become tokens to predict. */
static int refuse_row_options(train_run *r, lt_dataset_kind kind)
{
    const train_options *o = r->o;
    const char *what = o->rows.pack              ? "--pack"
                       : o->append_eos           ? "--append-eos"
                       : o->rows.chat_template   ? "--chat-template"
                       : o->rows.train_on_prompt ? "--train-on-prompt"
                                                 : NULL;
    bool recurrent = kind == LT_DATA_TOKENS && o->rows.pack && !lt_model_is_transformer(r->model);
    if (recurrent)
        return cli_fail(r->cli, EXIT_USAGE,
                        "--pack: this %s reads rows from end to end: they cannot be packed; leave it out",
                        lt_model_family(r->model));
    if (kind == LT_DATA_TOKENS || !what) return EXIT_DONE;
    return cli_fail(r->cli, EXIT_USAGE, "%s is for language models, and the data has %s with a class; leave it out",
                    what, unit_of(kind));
}

static int open_data(train_run *r, lt_dataset_kind kind, lt_tokenizer *tokenizer)
{
    cli *c = r->cli;
    lt_dataset_options d;
    lt_chat *chat = NULL;
    lt_dataset_options_init(&d);
    int code = refuse_row_options(r, kind);
    if (!code && kind == LT_DATA_TOKENS) code = cli_rows_options(c, &r->o->rows, r->o->data, tokenizer, &d, &chat);
    if (code) return code;
    d.skip_bad_rows = r->o->rows.skip_bad_rows;
    lt_status status = open_sets(r, kind, tokenizer, &d);
    lt_chat_free(chat);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    if (strcmp(lt_dataset_form(r->train), "text")) cli_say(c, "rows        %s", lt_dataset_form(r->train));
    if (lt_dataset_skipped(r->train)) cli_warn(c, "%" PRId64 " bad rows were left out", lt_dataset_skipped(r->train));
    return EXIT_DONE;
}

/* ---- Models ---- */

static int limit_length(train_run *r)
{
    cli *c = r->cli;
    train_options *o = r->o;
    int64_t context = lt_model_context(r->model);
    const lt_transformer_config *m = lt_model_config(r->model);
    if (context == 0) return EXIT_DONE;
    if (o->config.max_seq_length > context && !cli_settings_given(c->settings, "max_seq_length"))
        o->config.max_seq_length = context;
    if (o->config.max_seq_length > context && m && lt_transformer_learns_positions(m))
        return cli_fail(c, EXIT_USAGE,
                        "--max-seq-length %" PRId64 ": this %s has %" PRId64 " positions; give at most that",
                        o->config.max_seq_length, lt_model_family(r->model), context);
    if (o->config.max_seq_length > context && m)
        cli_warn(c, "--max-seq-length %" PRId64 " passes the %" PRId64 " positions the model was made for",
                 o->config.max_seq_length, context);
    return EXIT_DONE;
}

static int open_model(train_run *r)
{
    cli *c = r->cli;
    const train_options *o = r->o;
    lt_status status = o->model ? lt_model_open(c->ctx, o->model, &r->model)
                                : lt_model_create(c->ctx, o->init, o->tokenizer, (uint64_t)o->common.seed, &r->model);
    /* What is wrong with a new model stands in the command line, unless its tokenizer is the file at fault. */
    if (status != LT_OK) return cli_fail_status(c, status, o->model || status != LT_EINVAL);
    return limit_length(r);
}

/* The data first, then a model of their sizes and classes. */
static int make_model(train_run *r, lt_dataset_kind kind)
{
    cli *c = r->cli;
    const train_options *o = r->o;
    lt_tokenizer *tokenizer = NULL;
    lt_status status = LT_OK;
    if (kind == LT_DATA_NUMBERS && o->tokenizer)
        return cli_fail(c, EXIT_USAGE, "--tokenizer is for texts, and this model reads numbers; leave it out");
    if (kind == LT_DATA_LABELLED)
        status =
            o->tokenizer ? lt_tokenizer_open(c->ctx, o->tokenizer, &tokenizer) : lt_tokenizer_bytes(c->ctx, &tokenizer);
    if (status != LT_OK) return cli_fail_status(c, status, true);
    int code = open_data(r, kind, tokenizer);
    lt_tokenizer_free(tokenizer);
    if (code) return code;
    status = lt_model_create_for(c->ctx, o->init, o->tokenizer, r->train, (uint64_t)o->common.seed, &r->model);
    if (status != LT_OK) return cli_fail_status(c, status, status != LT_EINVAL);
    const lt_transformer_config *m = lt_model_config(r->model);
    if (m && lt_dataset_longest(r->train) > m->context)
        return cli_fail(c, EXIT_USAGE,
                        "--max-seq-length %" PRId64 ": this %s has %" PRId64 " positions; give at most that",
                        o->config.max_seq_length, lt_model_family(r->model), m->context);
    return EXIT_DONE;
}

/* An option that a model passes over is said. */
static void check_recomputes(train_run *r)
{
    if (!r->o->config.checkpoint_activations) return;
    lt_model_set_checkpoint(r->model, true);
    if (!lt_model_checkpoints(r->model))
        cli_warn(r->cli, "--checkpoint-activations has no effect: this %s keeps what its backward reads",
                 lt_model_family(r->model));
    lt_model_set_checkpoint(r->model, false);
}

int cli_train_open(train_run *r)
{
    lt_dataset_kind kind;
    int code;
    if (made_for_data(r, &kind) && kind != LT_DATA_TOKENS) {
        code = make_model(r, kind);
    } else {
        code = open_model(r);
        if (!code) code = open_data(r, lt_model_reads(r->model), lt_model_tokenizer(r->model));
    }
    if (!code) check_recomputes(r);
    return code;
}
