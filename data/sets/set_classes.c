/* set_classes.c - the classes of a data set, and what kind of data lies under a path. */
#include "base/text.h"
#include "data/files.h"
#include "data/json.h"
#include "data/sets/csv_text.h"
#include "data/sets/json_rows.h"
#include "data/sets/labelled_set.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

lt_dataset_kind lt_dataset_kind_of(const lt_dataset *set)
{
    return set->kind;
}

int64_t lt_dataset_classes(const lt_dataset *set)
{
    return set->classes;
}

const char *lt_dataset_label(const lt_dataset *set, int64_t class_id)
{
    bool named = set->label_at && class_id >= 0 && class_id < set->classes;
    return named ? set->labels.data + set->label_at[class_id] : NULL;
}

int32_t lt_dataset_row_class(const lt_dataset *set, int64_t row)
{
    return set->numbers ? set->numbers->y[row] : set->row_class ? set->row_class[row] : -1;
}

int lt_dataset_row_shape(const lt_dataset *set, int64_t *shape)
{
    if (!set->numbers) return 0;
    memcpy(shape, set->numbers->shape, (size_t)set->numbers->rank * sizeof *shape);
    return set->numbers->rank;
}

const lt_real *lt_dataset_row_numbers(const lt_dataset *set, int64_t row)
{
    return set->numbers ? set->numbers->x + row * set->numbers->d : NULL;
}

/* label_at is as long as the next power of two. */
lt_status lti_set_add_label(lt_dataset *set, const char *name)
{
    int64_t n = set->classes;
    if ((n & (n - 1)) == 0) {
        size_t room = n ? 2 * (size_t)n : 1;
        int64_t *grown = lti_realloc(set->ctx, set->label_at, (size_t)n * sizeof *grown, room * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        set->label_at = grown;
    }
    set->label_at[n] = (int64_t)set->labels.length;
    lti_text_add(&set->labels, name, strlen(name) + 1);
    if (set->labels.failed) return LT_ENOMEM;
    set->classes++;
    return LT_OK;
}

lt_status lt_dataset_of_labels(lt_ctx *ctx, int64_t n, const char *const *names, lt_dataset **dataset)
{
    lt_dataset *set;
    *dataset = NULL;
    LTI_TRY(lti_set_new(ctx, LT_DATA_LABELLED, "labelled", &set));
    lt_status status = n < 1 ? lti_fail(ctx, LT_EINVAL, "labels: there is none") : LT_OK;
    for (int64_t i = 0; i < n && status == LT_OK; i++)
        status = names[i] ? lti_set_add_label(set, names[i])
                          : lti_fail(ctx, LT_EINVAL, "labels: class %lld has no name", (long long)i);
    return lti_set_done(set, status, dataset);
}

/* ---- What lies there ---- */

enum { LOOK = 64 << 10, LINES = 20 };

/* "DESC:manner How did ...": what every one of the first lines looks like, and few other texts. */
static bool label_lines(const char *text, int64_t bytes)
{
    const char *p = text, *end = text + bytes;
    int seen = 0;
    while (p < end && seen < LINES) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *q = p;
        if (!stop && bytes == LOOK && seen) break; /* cut by the look, not by the file */
        if (!stop) stop = end;
        while (q < stop && *q >= 'A' && *q <= 'Z') q++;
        if (q - p < 2 || q == stop || *q++ != ':') return false;
        while (q < stop && ((*q >= 'A' && *q <= 'Z') || (*q >= 'a' && *q <= 'z'))) q++;
        if (q == stop || *q != ' ') return false;
        seen++;
        p = stop + 1;
    }
    return seen > 0;
}

static bool labelled_json(lt_ctx *ctx, const char *text, int64_t bytes, bool array)
{
    lti_json_file file = {.ctx = ctx, .path = "", .text = text, .bytes = bytes, .array = array};
    lti_document row;
    json_error_t error;
    bool more;
    if (lti_json_next(&file, &row, &more) != LT_OK || !more || row.end - row.begin > LTI_ROW_LIMIT) return false;
    json_t *object = lti_json_value(text + row.begin, (size_t)(row.end - row.begin), &error);
    const json_t *label = object ? json_object_get(object, "label") : NULL;
    bool yes = json_is_string(json_object_get(object, "text")) && (json_is_string(label) || json_is_integer(label));
    json_decref(object);
    return yes;
}

static bool labelled_csv(lt_ctx *ctx, const char *text, int64_t bytes)
{
    lti_csv_text file = {.ctx = ctx, .path = "", .text = text, .bytes = bytes};
    lti_csv_record heading = {.text = {.ctx = ctx}};
    bool more;
    int columns[2];
    bool yes = lti_csv_text_next(&file, &heading, &more) == LT_OK && more && lti_labelled_columns(&heading, columns);
    lti_csv_record_free(&heading);
    return yes;
}

/* The first bytes of a file; how many. */
static int64_t look(const char *path, char *bytes, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return 0;
    ssize_t n = read(fd, bytes, size);
    close(fd);
    return n > 0 ? n : 0;
}

static lt_dataset_kind kind_of_file(lt_ctx *ctx, const char *path)
{
    char head[8] = {0};
    if (look(path, head, sizeof head) < 4) return LT_DATA_TOKENS;
    if (!memcmp(head, "\x1f\x8b", 2) || !memcmp(head, "\0\0", 2) || !memcmp(head, "\x89HDF", 4)) return LT_DATA_NUMBERS;
    bool array = lti_ends_with(path, ".json"), csv = lti_ends_with(path, ".csv");
    bool text = lti_ends_with(path, ".txt");
    if (!array && !csv && !text && !lti_ends_with(path, ".jsonl")) return LT_DATA_TOKENS;
    lti_map map;
    if (lti_file_map(ctx, path, &map) != LT_OK) return LT_DATA_TOKENS;
    const char *bytes = (const char *)map.data;
    int64_t size = (int64_t)map.size, some = size < LOOK ? size : LOOK;
    bool labelled = csv    ? labelled_csv(ctx, bytes, size)
                    : text ? label_lines(bytes, some)
                           : labelled_json(ctx, bytes, size, array);
    lti_file_unmap(&map);
    return labelled ? LT_DATA_LABELLED : csv ? LT_DATA_NUMBERS : LT_DATA_TOKENS;
}

lt_dataset_kind lt_dataset_kind_at(lt_ctx *ctx, const char *path)
{
    static const lt_split parts[] = {LT_SPLIT_TRAIN, LT_SPLIT_TEST};
    static const char *const *const kinds[] = {lti_numbers_kinds, lti_labelled_kinds};
    lt_dataset_kind kind = LT_DATA_TOKENS;
    char *file = NULL;
    if (!lti_is_directory(path)) {
        kind = kind_of_file(ctx, path);
    } else {
        for (int i = 0; i < 4 && !file; i++) {
            lt_split split;
            if (lti_set_part(ctx, path, kinds[i / 2], "t10k", parts[i % 2], &file, &split) == LT_OK)
                kind = kind_of_file(ctx, file);
        }
        lti_free(ctx, file);
    }
    lt_ctx_clear(ctx);
    return kind;
}
