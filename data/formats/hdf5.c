/* hdf5.c - datasets of HDF5 files, read by the helper process lathe-h5.
 *
 * posix_spawn rather than fork: a child of fork would copy page tables of gigabytes and must not touch OpenMP. The
 * elements come through an anonymous file (memfd) that only the two processes know. Whatever happens to the helper, a
 * segmentation fault or a limit, is an error message here. */
#include "data/files.h"
#include "data/formats/h5_message.h"
#include "lathe/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_ROOM 4096

/* Puts the first runnable candidate into `path`. */
static lt_status find_helper(lt_ctx *ctx, char path[PATH_ROOM])
{
    const char *chosen = getenv("LT_H5_HELPER");
    if (chosen && *chosen) {
        if (strlen(chosen) >= PATH_ROOM || access(chosen, X_OK) != 0)
            return lti_fail(ctx, LT_EIO, "LT_H5_HELPER=%s is not a program; point it at lathe-h5", chosen);
        snprintf(path, PATH_ROOM, "%s", chosen);
        return LT_OK;
    }
    char self[PATH_ROOM / 2];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash) {
        static const char *const places[] = {"", "../libexec/", "../"};
        *slash = 0;
        for (int i = 0; i < LTI_COUNT(places); i++) {
            snprintf(path, PATH_ROOM, "%s/%slathe-h5", self, places[i]);
            if (access(path, X_OK) == 0) return LT_OK;
        }
    }
#ifdef LT_H5_HELPER_PATH
    snprintf(path, PATH_ROOM, "%s", LT_H5_HELPER_PATH);
    if (access(path, X_OK) == 0) return LT_OK;
#endif
    return lti_fail(ctx, LT_EIO,
                    "HDF5 files are read by the program lathe-h5, which is neither beside %s nor in ../libexec; set "
                    "LT_H5_HELPER to where it is",
                    slash ? self : "this program");
}

/* The helper inherits the message file and nothing else: no descriptors, no environment, default signals. */
static int spawn(const char *helper, const char *path, const char *dataset, int fd, pid_t *child)
{
    char *argv[] = {(char *)"lathe-h5", (char *)path, (char *)dataset, NULL};
    char *environment[] = {(char *)"HDF5_USE_FILE_LOCKING=FALSE", NULL}; /* read-only places have no locks */
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        if (!error) error = posix_spawn_file_actions_adddup2(&actions, fd, LTI_H5_FD);
        for (int i = 0; i < 3 && !error; i++)
            error = posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
        if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, LTI_H5_FD + 1);
        if (!error) error = posix_spawn(child, helper, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static lt_status run_helper(lt_ctx *ctx, const char *path, const char *dataset, int fd, int *code)
{
    char helper[PATH_ROOM];
    LTI_TRY(find_helper(ctx, helper));
    pid_t child;
    int error = spawn(helper, path, dataset, fd, &child);
    if (error) return lti_fail_errno(ctx, error, "start", helper);
    pid_t waited;
    int state = 0;
    do waited = waitpid(child, &state, 0);
    while (waited < 0 && errno == EINTR);
    if (waited < 0) return lti_fail_errno(ctx, errno, "wait for", helper);
    if (WIFSIGNALED(state) && WTERMSIG(state) == SIGXCPU)
        return lti_fail(ctx, LT_EFORMAT, "%s is damaged: reading '%s' took too long", path, dataset);
    if (WIFSIGNALED(state))
        return lti_fail(ctx, LT_EFORMAT, "%s is damaged: libhdf5 crashed on '%s' (%s); this program did not", path,
                        dataset, strsignal(WTERMSIG(state)));
    *code = WEXITSTATUS(state);
    return LT_OK;
}

/* Reads the message and holds it against the size of the file it came in. */
static lt_status check_message(lt_ctx *ctx, const char *path, const char *dataset, int fd, int code,
                               lti_h5_message *message, int64_t *count)
{
    struct stat st;
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE);
    if (fstat(fd, &st) != 0 || pread(fd, message, sizeof *message, 0) != (ssize_t)sizeof *message)
        return lti_fail(ctx, LT_EIO, "%s: no answer from lathe-h5", path);
    message->text[sizeof message->text - 1] = 0;
    if (message->magic == LTI_H5_MAGIC && code == LTI_H5_REFUSED && message->status > LT_OK &&
        message->status <= LT_EINTERRUPTED)
        return lti_fail(ctx, (lt_status)message->status, "%s: dataset '%s': %s", path, dataset, message->text);
    if (message->magic != LTI_H5_MAGIC || code != 0)
        return lti_fail(ctx, LT_EFORMAT, "%s is damaged: lathe-h5 gave up on '%s' with code %d", path, dataset, code);
    bool fine = message->rank <= LTI_H5_RANK && message->kind >= LTI_H5_I32 && message->kind <= LTI_H5_F64;
    *count = 1;
    for (uint32_t i = 0; fine && i < message->rank; i++)
        fine = message->shape[i] >= 0 && !__builtin_mul_overflow(*count, message->shape[i], count);
    uint64_t bytes = message->kind == LTI_H5_I32 || message->kind == LTI_H5_F32 ? 4 : 8;
    fine = fine && !__builtin_mul_overflow(bytes, (uint64_t)*count, &bytes) && bytes == message->bytes &&
           bytes <= (uint64_t)INT64_MAX - LTI_H5_DATA && (uint64_t)st.st_size == LTI_H5_DATA + bytes;
    if (!fine) return lti_fail(ctx, LT_EFORMAT, "%s is damaged: lathe-h5 returned '%s' in a false size", path, dataset);
    return LT_OK;
}

/* Copies the elements out of the mapping. */
static lt_status convert(lt_ctx *ctx, const char *path, const char *dataset, uint32_t kind, const void *data,
                         lt_array *array)
{
    bool whole = kind == LTI_H5_I32 || kind == LTI_H5_I64;
    if (whole)
        array->ints = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->ints);
    else
        array->real = lti_alloc_array(ctx, (size_t)array->count, sizeof *array->real);
    if (!array->ints && !array->real) return LT_ENOMEM;
    for (int64_t i = 0; i < array->count; i++) {
        int64_t value;
        switch (kind) {
        case LTI_H5_I32: array->ints[i] = ((const int32_t *)data)[i]; break;
        case LTI_H5_F32: array->real[i] = ((const float *)data)[i]; break;
        case LTI_H5_F64: array->real[i] = (lt_real)((const double *)data)[i]; break;
        default:
            value = ((const int64_t *)data)[i];
            if (value < INT32_MIN || value > INT32_MAX)
                return lti_fail(ctx, LT_EUNSUPPORTED,
                                "%s: dataset '%s': element %" PRId64 " passes 32 bits; store it as int32 or float",
                                path, dataset, i);
            array->ints[i] = (int32_t)value;
        }
    }
    return LT_OK;
}

static lt_status receive(lt_ctx *ctx, const char *path, const char *dataset, int fd, lt_array *array)
{
    int code = -1;
    lti_h5_message message;
    LTI_TRY(run_helper(ctx, path, dataset, fd, &code));
    LTI_TRY(check_message(ctx, path, dataset, fd, code, &message, &array->count));
    array->rank = (int)message.rank;
    memcpy(array->shape, message.shape, sizeof message.shape);
    if (array->count == 0) return convert(ctx, path, dataset, message.kind, NULL, array);
    size_t size = LTI_H5_DATA + message.bytes;
    const char *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return lti_fail_errno(ctx, errno, "map the elements of", path);
    lt_status status = convert(ctx, path, dataset, message.kind, map + LTI_H5_DATA, array);
    munmap((void *)map, size);
    return status;
}

lt_status lt_h5_read(lt_ctx *ctx, const char *path, const char *dataset, lt_array *array)
{
    _Static_assert(LTI_H5_RANK == LT_MAX_RANK, "a shape of the message fits an array");
    *array = (lt_array){0};
    lti_map probe; /* tells what is no file, empty or a pointer before a process is started */
    LTI_TRY(lti_file_map(ctx, path, &probe));
    lti_file_unmap(&probe);
    int fd = memfd_create("lathe-h5", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return lti_fail_errno(ctx, errno, "make shared memory for", path);
    lt_status status = LT_OK;
    if (ftruncate(fd, LTI_H5_DATA) != 0)
        status = lti_fail_errno(ctx, errno, "make shared memory for", path);
    else
        status = receive(ctx, path, dataset, fd, array);
    close(fd);
    if (status != LT_OK) lt_array_free(ctx, array);
    return status;
}

void lt_array_free(lt_ctx *ctx, lt_array *array)
{
    lti_free(ctx, array->real);
    lti_free(ctx, array->ints);
    *array = (lt_array){0};
}
