/* files.c - reading and removing files. See files.h; writing is in file_writer.c.
 *
 * Files are mapped rather than read where they hold tensors: weights that are never touched cost no memory, and two
 * programs share one copy. The price is that a file shortened by somebody else while mapped raises SIGBUS; lathe
 * itself never shortens a file, it renames a new one over it. */
#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char *advice(int error)
{
    switch (error) {
    case ENOENT: return "check the spelling; a relative path counts from the current directory";
    case EACCES:
    case EPERM:
    case EROFS: return "choose a place this user may use";
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return "free some space there or write elsewhere";
    case ENOTDIR: return "a part of the path is a file, not a directory";
    case EMFILE:
    case ENFILE: return "raise the limit of open files (ulimit -n)";
    default: return "check the disk and the file system";
    }
}

lt_status lti_fail_errno(lt_ctx *ctx, int error, const char *what, const char *path)
{
    return lti_fail(ctx, error == ENOMEM ? LT_ENOMEM : LT_EIO, "cannot %s %s: %s; %s", what, path, strerror(error),
                    advice(error));
}

/* Opens a non-empty regular file. O_NONBLOCK so that a FIFO is refused rather than waited for. */
static lt_status open_regular(lt_ctx *ctx, const char *path, int *fd, uint64_t *size)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return lti_fail_errno(ctx, errno, "open", path);
    lt_status status = LT_OK;
    if (fstat(*fd, &st) != 0)
        status = lti_fail_errno(ctx, errno, "stat", path);
    else if (S_ISDIR(st.st_mode))
        status = lti_fail(ctx, LT_EIO, "%s is a directory where a file was expected; name a file in it", path);
    else if (!S_ISREG(st.st_mode))
        status = lti_fail(ctx, LT_EIO, "%s is no regular file (a pipe or a device); copy it to a file first", path);
    else if (st.st_size == 0)
        status = lti_fail(ctx, LT_EFORMAT, "%s is empty (0 bytes); was it copied completely?", path);
    if (status != LT_OK) {
        close(*fd);
        *fd = -1;
        return status;
    }
    *size = (uint64_t)st.st_size;
    return LT_OK;
}

static lt_status refuse_pointer(lt_ctx *ctx, const char *path, const void *bytes, uint64_t size)
{
    static const char mark[] = "version https://git-lfs.github.com/spec/";
    if (size < sizeof mark - 1 || memcmp(bytes, mark, sizeof mark - 1) != 0) return LT_OK;
    return lti_fail(ctx, LT_EFORMAT,
                    "%s is a git-lfs pointer of %" PRIu64 " bytes, not the file itself; fetch it with `git lfs pull`",
                    path, size);
}

lt_status lti_file_map(lt_ctx *ctx, const char *path, lti_map *map)
{
    int fd;
    uint64_t size;
    LTI_TRY(open_regular(ctx, path, &fd, &size));
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (data == MAP_FAILED) return lti_fail_errno(ctx, error, "map", path);
    *map = (lti_map){data, size};
    lt_status status = refuse_pointer(ctx, path, data, size);
    if (status != LT_OK) lti_file_unmap(map);
    return status;
}

void lti_file_unmap(lti_map *map)
{
    if (map->data) munmap((void *)map->data, map->size);
    *map = (lti_map){0};
}

static lt_status read_all(lt_ctx *ctx, const char *path, int fd, char *bytes, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = read(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return lti_fail_errno(ctx, errno, "read", path);
        if (n == 0)
            return lti_fail(ctx, LT_EIO, "%s ended at byte %" PRIu64 " of %" PRIu64 ": it was shortened while read",
                            path, done, size);
        done += (uint64_t)n;
    }
    return LT_OK;
}

lt_status lti_file_read(lt_ctx *ctx, const char *path, uint64_t limit, char **bytes, uint64_t *size)
{
    int fd;
    LTI_TRY(open_regular(ctx, path, &fd, size));
    lt_status status = LT_OK;
    *bytes = NULL;
    if (*size > limit)
        status = lti_fail(ctx, LT_ELIMIT, "%s has %" PRIu64 " bytes; at most %" PRIu64 " are read of such a file", path,
                          *size, limit);
    else if (!(*bytes = lti_alloc(ctx, *size + 1)))
        status = LT_ENOMEM;
    else if ((status = read_all(ctx, path, fd, *bytes, *size)) == LT_OK)
        status = refuse_pointer(ctx, path, *bytes, *size);
    close(fd);
    if (status != LT_OK) {
        lti_free(ctx, *bytes);
        *bytes = NULL;
    }
    return status;
}

/* Reads to the end of the stream into a block that doubles. */
static lt_status unpack(lt_ctx *ctx, const char *path, gzFile stream, uint64_t limit, char **bytes, uint64_t *size)
{
    uint64_t capacity = 0;
    *size = 0;
    for (;;) {
        if (*size + 1 >= capacity) {
            uint64_t wider = capacity ? 2 * capacity : 1 << 16;
            char *grown = lti_realloc(ctx, *bytes, *size, wider);
            if (!grown) return LT_ENOMEM;
            *bytes = grown;
            capacity = wider;
        }
        uint64_t room = capacity - *size - 1;
        int n = gzread(stream, *bytes + *size, room > 1 << 26 ? 1 << 26 : (unsigned)room);
        if (n <= 0) break;
        *size += (uint64_t)n;
        if (*size > limit)
            return lti_fail(ctx, LT_ELIMIT, "%s unpacks to more than %" PRIu64 " bytes, the limit", path, limit);
    }
    int code;
    const char *reason = gzerror(stream, &code);
    if (code == Z_ERRNO) return lti_fail_errno(ctx, errno, "read", path);
    if (code == Z_MEM_ERROR) return lti_fail(ctx, LT_ENOMEM, "out of memory while unpacking %s", path);
    if (code == Z_BUF_ERROR) reason = "the gzip stream ends too early";
    if (code != Z_OK && code != Z_STREAM_END)
        return lti_fail(ctx, LT_EFORMAT, "%s: damaged after %" PRIu64 " unpacked bytes: %s; fetch it again", path,
                        *size, reason);
    if (*size == 0) return lti_fail(ctx, LT_EFORMAT, "%s unpacks to nothing (0 bytes)", path);
    (*bytes)[*size] = 0;
    return LT_OK;
}

lt_status lti_file_unpack(lt_ctx *ctx, const char *path, uint64_t limit, char **bytes, uint64_t *size)
{
    int fd;
    uint64_t packed;
    LTI_TRY(open_regular(ctx, path, &fd, &packed));
    *bytes = NULL;
    gzFile stream = gzdopen(fd, "rb");
    if (!stream) {
        close(fd);
        return lti_fail(ctx, LT_ENOMEM, "out of memory while opening %s", path);
    }
    lt_status status = unpack(ctx, path, stream, limit, bytes, size);
    gzclose(stream);
    if (status == LT_OK) status = refuse_pointer(ctx, path, *bytes, *size);
    if (status != LT_OK) {
        lti_free(ctx, *bytes);
        *bytes = NULL;
    }
    return status;
}

bool lti_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool lti_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *lti_path_join(lt_ctx *ctx, const char *dir, const char *name)
{
    size_t room = strlen(dir) + strlen(name) + 2;
    char *path = lti_alloc(ctx, room);
    if (path) snprintf(path, room, "%s%s%s", dir, *dir && dir[strlen(dir) - 1] == '/' ? "" : "/", name);
    return path;
}

static lt_status make_one(lt_ctx *ctx, const char *path)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && lti_is_directory(path))) return LT_OK;
    return lti_fail_errno(ctx, errno == EEXIST ? ENOTDIR : errno, "make directory", path);
}

lt_status lti_mkdirs(lt_ctx *ctx, const char *path)
{
    char *part = lti_strdup(ctx, path);
    if (!part) return LT_ENOMEM;
    lt_status status = LT_OK;
    for (char *slash = strchr(part + (*part == '/'), '/'); slash && status == LT_OK; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (*part) status = make_one(ctx, part);
        *slash = '/';
    }
    if (status == LT_OK) status = make_one(ctx, path);
    lti_free(ctx, part);
    return status;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

lt_status lti_remove_tree(lt_ctx *ctx, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0) return errno == ENOENT ? LT_OK : lti_fail_errno(ctx, errno, "remove", path);
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        return lti_fail_errno(ctx, errno, "remove", path);
    return LT_OK;
}
