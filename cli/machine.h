/* machine.h - what the machine can do and what it uses: memory bandwidth, energy. */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <stdint.h>

/* Bytes a second that all threads together read from a buffer larger than any cache, the best of some passes within
 * half a second. 0 when memory is out. */
double cli_memory_bandwidth(void);

enum { CLI_PACKAGES = 8 };
typedef struct cli_energy {
    int count; /* 0: the machine shows none, for this reason */
    char reason[160];
    uint64_t start[CLI_PACKAGES], range[CLI_PACKAGES]; /* microjoules; where the counter wraps */
    char path[CLI_PACKAGES][300];
} cli_energy;
/* Counters of the processor packages (RAPL), from now on. */
void cli_energy_start(cli_energy *energy);
/* Joules since the start, NAN when there are none. A counter may have wrapped once. */
double cli_energy_joules(const cli_energy *energy);

#endif
