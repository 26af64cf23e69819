/* file_writer.c - writing files whole or not at all, and hashing them.
 *
 * Temporary sibling, fsync, rename, fsync of the directory: after a crash or on a full disk the old file is still
 * there, whole (Pillai et al., OSDI 2014, on why each of the four steps is needed). The hash is XXH3-128: the files
 * need protection against damage, not against an adversary. */
#include "data/files.h"
#include "lathe/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define BUFFER 65536

struct lti_writer {
    lt_ctx *ctx;
    char *path, *temporary;
    XXH3_state_t *hash;
    int fd;
    size_t used;
    char buffer[BUFFER];
};

static void to_hex(XXH128_hash_t hash, char hex[33])
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", bytes.digest[i]);
}

void lti_hash_bytes(const void *bytes, size_t count, char hex[33])
{
    to_hex(XXH3_128bits(bytes, count), hex);
}

lt_status lti_file_hash(lt_ctx *ctx, const char *path, char hex[33])
{
    lti_map map;
    LTI_TRY(lti_file_map(ctx, path, &map));
    lti_hash_bytes(map.data, map.size, hex);
    lti_file_unmap(&map);
    return LT_OK;
}

lt_status lt_file_hash(lt_ctx *ctx, const char *path, char hash[33])
{
    return lti_file_hash(ctx, path, hash);
}

static void release(lti_writer *writer)
{
    if (writer->fd >= 0) close(writer->fd);
    XXH3_freeState(writer->hash);
    lti_free(writer->ctx, writer->temporary);
    lti_free(writer->ctx, writer->path);
    lti_free(writer->ctx, writer);
}

/* A name of its own for every writer: a temporary file left by a killed process is stepped over. */
static lt_status open_temporary(lti_writer *writer)
{
    size_t room = strlen(writer->path) + 48;
    writer->temporary = lti_alloc(writer->ctx, room);
    if (!writer->temporary) return LT_ENOMEM;
    for (int i = 0; i < 1000; i++) {
        snprintf(writer->temporary, room, "%s.tmp-%ld-%d", writer->path, (long)getpid(), i);
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) return LT_OK;
        if (errno != EEXIST) break;
    }
    return lti_fail_errno(writer->ctx, errno, "create", writer->temporary);
}

lt_status lti_writer_open(lt_ctx *ctx, const char *path, lti_writer **out)
{
    *out = NULL;
    if (lti_is_directory(path)) return lti_fail(ctx, LT_EIO, "cannot write %s: it is a directory; name a file", path);
    lti_writer *writer = lti_alloc(ctx, sizeof *writer);
    if (!writer) return LT_ENOMEM;
    writer->ctx = ctx;
    writer->fd = -1;
    writer->path = lti_strdup(ctx, path);
    writer->hash = XXH3_createState();
    lt_status status = LT_OK;
    if (!writer->path)
        status = LT_ENOMEM;
    else if (!writer->hash)
        status = lti_fail(ctx, LT_ENOMEM, "out of memory for the hash of %s", path);
    else
        status = open_temporary(writer);
    if (status != LT_OK) {
        release(writer);
        return status;
    }
    XXH3_128bits_reset(writer->hash);
    *out = writer;
    return LT_OK;
}

static lt_status write_all(lti_writer *writer, const char *bytes, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t n = write(writer->fd, bytes + done, count - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lti_fail_errno(writer->ctx, errno, "write", writer->path);
        done += (size_t)n;
    }
    return LT_OK;
}

static lt_status flush(lti_writer *writer)
{
    size_t used = writer->used;
    writer->used = 0;
    return write_all(writer, writer->buffer, used);
}

lt_status lti_writer_add(lti_writer *writer, const void *bytes, size_t count)
{
    if (count == 0) return LT_OK;
    XXH3_128bits_update(writer->hash, bytes, count);
    if (count > BUFFER - writer->used) LTI_TRY(flush(writer));
    if (count > BUFFER) return write_all(writer, bytes, count);
    memcpy(writer->buffer + writer->used, bytes, count);
    writer->used += count;
    return LT_OK;
}

lt_status lti_sync_directory(lt_ctx *ctx, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return lti_fail_errno(ctx, errno, "open", path);
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    if (error == 0 || error == EINVAL || error == ENOTSUP) return LT_OK; /* file systems without it */
    return lti_fail_errno(ctx, error, "sync", path);
}

static lt_status sync_parent(lt_ctx *ctx, char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash) return lti_sync_directory(ctx, ".");
    if (slash == path) return lti_sync_directory(ctx, "/");
    *slash = 0;
    return lti_sync_directory(ctx, path);
}

lt_status lti_writer_commit(lti_writer *writer, char hex[33])
{
    lt_ctx *ctx = writer->ctx;
    lt_status status = flush(writer);
    if (status == LT_OK && fsync(writer->fd) != 0) status = lti_fail_errno(ctx, errno, "write", writer->path);
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0 && status == LT_OK) status = lti_fail_errno(ctx, errno, "write", writer->path);
    if (status == LT_OK && rename(writer->temporary, writer->path) != 0)
        status = lti_fail_errno(ctx, errno, "put in place", writer->path);
    if (status != LT_OK) {
        lti_writer_discard(writer);
        return status;
    }
    if (hex) to_hex(XXH3_128bits_digest(writer->hash), hex);
    status = sync_parent(ctx, writer->path);
    release(writer);
    return status;
}

void lti_writer_discard(lti_writer *writer)
{
    if (!writer) return;
    unlink(writer->temporary);
    release(writer);
}

lt_status lti_file_write_atomic(lt_ctx *ctx, const char *path, const void *bytes, size_t count)
{
    lti_writer *writer;
    LTI_TRY(lti_writer_open(ctx, path, &writer));
    lt_status status = lti_writer_add(writer, bytes, count);
    if (status != LT_OK) {
        lti_writer_discard(writer);
        return status;
    }
    return lti_writer_commit(writer, NULL);
}
