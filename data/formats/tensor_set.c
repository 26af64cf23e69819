/* tensor_set.c - lt_tensors: a model's tensors from one safetensors file or from shards with their index.
 *
 * An index names files, and a name in a file is not to be trusted: only bare names in the index's own directory are
 * opened. Index and headers must agree exactly; a tensor one of them does not know is an error, not a default. */
#include "base/text.h"
#include "data/formats/stored_real.h"
#include "data/formats/tensor_file.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_LIMIT (64u << 20)
#define SHARD_LIMIT 10000u

struct lt_tensors {
    lt_ctx *ctx;
    lti_shard *shards;
    int shard_count, count;
    lti_tensor *list; /* by shard, then by offset */
    int *by_name;     /* indices into list, sorted by name */
};

static int order_names(const void *a, const void *b, void *arg)
{
    const lti_tensor *list = arg;
    return strcmp(list[*(const int *)a].name, list[*(const int *)b].name);
}

/* Joins the shards' lists and refuses a name that occurs twice. */
static lt_status join(lt_tensors *t)
{
    size_t count = 0;
    for (int s = 0; s < t->shard_count; s++) count += (size_t)t->shards[s].count;
    t->list = lti_alloc_array(t->ctx, count, sizeof *t->list);
    t->by_name = lti_alloc_array(t->ctx, count, sizeof *t->by_name);
    if (!t->list || !t->by_name) return LT_ENOMEM;
    for (int s = 0; s < t->shard_count; s++)
        for (int i = 0; i < t->shards[s].count; i++) {
            t->by_name[t->count] = t->count;
            t->list[t->count] = t->shards[s].list[i];
            t->list[t->count++].shard = s;
        }
    qsort_r(t->by_name, count, sizeof *t->by_name, order_names, t->list);
    for (size_t i = 1; i < count; i++) {
        const lti_tensor *a = &t->list[t->by_name[i - 1]], *b = &t->list[t->by_name[i]];
        if (strcmp(a->name, b->name) == 0)
            return lti_fail(t->ctx, LT_EFORMAT, "tensor '%.200s' lies in two shards: %s and %s", a->name,
                            t->shards[a->shard].path, t->shards[b->shard].path);
    }
    return LT_OK;
}

static lt_status open_single(lt_tensors *t, const char *path)
{
    t->shards = lti_alloc(t->ctx, sizeof *t->shards);
    if (!t->shards) return LT_ENOMEM;
    LTI_TRY(lti_shard_open(t->ctx, path, &t->shards[0]));
    t->shard_count = 1;
    return join(t);
}

static int order_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different file names of the map, sorted, so that the order of tensors does not depend on the index's order. */
static lt_status shard_names(lt_ctx *ctx, const char *path, json_t *map, const char ***names, size_t *count)
{
    const char *tensor;
    json_t *file;
    size_t entries = 0;
    *names = lti_alloc_array(ctx, json_object_size(map), sizeof **names);
    if (!*names) return LT_ENOMEM;
    json_object_foreach(map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name || !*name || strlen(name) != json_string_length(file) || strchr(name, '/') ||
            strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            return lti_fail(ctx, LT_EFORMAT,
                            "%s: weight_map: the file of tensor '%.200s' must be a bare file name: %.200s", path,
                            tensor, name ? name : lti_json_kind(file));
        (*names)[entries++] = name;
    }
    if (entries) qsort(*names, entries, sizeof **names, order_strings);
    *count = 0;
    for (size_t i = 0; i < entries; i++)
        if (*count == 0 || strcmp((*names)[*count - 1], (*names)[i]) != 0) (*names)[(*count)++] = (*names)[i];
    if (*count == 0) return lti_fail(ctx, LT_EFORMAT, "%s: weight_map names no tensor", path);
    if (*count > SHARD_LIMIT)
        return lti_fail(ctx, LT_ELIMIT, "%s: weight_map names %zu files, more than %u", path, *count, SHARD_LIMIT);
    return LT_OK;
}

static lt_status missing_shard(lt_ctx *ctx, const char *file)
{
    return lti_fail(ctx, LT_EIO,
                    "cannot open %s: the index names it, and no such file is there; all shards must lie beside their "
                    "index: fetch the missing ones",
                    file);
}

static lt_status open_shards(lt_tensors *t, const char *directory, const char **names, size_t count)
{
    t->shards = lti_alloc_array(t->ctx, count, sizeof *t->shards);
    if (!t->shards) return LT_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        char *file = lti_path_join(t->ctx, directory, names[i]);
        if (!file) return LT_ENOMEM;
        bool there = lti_file_exists(file);
        lt_status status = there ? lti_shard_open(t->ctx, file, &t->shards[i]) : missing_shard(t->ctx, file);
        lti_free(t->ctx, file);
        if (status != LT_OK) return lti_fail_in(t->ctx, "shard %zu of %zu", i + 1, count);
        t->shard_count++;
    }
    return join(t);
}

/* Index and headers must list the same tensors in the same files. */
static lt_status compare(lt_tensors *t, const char *path, const char **names, json_t *map)
{
    const char *tensor;
    json_t *file;
    for (int i = 0; i < t->count; i++)
        if (!json_object_get(map, t->list[i].name))
            return lti_fail(t->ctx, LT_EFORMAT, "%s: tensor '%.200s' is in %s but not in weight_map", path,
                            t->list[i].name, lt_tensors_file(t, i));
    json_object_foreach(map, tensor, file)
    {
        int i = lt_tensors_find(t, tensor);
        if (i < 0)
            return lti_fail(t->ctx, LT_EFORMAT, "%s: weight_map puts tensor '%.200s' into %s, which does not have it",
                            path, tensor, json_string_value(file));
        if (strcmp(names[t->list[i].shard], json_string_value(file)) != 0)
            return lti_fail(t->ctx, LT_EFORMAT, "%s: weight_map puts tensor '%.200s' into %s, it lies in %s", path,
                            tensor, json_string_value(file), names[t->list[i].shard]);
    }
    return LT_OK;
}

static lt_status open_index(lt_tensors *t, const char *path)
{
    json_t *root = NULL;
    LTI_TRY(lti_json_read(t->ctx, path, INDEX_LIMIT, &root));
    json_t *map = json_object_get(root, "weight_map");
    const char **names = NULL;
    size_t count = 0;
    lt_status status = LT_OK;
    char *directory = lti_strdup(t->ctx, strchr(path, '/') ? path : "./");
    if (!directory)
        status = LT_ENOMEM;
    else if (!json_is_object(map))
        status = lti_fail(t->ctx, LT_EFORMAT, "%s: weight_map must be an object, it is %s", path, lti_json_kind(map));
    else
        status = shard_names(t->ctx, path, map, &names, &count);
    if (status == LT_OK) {
        strrchr(directory, '/')[1] = 0;
        status = open_shards(t, directory, names, count);
    }
    if (status == LT_OK) status = compare(t, path, names, map);
    lti_free(t->ctx, names);
    lti_free(t->ctx, directory);
    json_decref(root);
    return status;
}

static lt_status open_path(lt_tensors *t, const char *path)
{
    return lti_ends_with(path, ".index.json") ? open_index(t, path) : open_single(t, path);
}

/* Weights in formats lathe does not read are named, with the way out of them. */
static lt_status no_safetensors(lt_ctx *ctx, const char *directory)
{
    static const char *const others[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5",
                                         "flax_model.msgpack"};
    for (int i = 0; i < LTI_COUNT(others); i++) {
        char *path = lti_path_join(ctx, directory, others[i]);
        if (!path) return LT_ENOMEM;
        bool there = lti_file_exists(path);
        lti_free(ctx, path);
        if (!there) continue;
        return lti_fail(ctx, LT_EIO,
                        "%s: there is no model.safetensors in it, but %s%s; if you trust it, Python writes the other: "
                        "from transformers import AutoModelForCausalLM as A; A.from_pretrained('%s', "
                        "dtype='auto').save_pretrained('%s')",
                        directory, others[i], i < 2 ? ", a pickle: lathe does not run pickles, they are programs" : "",
                        directory, directory);
    }
    return lti_fail(ctx, LT_EIO,
                    "%s: no model.safetensors, model.safetensors.index.json or adapter_model.safetensors in this "
                    "directory; fetch the weights, or name the file itself",
                    directory);
}

static lt_status open_directory(lt_tensors *t, const char *path)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "adapter_model.safetensors"};
    for (int i = 0; i < LTI_COUNT(names); i++) {
        char *file = lti_path_join(t->ctx, path, names[i]);
        if (!file) return LT_ENOMEM;
        bool there = lti_file_exists(file);
        lt_status status = there ? open_path(t, file) : LT_OK;
        lti_free(t->ctx, file);
        if (there) return status;
    }
    return no_safetensors(t->ctx, path);
}

lt_status lt_tensors_open(lt_ctx *ctx, const char *path, lt_tensors **tensors)
{
    *tensors = NULL;
    lt_tensors *t = lti_alloc(ctx, sizeof *t);
    if (!t) return LT_ENOMEM;
    t->ctx = ctx;
    lt_status status = lti_is_directory(path) ? open_directory(t, path) : open_path(t, path);
    if (status != LT_OK) {
        lt_tensors_close(t);
        return status;
    }
    *tensors = t;
    return LT_OK;
}

void lt_tensors_close(lt_tensors *t)
{
    if (!t) return;
    for (int i = 0; i < t->shard_count; i++) lti_shard_close(t->ctx, &t->shards[i]);
    lti_free(t->ctx, t->shards);
    lti_free(t->ctx, t->by_name);
    lti_free(t->ctx, t->list);
    lti_free(t->ctx, t);
}

int lt_tensors_count(const lt_tensors *t)
{
    return t->count;
}

int lt_tensors_find(const lt_tensors *t, const char *name)
{
    int low = 0, high = t->count;
    while (low < high) {
        int middle = low + (high - low) / 2, index = t->by_name[middle];
        int order = strcmp(name, t->list[index].name);
        if (order == 0) return index;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const char *lt_tensors_name(const lt_tensors *t, int index)
{
    return t->list[index].name;
}

lt_stored lt_tensors_dtype(const lt_tensors *t, int index)
{
    return t->list[index].dtype;
}

int lt_tensors_rank(const lt_tensors *t, int index)
{
    return t->list[index].rank;
}

const int64_t *lt_tensors_shape(const lt_tensors *t, int index)
{
    return t->list[index].shape;
}

int64_t lt_tensors_elements(const lt_tensors *t, int index)
{
    return t->list[index].elements;
}

const void *lt_tensors_data(const lt_tensors *t, int index)
{
    const lti_shard *shard = &t->shards[t->list[index].shard];
    return shard->map.data + shard->base + t->list[index].begin;
}

uint64_t lt_tensors_bytes(const lt_tensors *t, int index)
{
    return t->list[index].end - t->list[index].begin;
}

const char *lt_tensors_file(const lt_tensors *t, int index)
{
    return t->shards[t->list[index].shard].path;
}

uint64_t lt_tensors_offset(const lt_tensors *t, int index)
{
    return t->shards[t->list[index].shard].base + t->list[index].begin;
}

const char *lt_tensors_metadata(const lt_tensors *t, const char *key)
{
    for (int i = 0; i < t->shard_count; i++) {
        json_t *metadata = json_object_get(t->shards[i].header, "__metadata__");
        const char *value = json_string_value(json_object_get(metadata, key));
        if (value) return value;
    }
    return NULL;
}

lt_status lt_tensors_load_real(const lt_tensors *t, int index, lt_real *dst)
{
    if (lti_stored_to_real(t->list[index].dtype, t->list[index].elements, lt_tensors_data(t, index), dst)) return LT_OK;
    return lti_fail(t->ctx, LT_EUNSUPPORTED,
                    "%s: tensor '%.200s' is stored as %s; F32, F16, BF16 or F64 can be read as numbers",
                    lt_tensors_file(t, index), t->list[index].name, lt_stored_name(t->list[index].dtype));
}
