/* foreign.c - see foreign.h. Git-lfs pointers and empty files are refused earlier, by lti_file_map.
 *
 * Kinds are recognised by their first bytes alone, as file(1) does it. The names of files are not looked at: it is
 * files with a wrong name that end up here. */
#include "data/foreign.h"

#include <ctype.h>
#include <string.h>

#define LOOK 4096u /* where a mark may stand */

#define PICKLE "a PyTorch pickle"
#define NO_PICKLE                                                                                                      \
    "lathe does not run pickles, they are programs; save the weights with safetensors.torch.save_file and use that "   \
    "file"
#define UNPACK "unpack it first"

static const struct {
    const char *bytes;
    int count;
    const char *kind, *advice;
} magics[] = {
    {"GGUF", 4, "a GGUF file", "name it .gguf, or choose a .safetensors file"},
    {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file", "convert it to safetensors with the program that wrote it"},
    {"\x1f\x8b", 2, "a gzip file", UNPACK},
    {"\x28\xb5\x2f\xfd", 4, "a zstd file", UNPACK},
    {"\xfd"
     "7zXZ",
     5, "an xz file", UNPACK},
    {"BZh", 3, "a bzip2 file", UNPACK},
    {"\x93NUMPY", 6, "a NumPy array", "write it with safetensors.numpy.save_file"},
    {"%PDF", 4, "a PDF document", "fetch the model itself"},
    {"tjgg", 4, "a GGML file of before GGUF", "convert the original model again with a newer llama.cpp"},
    {"fmgg", 4, "a GGML file of before GGUF", "convert the original model again with a newer llama.cpp"},
    {"lmgg", 4, "a GGML file of before GGUF", "convert the original model again with a newer llama.cpp"},
};

static bool begins(const lti_map *map, const char *bytes, size_t count)
{
    return map->size >= count && memcmp(map->data, bytes, count) == 0;
}

static bool mentions(const lti_map *map, const char *word)
{
    return memmem(map->data, map->size < LOOK ? map->size : LOOK, word, strlen(word)) != NULL;
}

/* Whether the first thing that is no blank is `word`, in either case. */
static bool opens_with(const lti_map *map, const char *word)
{
    uint64_t at = begins(map, "\xef\xbb\xbf", 3) ? 3 : 0, end = map->size < LOOK ? map->size : LOOK;
    if (memchr(map->data, 0, end < 64 ? end : 64)) return false; /* no text */
    while (at < end && isspace(map->data[at])) at++;
    for (; *word; word++, at++)
        if (at >= map->size || tolower(map->data[at]) != *word) return false;
    return true;
}

/* Eight bytes of a size below 2^32, then a brace: what safetensors begins with, complete or not. Asked first, because
 * such a size may look like other things: 35,615 is a gzip file, 123 a brace. */
static bool like_safetensors(const lti_map *map)
{
    return map->size > 8 && memcmp(map->data + 4, "\0\0\0\0{", 5) == 0;
}

static bool like_pickle(const lti_map *map)
{
    return map->size > 2 && map->data[0] == 0x80 && map->data[1] >= 2 && map->data[1] <= 5 && map->data[2];
}

static lt_status explain(lt_ctx *ctx, const char *path, const char *kind, const char *wanted, const char *advice)
{
    return lti_fail(ctx, LT_EFORMAT, "%s: byte 0: this is %s, not a %s file; %s", path, kind, wanted, advice);
}

lt_status lti_explain_foreign(lt_ctx *ctx, const char *path, const lti_map *map, const char *wanted)
{
    if (like_safetensors(map))
        return strcmp(wanted, "safetensors") == 0
                   ? LT_OK
                   : explain(ctx, path, "a safetensors file", wanted, "name it .safetensors");
    for (int i = 0; i < LTI_COUNT(magics); i++)
        if (begins(map, magics[i].bytes, (size_t)magics[i].count))
            return explain(ctx, path, magics[i].kind, wanted, magics[i].advice);
    if (begins(map, "PK\3\4", 4) && mentions(map, "data.pkl")) return explain(ctx, path, PICKLE, wanted, NO_PICKLE);
    if (begins(map, "PK\3\4", 4)) return explain(ctx, path, "a zip archive", wanted, UNPACK);
    if (like_pickle(map)) return explain(ctx, path, PICKLE, wanted, NO_PICKLE);
    if (opens_with(map, "<!doctype html") || opens_with(map, "<html") || opens_with(map, "<head"))
        return explain(ctx, path, "an HTML page", wanted,
                       "the download link gave a web page instead of the model; open it in a browser to see why");
    if (opens_with(map, "<?xml") || opens_with(map, "<error"))
        return explain(ctx, path, "an XML text", wanted, "read it: it is often the error message of a server");
    if (opens_with(map, "{") || opens_with(map, "["))
        return explain(ctx, path, "a JSON text", wanted,
                       "read it: it is a configuration, an index or the error message of a server");
    return LT_OK;
}
