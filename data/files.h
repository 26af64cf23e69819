/* files.h - files as the library meets them: mapped, read whole, written so that a crash leaves old or new, never half.
 *
 * Each failure names the path, the operating system's reason and what to try. */
#ifndef LTI_FILES_H
#define LTI_FILES_H

#include "base/ctx.h"

typedef struct lti_map {
    const uint8_t *data;
    uint64_t size;
} lti_map;

/* Maps a regular file privately and read-only. LT_EIO; LT_EFORMAT for an empty file or a git-lfs pointer. */
lt_status lti_file_map(lt_ctx *ctx, const char *path, lti_map *map);
void lti_file_unmap(lti_map *map); /* a zeroed map is fine */

/* Reads a whole file of 1 to `limit` bytes, LT_ELIMIT when it is larger; a NUL follows. Free with lti_free. */
lt_status lti_file_read(lt_ctx *ctx, const char *path, uint64_t limit, char **bytes, uint64_t *size);
/* The same through zlib: gzip is unpacked, other files come as they are. `limit` bounds the unpacked size. */
lt_status lti_file_unpack(lt_ctx *ctx, const char *path, uint64_t limit, char **bytes, uint64_t *size);

bool lti_file_exists(const char *path); /* a regular file */
bool lti_is_directory(const char *path);
/* "dir/name", to be freed with lti_free; NULL and LT_ENOMEM. */
char *lti_path_join(lt_ctx *ctx, const char *dir, const char *name);
/* Makes a directory and its missing parents. */
lt_status lti_mkdirs(lt_ctx *ctx, const char *path);
/* Removes a file or a directory with all in it, following no link. Nothing there is success. */
lt_status lti_remove_tree(lt_ctx *ctx, const char *path);

/* XXH3-128 as 32 hex digits, most significant first, and a NUL. */
void lti_hash_bytes(const void *bytes, size_t count, char hex[33]);
lt_status lti_file_hash(lt_ctx *ctx, const char *path, char hex[33]);

/* A file being written under a temporary name beside its place, hashed as it grows. */
typedef struct lti_writer lti_writer;
lt_status lti_writer_open(lt_ctx *ctx, const char *path, lti_writer **writer);
lt_status lti_writer_add(lti_writer *writer, const void *bytes, size_t count);
/* fsync, rename, fsync of the directory. `hex` (may be NULL) gets the hash. The writer is gone afterwards, also when
 * this fails; then nothing has changed under `path`. */
lt_status lti_writer_commit(lti_writer *writer, char hex[33]);
void lti_writer_discard(lti_writer *writer); /* NULL is fine */

lt_status lti_file_write_atomic(lt_ctx *ctx, const char *path, const void *bytes, size_t count);
/* fsyncs a directory, so that renames in it last. */
lt_status lti_sync_directory(lt_ctx *ctx, const char *path);

/* LT_EIO from errno: "cannot <what> <path>: <strerror>; <what to try>". */
lt_status lti_fail_errno(lt_ctx *ctx, int error, const char *what, const char *path);

#endif
