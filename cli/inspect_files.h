/* inspect_files.h - one file of tensors as JSON, whatever its format: {"path", "format", "count", "elements", "bytes",
 * "types": {name: bytes}, "metadata": {..}, "tensors": [{"name", "type", "shape", "elements", "bytes", "offset"}]}. */
#ifndef CLI_INSPECT_FILES_H
#define CLI_INSPECT_FILES_H

#include "cli/cli.h"

/* By the file's content and name; an exit code. */
int cli_inspect_file(cli *cli, const char *path, json_t **out);

#endif
