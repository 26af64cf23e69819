/* machine.c - see machine.h. Reading is all that a generating model does to memory, so the buffer is read and not
 * copied; a sum keeps the compiler from leaving that out. The kernel lets only root read energy counters since they
 * were found to leak secrets (CVE-2020-8694): then the reason says so. */
#include "cli/machine.h"

#include "base/par.h"
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Bandwidth ---- */

enum { PIECE = 1 << 20, PIECES = 256 };

typedef struct buffer {
    uint64_t *words; /* [PIECES][PIECE / 8] */
    uint64_t sums[PIECES];
} buffer;

static void fill_piece(void *arg, int64_t task, int thread)
{
    (void)thread;
    buffer *b = arg;
    memset((char *)b->words + task * PIECE, (int)task + 1, PIECE);
}

static void read_piece(void *arg, int64_t task, int thread)
{
    (void)thread;
    buffer *b = arg;
    const uint64_t *x = b->words + task * (PIECE / 8);
    uint64_t sum[8] = {0};
    for (int64_t i = 0; i < PIECE / 8; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += x[i + k];
    for (int k = 0; k < 8; k++) b->sums[task] += sum[k];
}

double cli_memory_bandwidth(void)
{
    buffer b = {.words = aligned_alloc(64, (size_t)PIECE * PIECES)};
    if (!b.words) return 0;
    lti_par(PIECES, fill_piece, &b);
    double best = 0, end = cli_seconds() + 0.5;
    do {
        double start = cli_seconds();
        lti_par(PIECES, read_piece, &b);
        double rate = (double)PIECE * PIECES / (cli_seconds() - start);
        if (rate > best) best = rate;
    } while (cli_seconds() < end);
    free(b.words);
    return best;
}

/* ---- Energy ---- */

#define POWERCAP "/sys/class/powercap"

static bool read_counter(const char *path, const char *name, uint64_t *value)
{
    char full[400];
    unsigned long long number;
    snprintf(full, sizeof full, "%s/%s", path, name);
    FILE *file = fopen(full, "re");
    bool read = file && fscanf(file, "%llu", &number) == 1;
    int error = file ? EIO : errno;
    if (file) fclose(file);
    if (read) *value = number;
    errno = error;
    return read;
}

void cli_energy_start(cli_energy *e)
{
    *e = (cli_energy){.reason = "this machine shows no energy counters (no " POWERCAP "/intel-rapl:*)"};
    DIR *directory = opendir(POWERCAP);
    const struct dirent *entry;
    while (directory && e->count < CLI_PACKAGES && (entry = readdir(directory))) {
        const char *colon = strchr(entry->d_name, ':');
        if (strncmp(entry->d_name, "intel-rapl:", 11) || strchr(colon + 1, ':')) continue; /* a part of a package */
        char *path = e->path[e->count];
        snprintf(path, sizeof e->path[0], "%s/%s", POWERCAP, entry->d_name);
        if (!read_counter(path, "max_energy_range_uj", &e->range[e->count])) e->range[e->count] = 0;
        if (read_counter(path, "energy_uj", &e->start[e->count]))
            e->count++;
        else
            snprintf(e->reason, sizeof e->reason, POWERCAP "/%.30s/energy_uj cannot be read: %s", entry->d_name,
                     strerror(errno));
    }
    if (directory) closedir(directory);
}

double cli_energy_joules(const cli_energy *e)
{
    double joules = 0;
    for (int i = 0; i < e->count; i++) {
        uint64_t now;
        if (!read_counter(e->path[i], "energy_uj", &now)) return NAN;
        uint64_t wrapped = now < e->start[i] ? e->range[i] : 0;
        joules += 1e-6 * (double)(now + wrapped - e->start[i]);
    }
    return e->count ? joules : NAN;
}
