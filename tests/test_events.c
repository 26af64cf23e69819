/* test_events.c - TensorBoard's files, read by a reader of their own: a CRC-32C by table (RFC 3720's vector), records,
 * protocol-buffer fields; and what the report says of times and of runs side by side. */
#include "tests/data_files.h"
#include "tests/toys.h"
#include "train/events.h"
#include "train/metrics.h"
#include "train/op_times.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t crc_by_table(const unsigned char *p, size_t n)
{
    uint32_t table[256], crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] & 1 ? 0x82F63B78u ^ table[i] >> 1 : table[i] >> 1;
    }
    while (n--) crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    return ~crc;
}

static bool mask_fits(const unsigned char *data, size_t n, const unsigned char *stored)
{
    uint32_t crc = crc_by_table(data, n), want;
    memcpy(&want, stored, 4);
    return ((crc >> 15 | crc << 17) + 0xA282EAD8u) == want;
}

/* Fields of a message, one after the other. */
typedef struct field {
    unsigned number, wire;
    uint64_t value; /* varint, or the bits of a fixed one */
    const unsigned char *bytes;
    size_t length;
} field;

static uint64_t varint(const unsigned char **p)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        unsigned char byte = *(*p)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
    }
}

static bool next_field(const unsigned char **p, const unsigned char *end, field *f)
{
    if (*p >= end) return false;
    uint64_t key = varint(p);
    *f = (field){.number = (unsigned)(key >> 3), .wire = key & 7};
    if (f->wire == 0) f->value = varint(p);
    if (f->wire == 1) memcpy(&f->value, *p, 8), *p += 8;
    if (f->wire == 5) memcpy(&f->value, *p, 4), *p += 4;
    if (f->wire == 2) {
        f->length = varint(p);
        f->bytes = *p;
        *p += f->length;
    }
    return true;
}

/* The number called `tag` in a summary; NaN when it is not there. */
static double scalar(const field *summary, const char *tag)
{
    const unsigned char *p = summary->bytes, *end = p + summary->length;
    field value, part;
    while (next_field(&p, end, &value)) {
        const unsigned char *q = value.bytes;
        bool named = false;
        while (next_field(&q, value.bytes + value.length, &part)) {
            if (part.number == 1) named = part.length == strlen(tag) && !memcmp(part.bytes, tag, part.length);
            float number;
            memcpy(&number, &part.value, 4);
            if (part.number == 2 && named) return (double)number;
        }
    }
    return NAN;
}

typedef struct events_seen {
    int records, version, starts;
    int64_t start_step, last_step;
    double loss, lr, attention, accuracy;
} events_seen;

static void read_event(const unsigned char *p, size_t n, events_seen *seen)
{
    const unsigned char *end = p + n;
    field f;
    int64_t step = -1;
    while (next_field(&p, end, &f)) {
        if (f.number == 2) step = (int64_t)f.value;
        if (f.number == 3) seen->version += f.length == 13 && !memcmp(f.bytes, "brain.Event:2", 13);
        if (f.number == 7) seen->starts++, seen->start_step = step;
        if (f.number != 5) continue;
        seen->last_step = step;
        seen->loss = scalar(&f, "loss/train");
        seen->lr = scalar(&f, "optimizer/learning_rate");
        seen->attention = scalar(&f, "time/attention");
        seen->accuracy = scalar(&f, "accuracy/valid");
    }
}

static void read_file(const char *path, events_seen *seen)
{
    size_t size;
    unsigned char *data = (unsigned char *)toy_read(path, &size);
    *seen = (events_seen){0};
    for (size_t at = 0; data && at + 16 <= size; seen->records++) {
        uint64_t n;
        memcpy(&n, data + at, 8);
        if (!TS_CHECK(n <= size - at - 16, "record %d: %llu bytes", seen->records, (unsigned long long)n)) break;
        TS_CHECK(mask_fits(data + at, 8, data + at + 8) && mask_fits(data + at + 12, n, data + at + 12 + n),
                 "record %d: checksums", seen->records);
        read_event(data + at + 12, n, seen);
        at += n + 16;
    }
    free(data);
}

static void events_are_read_back(void)
{
    ts_place p = ts_open_place();
    lti_events e = {.fd = -1};
    TS_CHECK(crc_by_table((const unsigned char *)"123456789", 9) == 0xE3069283u, "the table's own vector");
    const lt_op_share times[] = {{"matmul", 0.75}, {"attention", 0.25}};
    lt_train_progress progress = {.step = 1234567890123,
                                  .loss = 2.5,
                                  .valid_loss = NAN,
                                  .accuracy = 0.5,
                                  .lr = 1e-3,
                                  .grad_norm = NAN,
                                  .times = times,
                                  .n_times = 2};
    TS_OK(p.ctx, lti_events_add(p.ctx, &e, &progress)); /* none is open */
    if (!TS_OK(p.ctx, lti_events_open(p.ctx, ts_at(&p, "."), 40, &e))) return;
    TS_CHECK(strstr(e.path, "events.out.tfevents.") != NULL, "%s", e.path);
    TS_OK(p.ctx, lti_events_add(p.ctx, &e, &progress));
    lti_events_close(&e);
    events_seen seen;
    read_file(e.path, &seen);
    TS_CHECK(seen.records == 3 && seen.version == 1 && seen.starts == 1 && seen.start_step == 41, "%d records, %d, %d",
             seen.records, seen.version, seen.starts);
    TS_CHECK(seen.last_step == 1234567890123 && seen.loss == 2.5 && fabs(seen.lr - 1e-3) < 1e-9, "step %lld, %g, %g",
             (long long)seen.last_step, seen.loss, seen.lr);
    TS_CHECK(seen.attention == 0.25 && seen.accuracy == 0.5, "time %g, accuracy %g", seen.attention, seen.accuracy);
    TS_REFUSED(p.ctx, lti_events_open(p.ctx, "/nonexistent", 0, &e), LT_EIO, "/nonexistent");
    ts_close_place(&p);
}

static void times_in_metrics_and_report(void)
{
    ts_place p = ts_open_place();
    char one[256], two[256], out[256];
    snprintf(one, sizeof one, "%s", ts_at(&p, "one.jsonl"));
    snprintf(out, sizeof out, "%s", ts_at(&p, "report.html"));
    snprintf(two, sizeof two, "%s", ts_put_text(&p, "two.jsonl", "{\"step\":1,\"loss\":3,\"seconds\":2}\n"));
    const lt_op_share times[] = {{"matmul", 0.75}, {"attention", 0.2495}, {"add", 0.0005}};
    lt_train_progress progress = {.step = 1,
                                  .loss = 2.5,
                                  .valid_loss = 2.25,
                                  .accuracy = 0.5,
                                  .lr = 1e-3,
                                  .times = times,
                                  .n_times = 3,
                                  .rss_bytes = 2000000000};
    int fd;
    if (!TS_OK(p.ctx, lti_metrics_open(p.ctx, one, -1, 0, &fd))) return;
    TS_OK(p.ctx, lti_metrics_add(p.ctx, fd, one, &progress));
    progress.n_times = 0;
    progress.step = 2;
    TS_OK(p.ctx, lti_metrics_add(p.ctx, fd, one, &progress));
    lti_metrics_close(fd);
    lti_shares shares;
    TS_OK(p.ctx, lti_metrics_shares(p.ctx, one, &shares));
    TS_CHECK(shares.count == 2 && !strcmp(shares.list[1].op, "attention") && shares.list[0].share == 0.75,
             "%d shares from the last line that has them", shares.count);
    TS_OK(p.ctx, lti_metrics_shares(p.ctx, two, &shares));
    TS_CHECK(shares.count == 0, "%d shares", shares.count);
    const char *names[] = {"first", "second"}, *paths[] = {one, two};
    TS_OK(p.ctx, lt_report_write(p.ctx, out, "runs", 2, names, paths, NULL));
    char *html = toy_read(out, NULL);
    TS_CHECK(html && strstr(html, "<tr><td>first</td><td>2.5000</td><td>2.2500</td><td>0.5000</td>"), "%s",
             html ? html : "");
    TS_CHECK(html && strstr(html, "<tr><td>second</td><td>3.0000</td><td></td>"), "what a run has not is left empty");
    TS_CHECK(html && strstr(html, "Time by operator") && strstr(html, "attention 24.9"), "bars");
    free(html);
    ts_close_place(&p);
}

int lti_suite_events(void)
{
    return ts_suite("events", 2,
                    (ts_test[]){{"TensorBoard's file", events_are_read_back},
                                {"times and runs side by side", times_in_metrics_and_report}});
}
