/* metrics.c - see metrics.h. A line cut by a kill is dropped when the file is opened again. */
#include "train/metrics.h"

#include "base/text.h"
#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define METRICS_LIMIT (1u << 30)

static json_t *parse_line(const char *line, size_t n)
{
    json_t *json = json_loadb(line, n, 0, NULL);
    if (json && json_is_object(json)) return json;
    json_decref(json);
    return NULL;
}

/* The end of the line that begins at `at` when it is whole and of a step in lowest .. highest; else `at`. */
static size_t line_end(const char *text, size_t size, size_t at, int64_t lowest, int64_t highest)
{
    const char *end = at < size ? memchr(text + at, '\n', size - at) : NULL;
    json_t *json = end ? parse_line(text + at, (size_t)(end - text) - at) : NULL;
    int64_t step = json_integer_value(json_object_get(json, "step"));
    bool keep = json && step >= lowest && step <= highest;
    json_decref(json);
    return keep ? (size_t)(end - text) + 1 : at;
}

/* A run that went back has lines of later steps before earlier ones: the size is what tells where a checkpoint was. */
static size_t kept_bytes(const char *text, size_t size, int64_t bytes, int64_t step)
{
    size_t known = (size_t)bytes;
    if (known <= size && (known == 0 || text[known - 1] == '\n')) return line_end(text, size, known, step, step);
    size_t kept = 0, next;
    while ((next = line_end(text, size, kept, INT64_MIN, step)) > kept) kept = next;
    return kept;
}

lt_status lti_metrics_open(lt_ctx *ctx, const char *path, int64_t bytes, int64_t step, int *fd)
{
    size_t kept = 0;
    if (bytes >= 0 && lti_file_exists(path)) {
        char *text = NULL;
        uint64_t size = 0;
        lt_status status = lti_file_read(ctx, path, METRICS_LIMIT, &text, &size);
        if (status == LT_OK) kept = kept_bytes(text, size, bytes, step);
        lti_free(ctx, text);
        if (status == LT_ENOMEM) return status;
    }
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (*fd < 0) return lti_fail_errno(ctx, errno, "write", path);
    if (ftruncate(*fd, (off_t)kept)) {
        lt_status status = lti_fail_errno(ctx, errno, "cut", path);
        lti_metrics_close(*fd);
        *fd = -1;
        return status;
    }
    return LT_OK;
}

static void add_number(lti_text *text, const char *key, double value)
{
    if (isfinite(value)) lti_text_format(text, ",\"%s\":%.9g", key, value);
}

/* "times":{"matmul":0.81,...}: shares from one per mille on. */
static void add_times(lti_text *text, const lt_train_progress *p)
{
    int shown = 0;
    while (shown < p->n_times && p->times[shown].share >= 0.001) shown++;
    for (int i = 0; i < shown; i++)
        lti_text_format(text, "%s\"%s\":%.4g", i ? "," : ",\"times\":{", p->times[i].op, p->times[i].share);
    if (shown) lti_text_format(text, "}");
}

lt_status lti_metrics_add(lt_ctx *ctx, int fd, const char *path, const lt_train_progress *p)
{
    lti_text text = {.ctx = ctx};
    lti_text_format(&text, "{\"step\":%lld,\"tokens\":%lld", (long long)p->step, (long long)p->tokens);
    add_number(&text, "loss", p->loss);
    add_number(&text, "valid_loss", p->valid_loss);
    add_number(&text, "accuracy", p->accuracy);
    add_number(&text, "lr", p->lr);
    add_number(&text, "grad_norm", p->grad_norm);
    add_number(&text, "flips", p->flips);
    add_number(&text, "tokens_per_second", p->tokens_per_second);
    add_number(&text, "seconds", p->seconds);
    lti_text_format(&text, ",\"rss_bytes\":%llu", (unsigned long long)p->rss_bytes);
    add_times(&text, p);
    if (p->skipped) lti_text_format(&text, ",\"skipped\":true");
    if (p->note) {
        lti_text_format(&text, ",\"note\":");
        lti_text_json(&text, p->note);
    }
    lti_text_format(&text, "}\n");
    lt_status status = text.failed ? LT_ENOMEM : LT_OK;
    if (status == LT_OK && write(fd, text.data, text.length) != (ssize_t)text.length)
        status = lti_fail_errno(ctx, errno, "append to", path);
    lti_text_free(&text);
    return status;
}

int64_t lti_metrics_size(int fd)
{
    struct stat s;
    return fd >= 0 && fstat(fd, &s) == 0 ? (int64_t)s.st_size : 0;
}

void lti_metrics_close(int fd)
{
    if (fd >= 0) close(fd);
}

/* ---- Reading back, for reports ---- */

static int count_lines(const char *text, size_t size)
{
    int lines = 0;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    return lines;
}

static void read_points(const char *text, size_t size, const char *key, lti_curve *curve)
{
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        if (!end) return;
        json_t *json = parse_line(text + at, (size_t)(end - text) - at);
        const json_t *value = json ? json_object_get(json, key) : NULL;
        if (json_is_number(value)) {
            curve->step[curve->count] = json_number_value(json_object_get(json, "step"));
            curve->value[curve->count++] = json_number_value(value);
        }
        json_decref(json);
        at = (size_t)(end - text) + 1;
    }
}

lt_status lti_metrics_curve(lt_ctx *ctx, const char *path, const char *key, lti_curve *curve)
{
    *curve = (lti_curve){0};
    char *text;
    uint64_t size;
    struct stat s;
    if (stat(path, &s) == 0 && s.st_size == 0) return LT_OK; /* stopped before the first step */
    LTI_TRY(lti_file_read(ctx, path, METRICS_LIMIT, &text, &size));
    size_t lines = (size_t)count_lines(text, size) + 1;
    curve->step = lti_alloc_array(ctx, lines, sizeof *curve->step);
    curve->value = lti_alloc_array(ctx, lines, sizeof *curve->value);
    bool ok = curve->step && curve->value;
    if (ok) read_points(text, size, key, curve);
    lti_free(ctx, text);
    if (ok) return LT_OK;
    lti_curve_free(ctx, curve);
    return LT_ENOMEM;
}

void lti_curve_free(lt_ctx *ctx, lti_curve *curve)
{
    lti_free(ctx, curve->step);
    lti_free(ctx, curve->value);
    *curve = (lti_curve){0};
}

static void take_shares(json_t *times, lti_shares *shares)
{
    const char *op;
    json_t *share;
    shares->count = 0;
    json_object_foreach(times, op, share)
    {
        if (shares->count == LTI_COUNT(shares->list)) return;
        lti_print(shares->list[shares->count].op, sizeof shares->list[0].op, "%s", op);
        shares->list[shares->count++].share = json_number_value(share);
    }
}

lt_status lti_metrics_shares(lt_ctx *ctx, const char *path, lti_shares *shares)
{
    char *text;
    uint64_t size;
    struct stat s;
    shares->count = 0;
    if (stat(path, &s) == 0 && s.st_size == 0) return LT_OK;
    LTI_TRY(lti_file_read(ctx, path, METRICS_LIMIT, &text, &size));
    for (size_t end = size; end > 0 && shares->count == 0;) { /* lines from the last one back */
        size_t begin = end - 1;
        while (begin > 0 && text[begin - 1] != '\n') begin--;
        json_t *json = parse_line(text + begin, end - begin);
        take_shares(json_object_get(json, "times"), shares);
        json_decref(json);
        end = begin;
    }
    lti_free(ctx, text);
    return LT_OK;
}
