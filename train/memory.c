/* memory.c - what the process uses and what it may use, from /proc and the cgroup. */
#include "lathe/train.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A small file of /proc or /sys as text; "" when it cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
}

/* "Key:   123 kB" in bytes; 0 when the key is not there. */
static uint64_t kilobytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    unsigned long long kb = 0;
    return at && sscanf(at + strlen(key), " %llu", &kb) == 1 ? kb * 1024 : 0;
}

/* Bytes the cgroup (v2) still lets us have; UINT64_MAX without a limit. */
static uint64_t cgroup_left(void)
{
    char limit[64], used[64];
    read_text("/sys/fs/cgroup/memory.max", limit, sizeof limit);
    read_text("/sys/fs/cgroup/memory.current", used, sizeof used);
    unsigned long long max, now;
    if (sscanf(limit, "%llu", &max) != 1 || sscanf(used, "%llu", &now) != 1) return UINT64_MAX;
    return max > now ? max - now : 0;
}

lt_memory lt_memory_now(void)
{
    char status[4096], meminfo[2048];
    read_text("/proc/self/status", status, sizeof status);
    read_text("/proc/meminfo", meminfo, sizeof meminfo);
    lt_memory m = {.rss = kilobytes(status, "VmRSS:"),
                   .peak_rss = kilobytes(status, "VmHWM:"),
                   .anonymous = kilobytes(status, "RssAnon:"),
                   .file = kilobytes(status, "RssFile:"),
                   .available = kilobytes(meminfo, "MemAvailable:")};
    uint64_t left = cgroup_left();
    if (left < m.available) m.available = left;
    return m;
}
