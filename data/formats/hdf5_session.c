/* hdf5_session.c - starting lathe-h5, asking it, and outliving it.
 *
 * posix_spawn rather than fork: a child of fork would copy page tables of gigabytes and must not touch OpenMP. Whatever
 * happens to the helper, a segmentation fault or a limit, is an error message here. Nothing is ever killed: the helper
 * sets itself an alarm for every request, and this side stops waiting a second later. lathe keeps the reading end of
 * the requests too, so that writing to a dead helper raises no SIGPIPE. */
#include "data/formats/hdf5_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
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
                    "HDF5 files are read and written by the program lathe-h5, which is neither beside %s nor in "
                    "../libexec; set LT_H5_HELPER to where it is",
                    slash ? self : "this program");
}

/* The helper inherits its three descriptors and nothing else: no environment, default signals. */
static int spawn(const char *helper, char *const *argv, const int given[3], pid_t *child)
{
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
        for (int i = 0; i < 3 && !error; i++)
            error = posix_spawn_file_actions_adddup2(&actions, given[i], LTI_H5_MEMORY + i);
        for (int i = 0; i < 3 && !error; i++)
            error = posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_RDWR, 0);
        if (!error) error = posix_spawn_file_actions_addclosefrom_np(&actions, LTI_H5_REPLIES + 1);
        if (!error) error = posix_spawn(child, helper, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static void close_all(int *fds, int n)
{
    for (int i = 0; i < n; i++) {
        if (fds[i] >= 0) close(fds[i]);
        fds[i] = -1;
    }
}

/* memory, requests to read and to write, replies to read and to write; all above those the helper gets them as. */
static int open_channels(int fds[5])
{
    int pipes[4] = {-1, -1, -1, -1}, low[5];
    for (int i = 0; i < 5; i++) fds[i] = -1;
    low[0] = memfd_create("lathe-h5", MFD_CLOEXEC);
    int error = low[0] < 0 || ftruncate(low[0], LTI_H5_WINDOW) != 0 || pipe2(pipes, O_CLOEXEC) != 0 ||
                        pipe2(pipes + 2, O_CLOEXEC) != 0
                    ? errno
                    : 0;
    memcpy(low + 1, pipes, sizeof pipes);
    for (int i = 0; i < 5 && !error; i++) {
        fds[i] = fcntl(low[i], F_DUPFD_CLOEXEC, LTI_H5_REPLIES + 1);
        if (fds[i] < 0) error = errno;
    }
    close_all(low, 5);
    if (error) close_all(fds, 5);
    return error;
}

static int seconds_allowed(void)
{
    const char *text = getenv("LT_H5_SECONDS");
    long seconds = text ? strtol(text, NULL, 10) : 0;
    return seconds >= 1 && seconds <= 86400 ? (int)seconds : 60;
}

lt_status lti_h5_start(lt_ctx *ctx, const char *path, const char *name, bool writing, lti_h5_session *session)
{
    char helper[PATH_ROOM], seconds[16];
    int fds[5];
    *session = (lti_h5_session){.ctx = ctx, .name = name, .writing = writing, .seconds = seconds_allowed()};
    LTI_TRY(find_helper(ctx, helper));
    int error = open_channels(fds);
    if (error) return lti_fail_errno(ctx, error, "make shared memory for", name);
    snprintf(seconds, sizeof seconds, "%d", session->seconds);
    char *argv[] = {(char *)"lathe-h5", (char *)(writing ? "write" : "read"), (char *)path, seconds, NULL};
    error = spawn(helper, argv, (int[3]){fds[0], fds[1], fds[4]}, &session->child);
    close_all(fds + 4, 1);
    if (error) {
        close_all(fds, 4);
        session->child = 0;
        return lti_fail_errno(ctx, error, "start", helper);
    }
    session->memory = fds[0];
    session->requests[0] = fds[1];
    session->requests[1] = fds[2];
    session->replies = fds[3];
    lt_status status = lti_h5_ask(session, LTI_H5_OPEN, NULL);
    if (status != LT_OK) lti_h5_stop(session);
    return status;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Closes the pipes, at which the helper ends, and waits for that until `deadline`; a helper that lives on beyond it is
 * left to its own alarm. False when its state is not known. */
static bool end(lti_h5_session *session, int64_t deadline, int *state)
{
    close(session->memory);
    close_all(session->requests, 2);
    close_all(&session->replies, 1);
    pid_t waited;
    while ((waited = waitpid(session->child, state, WNOHANG)) == 0 && now() < deadline) poll(NULL, 0, 1);
    bool known = waited == session->child;
    session->child = 0;
    return known;
}

void lti_h5_stop(lti_h5_session *session)
{
    int state;
    if (session->child) end(session, now() + 1000, &state);
}

/* The helper has closed its pipe: says why. */
static lt_status fail_dead(lti_h5_session *session, const char *about)
{
    int state = 0;
    bool known = end(session, now() + 1000, &state);
    const char *place = about ? about : "the file";
    int signal = known && WIFSIGNALED(state) ? WTERMSIG(state) : 0;
    if (session->writing)
        return lti_fail(session->ctx, LT_EIO, "cannot write %s: lathe-h5 ended at '%s' (%s); nothing was changed",
                        session->name, place, signal ? strsignal(signal) : "without a reason");
    if (signal == SIGXCPU || signal == SIGALRM)
        return lti_fail(session->ctx, LT_EFORMAT,
                        "%s is damaged: reading '%s' took too long (more than %d s; LT_H5_SECONDS raises this)",
                        session->name, place, session->seconds);
    if (signal)
        return lti_fail(session->ctx, LT_EFORMAT, "%s is damaged: libhdf5 crashed on '%s' (%s); this program did not",
                        session->name, place, strsignal(signal));
    return lti_fail(session->ctx, LT_EFORMAT, "%s is damaged: lathe-h5 gave up on '%s' with code %d", session->name,
                    place, known ? WEXITSTATUS(state) : -1);
}

/* One byte of the replies, or why there is none. */
static lt_status await(lti_h5_session *session, const char *about)
{
    char reply;
    struct stat st;
    uint64_t window = fstat(session->memory, &st) == 0 ? (uint64_t)st.st_size : 0;
    int64_t wait = 1000 * (int64_t)session->seconds + (int64_t)(window / 10000) + 1000, deadline = now() + wait;
    for (;;) {
        struct pollfd poller = {.fd = session->replies, .events = POLLIN};
        int64_t left = deadline - now();
        int ready = left <= 0 ? 0 : poll(&poller, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) break;
        ssize_t n = read(session->replies, &reply, 1);
        if (n < 0 && errno == EINTR) continue;
        return n == 1 ? LT_OK : fail_dead(session, about);
    }
    int state;
    end(session, now(), &state);
    return lti_fail(session->ctx, LT_EIO,
                    "%s: lathe-h5 has not answered for %d s%s%s; is the disk slow? LT_H5_SECONDS=600 waits longer",
                    session->name, (int)(wait / 1000), about ? " about " : "", about ? about : "");
}

lt_status lti_h5_ask(lti_h5_session *session, char request, const char *about)
{
    lt_ctx *ctx = session->ctx;
    lti_h5_message *message = &session->message;
    if (!session->child) return lti_fail(ctx, LT_EIO, "%s: lathe-h5 has ended", session->name);
    message->magic = 0;
    if (pwrite(session->memory, message, sizeof *message, 0) != (ssize_t)sizeof *message ||
        write(session->requests[1], &request, 1) != 1)
        return lti_fail_errno(ctx, errno, "ask lathe-h5 about", session->name);
    LTI_TRY(await(session, about));
    if (pread(session->memory, message, sizeof *message, 0) != (ssize_t)sizeof *message)
        return lti_fail(ctx, LT_EIO, "%s: no answer from lathe-h5", session->name);
    message->text[sizeof message->text - 1] = 0;
    if (message->magic != LTI_H5_MAGIC || message->status < LT_OK || message->status > LT_EINTERRUPTED)
        return lti_fail(ctx, LT_EFORMAT, "%s: the answer of lathe-h5 makes no sense; are both of one version?",
                        session->name);
    if (message->status == LT_OK) return LT_OK;
    if (!about) return lti_fail(ctx, (lt_status)message->status, "%s: %s", session->name, message->text);
    return lti_fail(ctx, (lt_status)message->status, "%s: dataset '%s': %s", session->name, about, message->text);
}

lt_status lti_h5_take(lti_h5_session *session, uint64_t at, void *bytes, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        ssize_t n = pread(session->memory, (char *)bytes + done, count - done, (off_t)(LTI_H5_WINDOW + at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return lti_fail(session->ctx, LT_EFORMAT, "%s is damaged: lathe-h5 gave fewer bytes than it said",
                            session->name);
        done += (uint64_t)n;
    }
    return LT_OK;
}

lt_status lti_h5_give(lti_h5_session *session, uint64_t at, const void *bytes, uint64_t count)
{
    for (uint64_t done = 0; done < count;) {
        ssize_t n =
            pwrite(session->memory, (const char *)bytes + done, count - done, (off_t)(LTI_H5_WINDOW + at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return lti_fail_errno(session->ctx, errno, "share memory for", session->name);
        done += (uint64_t)n;
    }
    return LT_OK;
}
