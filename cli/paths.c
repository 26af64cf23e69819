/* paths.c - directories the program writes to. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *cli_join(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s%s%s", directory, *directory && directory[strlen(directory) - 1] == '/' ? "" : "/",
                 name);
    return path;
}

bool cli_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool cli_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

static int make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int refused = mkdir(path, 0777) && errno != EEXIST;
        *slash = '/';
        if (refused) return -1;
    }
    return mkdir(path, 0777) && errno != EEXIST ? -1 : 0;
}

int cli_make_output(cli *c, const char *directory)
{
    char *path = *directory ? strdup(directory) : NULL;
    char *probe = cli_join(directory, ".lathe-XXXXXX");
    int code = EXIT_DONE, file = -1;
    if (!*directory) {
        code = cli_fail(c, EXIT_USAGE, "an empty name for the output directory; give --out DIR");
    } else if (!path || !probe) {
        code = cli_fail(c, EXIT_MEMORY, "out of memory at the start");
    } else if (make_directories(path) || !cli_is_directory(path)) {
        code = cli_fail(c, EXIT_IO, "%s: cannot make the output directory: %s; choose another --out", directory,
                        strerror(errno));
    } else if ((file = mkstemp(probe)) < 0) {
        code = cli_fail(c, EXIT_IO, "%s: cannot write into the output directory: %s; choose another --out", directory,
                        strerror(errno));
    }
    if (file >= 0) {
        close(file);
        unlink(probe);
    }
    free(path);
    free(probe);
    return code;
}

const char *cli_last_part(const char *path)
{
    const char *part = path;
    for (const char *at = path; at && *at; at++)
        if (*at == '/' && at[1] && at[1] != '/') part = at + 1;
    return part;
}
