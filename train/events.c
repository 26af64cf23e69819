/* events.c - TensorBoard's event files: records of protocol-buffer messages.
 *
 *     record:  u64 length, u32 masked CRC-32C of it, the message, u32 masked CRC-32C of the message
 *     Event:   1 wall_time double, 2 step int64, 3 file_version string, 5 Summary, 7 SessionLog
 *     Summary: 1 Value { 1 tag string, 2 simple_value float };  SessionLog: 1 status (1 = START)
 *
 * (tensorflow/core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer.cc.) The encoder is these
 * few fields, written by hand: five field kinds would not pay for a protocol-buffer compiler in the build. */
#include "train/events.h"

#include "base/text.h"
#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 4096 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

typedef struct message {
    unsigned char bytes[MESSAGE];
    size_t length;
} message;

static uint32_t crc32c(const void *data, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (const unsigned char *p = data; n > 0; p++, n--) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* ---- Protocol buffers. What does not fit is left out whole ---- */

static void put(message *m, const void *data, size_t n)
{
    if (n > sizeof m->bytes - m->length) return;
    memcpy(m->bytes + m->length, data, n);
    m->length += n;
}

static void put_varint(message *m, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)(value & 0x7F) | (value > 0x7F ? 0x80 : 0);
        put(m, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_key(message *m, unsigned field, unsigned wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t n)
{
    put_key(m, field, BYTES);
    put_varint(m, n);
    put(m, data, n);
}

static void put_double(message *m, unsigned field, double value)
{
    put_key(m, field, FIXED64);
    put(m, &value, sizeof value);
}

static void begin_event(message *m, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    m->length = 0;
    put_double(m, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    put_key(m, 2, VARINT);
    put_varint(m, (uint64_t)step);
}

/* A point of the curve `tag`; none where the number is not finite. */
static void put_scalar(message *summary, const char *tag, double number)
{
    message value;
    float single = (float)number;
    if (!isfinite(number)) return;
    value.length = 0;
    put_bytes(&value, 1, tag, strlen(tag));
    put_key(&value, 2, FIXED32);
    put(&value, &single, sizeof single);
    if (summary->length + value.length + 16 <= sizeof summary->bytes) put_bytes(summary, 1, value.bytes, value.length);
}

/* ---- Records ---- */

static lt_status write_record(lt_ctx *ctx, const lti_events *e, const message *m)
{
    unsigned char record[sizeof m->bytes + 16];
    uint64_t length = m->length;
    uint32_t head = masked(crc32c(&length, sizeof length)), tail = masked(crc32c(m->bytes, m->length));
    memcpy(record, &length, 8);
    memcpy(record + 8, &head, 4);
    memcpy(record + 12, m->bytes, m->length);
    memcpy(record + 12 + m->length, &tail, 4);
    size_t n = m->length + 16;
    return write(e->fd, record, n) == (ssize_t)n ? LT_OK : lti_fail_errno(ctx, errno, "append to", e->path);
}

static lt_status write_version(lt_ctx *ctx, const lti_events *e)
{
    static const char version[] = "brain.Event:2";
    message m;
    begin_event(&m, 0);
    put_bytes(&m, 3, version, strlen(version));
    return write_record(ctx, e, &m);
}

/* A session that starts at `step` makes TensorBoard drop what an earlier file has of later steps. */
static lt_status write_start(lt_ctx *ctx, const lti_events *e, int64_t step)
{
    static const unsigned char start[] = {1 << 3 | VARINT, 1};
    message m;
    begin_event(&m, step + 1);
    put_bytes(&m, 7, start, sizeof start);
    return write_record(ctx, e, &m);
}

lt_status lti_events_open(lt_ctx *ctx, const char *directory, int64_t step, lti_events *e)
{
    char host[64] = "host", name[160];
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c; c++)
        if (*c == '/') *c = '_';
    snprintf(name, sizeof name, "events.out.tfevents.%lld.%s.%ld", (long long)time(NULL), host, (long)getpid());
    char *path = lti_path_join(ctx, directory, name);
    if (!path) return LT_ENOMEM;
    snprintf(e->path, sizeof e->path, "%s", path);
    lti_free(ctx, path);
    e->fd = open(e->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (e->fd < 0) return lti_fail_errno(ctx, errno, "write", e->path);
    lt_status status = write_version(ctx, e);
    if (status == LT_OK) status = write_start(ctx, e, step);
    if (status != LT_OK) lti_events_close(e);
    return status;
}

lt_status lti_events_add(lt_ctx *ctx, const lti_events *e, const lt_train_progress *p)
{
    if (e->fd < 0) return LT_OK;
    message summary = {.length = 0}, event;
    put_scalar(&summary, "loss/train", p->loss);
    put_scalar(&summary, "loss/valid", p->valid_loss);
    put_scalar(&summary, "accuracy/valid", p->accuracy);
    put_scalar(&summary, "optimizer/learning_rate", p->lr);
    put_scalar(&summary, "optimizer/gradient_norm", p->grad_norm);
    put_scalar(&summary, "speed/tokens_per_second", p->tokens_per_second);
    put_scalar(&summary, "memory/resident_gb", (double)p->rss_bytes / 1e9);
    for (int i = 0; i < p->n_times && i < 12; i++) {
        char tag[96];
        snprintf(tag, sizeof tag, "time/%s", p->times[i].op);
        put_scalar(&summary, tag, p->times[i].share);
    }
    begin_event(&event, p->step);
    put_bytes(&event, 5, summary.bytes, summary.length);
    return write_record(ctx, e, &event);
}

void lti_events_close(lti_events *e)
{
    if (e->fd >= 0) close(e->fd);
    e->fd = -1;
}
