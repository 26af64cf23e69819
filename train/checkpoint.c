/* checkpoint.c - checkpoints as safetensors + manifest.json with XXH3-128.
 *
 * Safetensors and not HDF5: exact bytes at known offsets, mapped by the reader that models use, written in one pass
 * with its hash, and no libhdf5 in this process. A checkpoint is made under a temporary name, synced, and renamed, so a
 * kill or a power loss at any moment leaves the old ones and at most one directory that is swept up later. */
#include "train/checkpoint.h"

#include "data/files.h"
#include "data/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_LIMIT (64u << 20) /* it names each tensor and its grid */

lt_stored lti_stored_of(lt_dtype type)
{
    switch (type) {
    case LT_F32: return LT_STORED_REAL;
    case LT_BF16: return LT_STORED_BF16;
    case LT_F16: return LT_STORED_F16;
    case LT_I32: return LT_STORED_I32;
    case LT_I8: return LT_STORED_I8;
    default: return LT_STORED_U8;
    }
}

static bool is_saved(const lt_param *p)
{
    return lt_param_role(p) != LT_SCRATCH;
}

/* ---- Writing ---- */

static lt_status write_arrays(lt_ctx *ctx, const char *path, const lt_params *params, char hash[33])
{
    size_t n = (size_t)lt_params_count(params) + 1;
    lt_tensor_entry *entries = lti_alloc_array(ctx, n, sizeof *entries);
    int64_t(*bytes)[1] = lti_alloc_array(ctx, n, sizeof *bytes);
    lt_status status = entries && bytes ? LT_OK : LT_ENOMEM;
    int count = 0;
    for (int i = 0; status == LT_OK && i < lt_params_count(params); i++) {
        const lt_param *p = lt_params_at(params, i);
        if (!is_saved(p)) continue;
        lt_stored stored = lti_stored_of(lt_param_type(p));
        bool lattice = stored == LT_STORED_U8;
        bytes[count][0] = (int64_t)lt_param_bytes(p);
        entries[count] = (lt_tensor_entry){.name = lt_param_name(p),
                                           .dtype = stored,
                                           .rank = lattice ? 1 : lt_param_rank(p),
                                           .shape = lattice ? bytes[count] : lt_param_shape(p),
                                           .data = lt_param_read(p)};
        count++;
    }
    if (status == LT_OK) status = lt_tensors_write(ctx, path, entries, count, NULL, 0, hash);
    lti_free(ctx, entries);
    lti_free(ctx, bytes);
    return status;
}

static lt_status write_manifest(lt_ctx *ctx, const char *path, int64_t step, const char *hash, json_t *state)
{
    json_t *manifest = json_pack("{s:i,s:I,s:{s:s},s:O}", "format", 1, "step", (json_int_t)step, "xxh3",
                                 "state.safetensors", hash, "state", state);
    char *text = manifest ? json_dumps(manifest, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    lt_status status = text ? lti_file_write_atomic(ctx, path, text, strlen(text))
                            : lti_fail(ctx, LT_ENOMEM, "out of memory while writing %s", path);
    free(text);
    json_decref(manifest);
    return status;
}

static lt_status fill_directory(lt_ctx *ctx, const char *directory, int64_t step, const lt_params *params,
                                json_t *state)
{
    char hash[33];
    char *arrays = lti_path_join(ctx, directory, "state.safetensors");
    char *manifest = lti_path_join(ctx, directory, "manifest.json");
    lt_status status = arrays && manifest ? lti_mkdirs(ctx, directory) : LT_ENOMEM;
    if (status == LT_OK) status = write_arrays(ctx, arrays, params, hash);
    if (status == LT_OK) status = write_manifest(ctx, manifest, step, hash, state);
    if (status == LT_OK) status = lti_sync_directory(ctx, directory);
    lti_free(ctx, arrays);
    lti_free(ctx, manifest);
    return status;
}

/* ---- Names ---- */

/* "ckpt-<step><suffix>" */
static bool step_of(const char *name, const char *suffix, int64_t *step)
{
    long long number;
    int used = 0;
    if (sscanf(name, "ckpt-%lld%n", &number, &used) != 1 || strcmp(name + used, suffix)) return false;
    *step = number;
    return true;
}

typedef struct steps {
    int64_t *list;
    int count, capacity;
} steps;

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : -(x > y);
}

/* Steps of all checkpoints under root, newest first. A missing root has none. */
static lt_status list_steps(lt_ctx *ctx, const char *root, steps *s)
{
    *s = (steps){0};
    DIR *directory = opendir(root);
    if (!directory) return errno == ENOENT ? LT_OK : lti_fail_errno(ctx, errno, "read", root);
    lt_status status = LT_OK;
    for (struct dirent *e; status == LT_OK && (e = readdir(directory));) {
        int64_t step;
        if (!step_of(e->d_name, "", &step)) continue;
        if (s->count == s->capacity) {
            int larger = s->capacity ? 2 * s->capacity : 16;
            int64_t *grown =
                lti_realloc(ctx, s->list, (size_t)s->count * sizeof *grown, (size_t)larger * sizeof *grown);
            if (!grown)
                status = LT_ENOMEM;
            else
                s->list = grown, s->capacity = larger;
        }
        if (status == LT_OK) s->list[s->count++] = step;
    }
    closedir(directory);
    if (s->count) qsort(s->list, (size_t)s->count, sizeof *s->list, newest_first);
    return status;
}

static char *checkpoint_path(lt_ctx *ctx, const char *root, int64_t step, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "ckpt-%06lld%s", (long long)step, suffix);
    return lti_path_join(ctx, root, name);
}

static lt_status remove_checkpoint(lt_ctx *ctx, const char *root, int64_t step)
{
    char *path = checkpoint_path(ctx, root, step, "");
    lt_status status = path ? lti_remove_tree(ctx, path) : LT_ENOMEM;
    lti_free(ctx, path);
    return status;
}

static bool planned(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static lt_status prune(lt_ctx *ctx, const char *root, int64_t keep, int64_t every)
{
    steps s;
    bool has_planned = false;
    lt_status status = list_steps(ctx, root, &s);
    for (int i = 0; i < s.count && status == LT_OK; i++) {
        bool rollback_goes_here = !has_planned && planned(s.list[i], every);
        has_planned |= rollback_goes_here;
        if (i >= keep && !rollback_goes_here) status = remove_checkpoint(ctx, root, s.list[i]);
    }
    lti_free(ctx, s.list);
    return status;
}

lt_status lti_checkpoint_drop_after(lt_ctx *ctx, const char *root, int64_t step)
{
    steps s;
    lt_status status = list_steps(ctx, root, &s);
    for (int i = 0; i < s.count && status == LT_OK; i++)
        if (s.list[i] > step) status = remove_checkpoint(ctx, root, s.list[i]);
    lti_free(ctx, s.list);
    return status;
}

/* Removes what kills amid a save have left: ckpt-N.tmp. */
static lt_status sweep(lt_ctx *ctx, const char *root)
{
    DIR *directory = opendir(root);
    if (!directory) return lti_fail_errno(ctx, errno, "read", root);
    lt_status status = LT_OK;
    for (struct dirent *e; status == LT_OK && (e = readdir(directory));) {
        int64_t step;
        if (!step_of(e->d_name, ".tmp", &step)) continue;
        char *path = checkpoint_path(ctx, root, step, ".tmp");
        status = path ? lti_remove_tree(ctx, path) : LT_ENOMEM;
        lti_free(ctx, path);
    }
    closedir(directory);
    return status;
}

/* The checkpoint of a step that is saved again is exchanged, so that there is one at every moment. */
static lt_status put_in_place(lt_ctx *ctx, const char *temporary, const char *path)
{
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) == 0) return lti_remove_tree(ctx, temporary);
    LTI_TRY(lti_remove_tree(ctx, path)); /* none is there, or the file system cannot exchange */
    return rename(temporary, path) ? lti_fail_errno(ctx, errno, "rename", temporary) : LT_OK;
}

lt_status lti_checkpoint_save(lt_ctx *ctx, const char *root, int64_t step, const lt_params *params, json_t *state,
                              int64_t keep, int64_t every)
{
    char *path = checkpoint_path(ctx, root, step, "");
    char *temporary = checkpoint_path(ctx, root, step, ".tmp");
    lt_status status = path && temporary ? lti_mkdirs(ctx, root) : LT_ENOMEM;
    if (status == LT_OK) status = lti_remove_tree(ctx, temporary);
    if (status == LT_OK) status = fill_directory(ctx, temporary, step, params, state);
    if (status == LT_OK) status = put_in_place(ctx, temporary, path);
    if (status == LT_OK) status = lti_sync_directory(ctx, root);
    if (status == LT_OK) status = sweep(ctx, root);
    if (status == LT_OK) status = prune(ctx, root, keep < 1 ? 1 : keep, every);
    lti_free(ctx, path);
    lti_free(ctx, temporary);
    return status;
}

/* ---- Reading ---- */

static lt_status check_hash(lt_ctx *ctx, const char *path, const json_t *manifest)
{
    const char *wanted = json_string_value(json_object_get(json_object_get(manifest, "xxh3"), "state.safetensors"));
    if (!wanted) return lti_fail(ctx, LT_EFORMAT, "%s: manifest.json names no hash", path);
    char *file = lti_path_join(ctx, path, "state.safetensors");
    char found[33];
    lt_status status = file ? lti_file_hash(ctx, file, found) : LT_ENOMEM;
    if (status == LT_OK && strcmp(found, wanted))
        status = lti_fail(ctx, LT_EFORMAT, "%s: the file is damaged: its XXH3 is %s, the manifest says %s", file, found,
                          wanted);
    lti_free(ctx, file);
    return status;
}

lt_status lti_checkpoint_read(lt_ctx *ctx, const char *path, json_t **state)
{
    *state = NULL;
    char *file = lti_path_join(ctx, path, "manifest.json");
    json_t *manifest = NULL;
    lt_status status = file ? lti_json_read(ctx, file, MANIFEST_LIMIT, &manifest) : LT_ENOMEM;
    lti_free(ctx, file);
    if (status == LT_OK) status = check_hash(ctx, path, manifest);
    json_t *found = status == LT_OK ? json_object_get(manifest, "state") : NULL;
    if (status == LT_OK && !json_is_object(found))
        status = lti_fail(ctx, LT_EFORMAT, "%s: manifest.json has no state", path);
    if (status == LT_OK) *state = json_incref(found);
    json_decref(manifest);
    return status;
}

lt_status lti_checkpoint_words(lt_ctx *ctx, const char *path, json_t **words, bool *is_checkpoint)
{
    json_t *manifest = NULL;
    char *file = lti_path_join(ctx, path, "manifest.json");
    *words = NULL;
    *is_checkpoint = file && lti_file_exists(file);
    lt_status status = !file ? LT_ENOMEM : *is_checkpoint ? lti_json_read(ctx, file, MANIFEST_LIMIT, &manifest) : LT_OK;
    json_t *run = json_object_get(json_object_get(manifest, "state"), "run");
    if (json_is_object(run)) *words = json_incref(run);
    json_decref(manifest);
    lti_free(ctx, file);
    return status;
}

lt_status lti_checkpoint_find(lt_ctx *ctx, const char *root, int64_t every, char **path, char *skipped,
                              size_t skipped_size)
{
    *path = NULL;
    *skipped = 0;
    steps s;
    lt_status status = list_steps(ctx, root, &s);
    for (int i = 0; i < s.count && status == LT_OK && !*path; i++) {
        if (!planned(s.list[i], every)) continue;
        char *candidate = checkpoint_path(ctx, root, s.list[i], "");
        json_t *state = NULL;
        status = candidate ? LT_OK : LT_ENOMEM;
        if (status == LT_OK && lti_checkpoint_read(ctx, candidate, &state) == LT_OK) {
            *path = candidate;
        } else if (status == LT_OK) {
            size_t used = strlen(skipped);
            snprintf(skipped + used, skipped_size - used, "%s\n", lt_ctx_message(ctx));
            if (lt_ctx_status(ctx) == LT_ENOMEM) status = LT_ENOMEM;
            lti_free(ctx, candidate);
        }
        json_decref(state);
    }
    lti_free(ctx, s.list);
    return status;
}

/* Lattices are stored as a row of bytes. */
static bool same_shape(const lt_tensors *file, int i, const lt_param *p)
{
    if (lt_dtype_is_lattice(lt_param_type(p))) return true;
    if (lt_tensors_rank(file, i) != lt_param_rank(p)) return false;
    for (int k = 0; k < lt_param_rank(p); k++)
        if (lt_tensors_shape(file, i)[k] != lt_param_shape(p)[k]) return false;
    return true;
}

static lt_status load_array(lt_ctx *ctx, const lt_tensors *file, lt_param *p)
{
    int i = lt_tensors_find(file, lt_param_name(p));
    if (i < 0)
        return lti_fail(ctx, LT_EINVAL, "the checkpoint has no '%s'; it belongs to another model or optimizer",
                        lt_param_name(p));
    if (lt_tensors_dtype(file, i) != lti_stored_of(lt_param_type(p)) ||
        lt_tensors_bytes(file, i) != lt_param_bytes(p) || !same_shape(file, i, p))
        return lti_fail(ctx, LT_EINVAL,
                        "the checkpoint's '%s' is %s of %llu bytes, but the model's has %zu bytes or another shape",
                        lt_param_name(p), lt_stored_name(lt_tensors_dtype(file, i)),
                        (unsigned long long)lt_tensors_bytes(file, i), lt_param_bytes(p));
    memcpy(lt_param_data(p), lt_tensors_data(file, i), lt_param_bytes(p));
    lt_param_touch(p);
    return LT_OK;
}

lt_status lti_checkpoint_load(lt_ctx *ctx, const char *path, lt_params *params)
{
    char *file = lti_path_join(ctx, path, "state.safetensors");
    lt_tensors *tensors = NULL;
    lt_status status = file ? lt_tensors_open(ctx, file, &tensors) : LT_ENOMEM;
    for (int i = 0; status == LT_OK && i < lt_params_count(params); i++)
        if (is_saved(lt_params_at(params, i))) status = load_array(ctx, tensors, lt_params_at(params, i));
    lt_tensors_close(tensors);
    lti_free(ctx, file);
    return status;
}
