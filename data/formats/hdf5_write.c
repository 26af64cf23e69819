/* hdf5_write.c - writing tensors as HDF5.
 *
 * lathe-h5 writes the file, under a temporary name beside its place, and is handed the elements slab by slab; syncing,
 * hashing and renaming are done here, as for every file (data/file_writer.c). The writer of that file cannot be used:
 * libhdf5 does not write from front to back. Tensors and metadata go in order of their names, so that the same content
 * gives the same bytes whatever order it was collected in. */
#include "data/formats/hdf5_session.h"
#include "data/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096 /* elements converted at a time */

static lt_status check_name(lt_ctx *ctx, const char *what, const char *name)
{
    if (!name || !*name) return lti_fail(ctx, LT_EINVAL, "HDF5: %s without a name", what);
    size_t n = strlen(name);
    if (n >= LTI_H5_TEXT)
        return lti_fail(ctx, LT_EINVAL, "HDF5: the name of %s '%.60s...' has %zu bytes; at most %d are written", what,
                        name, n, LTI_H5_TEXT - 1);
    if (lti_utf8_check((const unsigned char *)name, n) < n)
        return lti_fail(ctx, LT_EINVAL, "HDF5: the name of %s '%.200s' is not UTF-8", what, name);
    return LT_OK;
}

/* Of "a/b/c" every part must name something: no empty one and no ".", which is the group itself; and not too many. */
static bool parts_are_names(const char *name)
{
    int depth = 1;
    for (const char *part = name; depth++ <= LTI_H5_DEPTH; part = strchr(part, '/') + 1) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && *part == '.')) return false;
        if (!part[n]) return true;
    }
    return false;
}

static lt_status check_entry(lt_ctx *ctx, const lt_tensor_entry *entry)
{
    LTI_TRY(check_name(ctx, "a tensor", entry->name));
    if (!parts_are_names(entry->name))
        return lti_fail(ctx, LT_EINVAL,
                        "HDF5: tensor '%s': a part between the '/' is empty or '.', or it has more than %d parts",
                        entry->name, LTI_H5_DEPTH);
    if (entry->rank < 0 || entry->rank > LTI_H5_RANK)
        return lti_fail(ctx, LT_EINVAL, "HDF5: tensor '%s' has %d dimensions; 0 to %d are possible", entry->name,
                        entry->rank, LTI_H5_RANK);
    if (lti_h5_width(entry->dtype) == 0)
        return lti_fail(ctx, LT_EUNSUPPORTED, "HDF5: tensor '%s': there is no way to store %s; use safetensors",
                        entry->name, lt_stored_name(entry->dtype));
    int64_t n;
    uint64_t bytes;
    if (!lti_h5_measure(entry->dtype, (uint32_t)entry->rank, entry->shape, &n, &bytes))
        return lti_fail(ctx, LT_EINVAL, "HDF5: tensor '%s': its shape is negative or overflows 64 bits", entry->name);
    if (bytes > LTI_H5_LARGEST)
        return lti_fail(ctx, LT_ELIMIT, "HDF5: tensor '%s' has %" PRIu64 " bytes; at most %" PRIu64 " are written",
                        entry->name, bytes, LTI_H5_LARGEST);
    char none;
    bool real = lti_real_to_stored(entry->dtype, 0, NULL, &none);
    int sources = (entry->data != NULL) + (entry->real != NULL) + (entry->make != NULL);
    if (sources > 1 || (n > 0 && sources == 0) || (entry->real && !real))
        return lti_fail(ctx, LT_EINVAL,
                        "HDF5: tensor '%s': give either bytes, or what makes them, or real numbers for F16, BF16, F32 "
                        "or F64",
                        entry->name);
    return LT_OK;
}

static int order_entries(const void *a, const void *b)
{
    return strcmp((*(const lt_tensor_entry *const *)a)->name, (*(const lt_tensor_entry *const *)b)->name);
}

static int order_pairs(const void *a, const void *b)
{
    return strcmp((*(const lt_pair *const *)a)->key, (*(const lt_pair *const *)b)->key);
}

/* What is written, in the order of the file. */
typedef struct content {
    const lt_tensor_entry **entries;
    const lt_pair **pairs;
    int count, pair_count;
} content;

static lt_status check_entries(lt_ctx *ctx, const lt_tensor_entry *entries, content *c)
{
    for (int i = 0; i < c->count; i++) {
        LTI_TRY(check_entry(ctx, &entries[i]));
        c->entries[i] = &entries[i];
    }
    if (c->count) qsort(c->entries, (size_t)c->count, sizeof *c->entries, order_entries);
    for (int i = 1; i < c->count; i++)
        if (strcmp(c->entries[i - 1]->name, c->entries[i]->name) == 0)
            return lti_fail(ctx, LT_EINVAL, "HDF5: tensor '%s' is given twice", c->entries[i]->name);
    return LT_OK;
}

static lt_status check_pairs(lt_ctx *ctx, const lt_pair *metadata, content *c)
{
    for (int i = 0; i < c->pair_count; i++) {
        const char *value = metadata[i].value;
        LTI_TRY(check_name(ctx, "metadata", metadata[i].key));
        size_t n = strlen(value);
        if (n > LTI_H5_VALUE)
            return lti_fail(ctx, LT_ELIMIT, "HDF5: metadata '%s' has %zu bytes; an attribute holds %d", metadata[i].key,
                            n, LTI_H5_VALUE);
        if (lti_utf8_check((const unsigned char *)value, n) < n)
            return lti_fail(ctx, LT_EINVAL, "HDF5: the value of metadata '%s' is not UTF-8", metadata[i].key);
        c->pairs[i] = &metadata[i];
    }
    if (c->pair_count) qsort(c->pairs, (size_t)c->pair_count, sizeof *c->pairs, order_pairs);
    for (int i = 1; i < c->pair_count; i++)
        if (strcmp(c->pairs[i - 1]->key, c->pairs[i]->key) == 0)
            return lti_fail(ctx, LT_EINVAL, "HDF5: metadata '%s' is given twice", c->pairs[i]->key);
    return LT_OK;
}

/* Puts elements [first, first + count) into the window. */
static lt_status give_slab(lti_h5_session *session, const lt_tensor_entry *entry, const char *bytes, int64_t first,
                           int64_t count)
{
    int64_t width = lti_h5_width(entry->dtype);
    if (bytes) return lti_h5_give(session, 0, bytes + first * width, (uint64_t)(count * width));
    char block[BLOCK * 8];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t n = count - at < BLOCK ? count - at : BLOCK;
        lti_real_to_stored(entry->dtype, n, entry->real + first + at, block);
        LTI_TRY(lti_h5_give(session, (uint64_t)(at * width), block, (uint64_t)(n * width)));
    }
    return LT_OK;
}

static lt_status write_entry(lti_h5_session *session, const lt_tensor_entry *entry)
{
    lti_h5_message *message = &session->message;
    int64_t total;
    uint64_t size;
    const void *bytes = entry->data;
    lti_h5_measure(entry->dtype, (uint32_t)entry->rank, entry->shape, &total, &size);
    if (entry->make && total > 0) {
        LTI_TRY(entry->make(entry->user, &bytes));
        if (!bytes) return lti_fail(session->ctx, LT_EINVAL, "HDF5: tensor '%s' was not made", entry->name);
    }
    strcpy(message->name, entry->name);
    message->dtype = (uint32_t)entry->dtype;
    message->rank = (uint32_t)entry->rank;
    for (int i = 0; i < entry->rank; i++) message->shape[i] = entry->shape[i];
    LTI_TRY(lti_h5_ask(session, LTI_H5_CREATE, entry->name));
    for (int64_t done = 0; done < total;) {
        uint64_t wanted = message->elements;
        if (wanted == 0 || wanted > (uint64_t)(total - done))
            return lti_fail(session->ctx, LT_EIO, "cannot write %s: lathe-h5 asks for a false part of '%s'",
                            session->name, entry->name);
        LTI_TRY(give_slab(session, entry, bytes, done, (int64_t)wanted));
        LTI_TRY(lti_h5_ask(session, LTI_H5_DATA, entry->name));
        done += (int64_t)wanted;
    }
    return LT_OK;
}

static lt_status write_pair(lti_h5_session *session, const lt_pair *pair)
{
    strcpy(session->message.name, pair->key);
    session->message.bytes = strlen(pair->value);
    LTI_TRY(lti_h5_give(session, 0, pair->value, session->message.bytes));
    return lti_h5_ask(session, LTI_H5_PAIR, pair->key);
}

static lt_status write_content(lt_ctx *ctx, const char *temporary, const char *path, const content *c)
{
    lti_h5_session session;
    LTI_TRY(lti_h5_start(ctx, temporary, path, true, &session));
    lt_status status = LT_OK;
    for (int i = 0; i < c->pair_count && status == LT_OK; i++) status = write_pair(&session, c->pairs[i]);
    for (int i = 0; i < c->count && status == LT_OK; i++) status = write_entry(&session, c->entries[i]);
    if (status == LT_OK) status = lti_h5_ask(&session, LTI_H5_FINISH, NULL);
    lti_h5_stop(&session);
    return status;
}

/* A name of its own for every writer: a temporary file left by a killed process is stepped over. */
static lt_status open_temporary(lt_ctx *ctx, const char *path, char *temporary, size_t room, int *fd)
{
    for (int i = 0; i < 1000; i++) {
        snprintf(temporary, room, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        *fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0) return LT_OK;
        if (errno != EEXIST) break;
    }
    return lti_fail_errno(ctx, errno, "create", temporary);
}

static lt_status put_in_place(lt_ctx *ctx, const char *temporary, const char *path, int fd, char hash[33])
{
    char hex[33];
    if (fsync(fd) != 0) return lti_fail_errno(ctx, errno, "write", path);
    LTI_TRY(lti_file_hash(ctx, temporary, hex));
    if (rename(temporary, path) != 0) return lti_fail_errno(ctx, errno, "put in place", path);
    if (hash) memcpy(hash, hex, sizeof hex);
    return LT_OK;
}

/* fsyncs the directory of `path`, which is cut off there. */
static lt_status sync_parent(lt_ctx *ctx, char *path)
{
    char *slash = strrchr(path, '/');
    if (slash) slash[slash == path] = 0;
    return lti_sync_directory(ctx, slash ? path : ".");
}

static lt_status write_file(lt_ctx *ctx, const char *path, const content *c, char hash[33])
{
    if (lti_is_directory(path)) return lti_fail(ctx, LT_EIO, "cannot write %s: it is a directory; name a file", path);
    size_t room = strlen(path) + 48;
    char *temporary = lti_alloc(ctx, room);
    int fd;
    if (!temporary) return LT_ENOMEM;
    lt_status status = open_temporary(ctx, path, temporary, room, &fd);
    if (status == LT_OK) {
        status = write_content(ctx, temporary, path, c);
        if (status == LT_OK) status = put_in_place(ctx, temporary, path, fd, hash);
        close(fd);
        if (status == LT_OK)
            status = sync_parent(ctx, temporary);
        else
            unlink(temporary);
    }
    lti_free(ctx, temporary);
    return status;
}

lt_status lt_h5_write(lt_ctx *ctx, const char *path, const lt_tensor_entry *entries, int count, const lt_pair *metadata,
                      int pairs, char hash[33])
{
    content c = {.count = count > 0 ? count : 0, .pair_count = pairs > 0 ? pairs : 0};
    c.entries = lti_alloc_array(ctx, (size_t)c.count, sizeof *c.entries);
    c.pairs = lti_alloc_array(ctx, (size_t)c.pair_count, sizeof *c.pairs);
    lt_status status = c.entries && c.pairs ? LT_OK : LT_ENOMEM;
    if (status == LT_OK) status = check_entries(ctx, entries, &c);
    if (status == LT_OK) status = check_pairs(ctx, metadata, &c);
    if (status == LT_OK) status = write_file(ctx, path, &c, hash);
    lti_free(ctx, c.pairs);
    lti_free(ctx, c.entries);
    return status;
}
