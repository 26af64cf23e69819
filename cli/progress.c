/* progress.c - the banner before step 1, the line every ten seconds, the bar on a terminal. */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BAR_CELLS = 24, SAMPLE_CHARACTERS = 300 };

static void say_memory(const cli *c, const lt_forecast *f)
{
    char b[8][32];
    cli_say(c,
            "memory      %s forecast of %s free (weights %s, gradients %s, optimizer %s, activations %s, data %s, "
            "process %s)",
            cli_bytes(b[0], f->total), cli_bytes(b[1], f->available), cli_bytes(b[2], f->weights),
            cli_bytes(b[3], f->gradients), cli_bytes(b[4], f->optimizer), cli_bytes(b[5], f->activations),
            cli_bytes(b[6], f->data), cli_bytes(b[7], f->process));
}

static void say_lines(const cli *c, const char *label, const char *text)
{
    while (text && *text) {
        int length = (int)strcspn(text, "\n");
        cli_say(c, "%-11s %.*s", label, length, text);
        text += length + (text[length] == '\n');
        label = "";
    }
}

/* One row as it is learned from. What is masked is dimmed, or stands in <...> where there is no colour. */
static void say_sample(const cli *c, const char *sample)
{
    if (c->quiet || !sample || !*sample) return;
    const char *learned = c->color ? "\033[36m" : "", *end = c->color ? "\033[0m" : "";
    const char *masked = c->color ? "\033[0;2m" : "<", *unmasked = c->color ? "\033[0;36m" : ">";
    fprintf(stderr, "sample      %s", learned);
    size_t shown = 0, at = 0;
    bool open = false;
    for (; sample[at] && (shown < SAMPLE_CHARACTERS || ((unsigned char)sample[at] & 0xc0) == 0x80); at++) {
        if (sample[at] == 1 || sample[at] == 2) {
            open = sample[at] == 1;
            fputs(open ? masked : unmasked, stderr);
            continue;
        }
        char one[2] = {sample[at] == '\n' ? ' ' : sample[at], 0};
        cli_put_clean(stderr, one, 1);
        shown++;
    }
    fprintf(stderr, "%s%s%s\n", sample[at] ? " ..." : "", open ? unmasked : "", end);
}

static void say_model(const cli_progress *p)
{
    const lt_transformer_config *m = lt_model_config(p->model);
    const char *name = lt_model_family(p->model);
    char vocab[32], classes[64] = "";
    if (lt_model_classes(p->model))
        snprintf(classes, sizeof classes, ", %" PRId64 " classes", lt_model_classes(p->model));
    if (!m && lt_model_reads(p->model) == LT_DATA_NUMBERS) {
        cli_say(p->cli, "model       %s%s, from %s", name, classes, p->source);
        return;
    }
    cli_thousands(vocab, lt_model_vocab(p->model));
    if (!m)
        cli_say(p->cli, "model       %s%s, vocabulary %s, from %s", name, classes, vocab, p->source);
    else
        cli_say(p->cli,
                "model       %s%s, %" PRId64 " layers of width %" PRId64 " and %" PRId64 ", %" PRId64 " heads (%" PRId64
                " kv), vocabulary %s, from %s",
                name, classes, m->layers, m->dim, m->hidden, m->heads, m->kv_heads, vocab, p->source);
}

static void say_data(const cli *c, const lt_train_start *start)
{
    char b[3][32], what[64];
    if (start->classes)
        snprintf(what, sizeof what, " of %" PRId64 " classes", start->classes);
    else
        snprintf(what, sizeof what, ", %s tokens an epoch", cli_thousands(b[2], start->train_tokens));
    cli_say(c, "data        %s rows%s; %s rows to validate", cli_thousands(b[0], start->train_rows), what,
            cli_thousands(b[1], start->valid_rows));
}

void cli_on_start(void *user, const lt_train_start *start)
{
    cli_progress *p = user;
    const cli *c = p->cli;
    p->available = start->forecast.available;
    p->last = cli_seconds();
    if (*start->skipped) cli_warn(c, "damaged checkpoints were passed over: %s", start->skipped);
    if (start->resumed_from)
        cli_say(c, "resumed     from %s, after step %" PRId64, start->resumed_from, start->first_step);
    if (p->brief) return;
    say_model(p);
    char b[4][32];
    cli_say(c, "parameters  %s trainable of %s", cli_thousands(b[0], start->trainable),
            cli_thousands(b[1], start->parameters));
    cli_say(c, "kernels     %s", lt_kernels_in_use());
    if (strcmp(start->compute, "f32") || *start->compute_note)
        cli_say(c, "compute     %s%s%s%s", start->compute, *start->compute_note ? " (" : "", start->compute_note,
                *start->compute_note ? ")" : "");
    cli_say(c, "threads     %d", lt_threads());
    say_memory(c, &start->forecast);
    say_data(c, start);
    cli_say(c, "steps       %" PRId64 " of %" PRId64 " rows", start->steps, p->batch_size * p->accumulation);
    say_lines(c, "quantized", start->qat_table);
    say_sample(c, start->sample);
}

/* "step 120/1000  loss 2.131  val 2.204  lr 1.8e-04  |g| 0.62  1240 tok/s  mem 0.31/24 GB  eta 12:40"; of classes the
 * accuracy stands behind "val", and rates are of rows. */
static void line_of(const cli_progress *p, const lt_train_progress *t, char *line, size_t size)
{
    char eta[32], valid[64] = "-", norm[32] = "-";
    bool classes = lt_model_classes(p->model) > 0;
    int n = isfinite(t->valid_loss) ? snprintf(valid, sizeof valid, "%.3f", t->valid_loss) : 1;
    if (classes && isfinite(t->accuracy))
        snprintf(valid + n, sizeof valid - (size_t)n, "  acc %.1f %%", 100 * t->accuracy);
    if (isfinite(t->grad_norm)) snprintf(norm, sizeof norm, "%.2f", t->grad_norm);
    snprintf(line, size,
             "%s%sstep %" PRId64 "/%" PRId64
             "  loss %.3f  val %s  lr %.1e  |g| %s  %.0f %s  mem %.2f/%.0f GB  eta %s%s%s%s",
             p->title ? p->title : "", p->title ? ": " : "", t->step, t->steps, t->loss, valid, t->lr, norm,
             t->tokens_per_second, classes ? "rows/s" : "tok/s", (double)t->rss_bytes / 1e9, (double)p->available / 1e9,
             cli_clock(eta, t->eta), t->skipped ? "  (update skipped: gradient not finite)" : "", t->note ? "  " : "",
             t->note ? t->note : "");
}

void cli_progress_end(cli_progress *p)
{
    if (p->bar_open) fputc('\n', stderr);
    p->bar_open = false;
}

void cli_on_progress(void *user, const lt_train_progress *t)
{
    cli_progress *p = user;
    if (p->cli->quiet) return;
    char line[512];
    double now = cli_seconds();
    bool news = t->note || t->skipped || t->step == t->steps;
    line_of(p, t, line, sizeof line);
    if (p->cli->tty && !p->every) {
        if (!news && p->bar_open && now - p->last < 0.1) return;
        int done = t->steps > 0 ? (int)(BAR_CELLS * t->step / t->steps) : 0;
        fprintf(stderr, "\r\033[K[%.*s%*s] %s", done, "########################", BAR_CELLS - done, "", line);
        p->bar_open = true;
        if (news) cli_progress_end(p);
    } else {
        if (!news && !p->every && t->step > 1 && now - p->last < 10) return;
        fprintf(stderr, "%s\n", line);
    }
    p->last = now;
}

void cli_on_count(void *user, const char *what, int64_t done, int64_t total)
{
    cli_count *p = user;
    double now = cli_seconds();
    if (p->cli->quiet || now - p->last < (p->cli->tty ? 0.2 : 10)) return;
    p->last = now;
    p->open = p->cli->tty;
    fprintf(stderr, p->cli->tty ? "\r\033[K%.80s %" PRId64 "/%" PRId64 : "%.80s %" PRId64 "/%" PRId64 "\n", what, done,
            total);
}

void cli_count_end(const cli_count *count)
{
    if (count->open) fputs("\r\033[K", stderr);
}
