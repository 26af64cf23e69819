/* labelled_set.c - texts with a class.
 *
 * One pass reads every row: its text is kept aside, its label by name. Then labels get numbers, the part that is asked
 * for is chosen, and only its texts are encoded. Labels are numbered from all rows of the file, so that training and
 * validation agree whatever part a label fell into; in the order of their names, so that the order of rows does not
 * matter. A row is refused by file and line; which rows are whose is decided by the bytes of a row alone, by the hashes
 * that evals/source.c computes: an evaluation of the validation part sees what training held back. */
#include "data/sets/labelled_set.h"

#include "data/files.h"
#include "data/json.h"
#include "data/sets/json_rows.h"
#include "data/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *const lti_labelled_kinds[] = {".csv", ".jsonl", ".json", ".txt", ""};

typedef struct label_at {
    int64_t at; /* in the reader's text, where its row is also: text NUL label NUL */
    int64_t row;
} label_at;

typedef struct reader {
    lt_dataset *set;
    const char *path;
    const lt_dataset_options *o;
    lti_text kept;      /* texts and labels of the rows */
    lti_document *list; /* begin .. end: the text in `kept` */
    label_at *label;    /* [room of list] */
    int64_t count, room, label_room;
    char reason[LTI_REASON];
} reader;

/* ---- Rows of each kind of file ---- */

static lt_status take(reader *r, lti_document row, const char *text, size_t bytes, const char *label,
                      size_t label_bytes)
{
    if (r->count == r->label_room) {
        int64_t wider = r->label_room ? 2 * r->label_room : 64;
        label_at *grown =
            lti_realloc(r->set->ctx, r->label, (size_t)r->count * sizeof *grown, (size_t)wider * sizeof *grown);
        if (!grown) return LT_ENOMEM;
        r->label = grown;
        r->label_room = wider;
    }
    row.begin = (int64_t)r->kept.length;
    row.end = row.begin + (int64_t)bytes;
    lti_text_add(&r->kept, text, bytes);
    lti_text_add(&r->kept, "", 1);
    r->label[r->count] = (label_at){(int64_t)r->kept.length, r->count};
    lti_text_add(&r->kept, label, label_bytes);
    lti_text_add(&r->kept, "", 1);
    if (r->kept.failed) return LT_ENOMEM;
    return lti_documents_add(r->set->ctx, row, &r->list, &r->count, &r->room);
}

/* A row that r->reason speaks against. */
static lt_status refuse(reader *r, int64_t line)
{
    if (!r->o->skip_bad_rows) return lti_fail(r->set->ctx, LT_EFORMAT, "%s:%" PRId64 ": %s", r->path, line, r->reason);
    r->set->skipped++;
    return LT_OK;
}

/* FNV-1a of the bytes of a row. */
static uint64_t hash_of(const char *text, int64_t n)
{
    uint64_t h = 14695981039346656037u;
    for (int64_t i = 0; i < n; i++) h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h;
}

/* The first column that has the earliest of the names; -1 when there is none. */
static int column_named(const lti_csv_record *heading, const char *const *names)
{
    for (; *names; names++)
        for (int64_t i = 0; i < heading->count; i++)
            if (!strcasecmp(lti_csv_field(heading, i), *names)) return (int)i;
    return -1;
}

bool lti_labelled_columns(const lti_csv_record *heading, int columns[2])
{
    static const char *const texts[] = {"text", "sentence", "query", "question", NULL};
    static const char *const labels[] = {"label", "category", "intent", "class", NULL};
    columns[0] = column_named(heading, texts);
    columns[1] = column_named(heading, labels);
    return columns[0] >= 0 && columns[1] >= 0;
}

static lt_status read_csv_rows(reader *r, lti_csv_text *file, lti_csv_record *record)
{
    bool more;
    int columns[2];
    LTI_TRY(lti_csv_text_next(file, record, &more));
    if (!more || !lti_labelled_columns(record, columns))
        return lti_fail(r->set->ctx, LT_EFORMAT,
                        "%s:%" PRId64 ": the first line must be a heading with a column 'text' (sentence, query, "
                        "question) and a column 'label' (category, intent, class)",
                        r->path, record->line ? record->line : 1);
    for (int64_t width = record->count;;) {
        LTI_TRY(lti_csv_text_next(file, record, &more));
        if (!more) return LT_OK;
        if (record->count != width) {
            snprintf(r->reason, LTI_REASON, "%" PRId64 " fields, where the heading has %" PRId64, record->count, width);
            LTI_TRY(refuse(r, record->line));
            continue;
        }
        const char *text = lti_csv_field(record, columns[0]), *label = lti_csv_field(record, columns[1]);
        if (!*label) {
            snprintf(r->reason, LTI_REASON, "the label is empty");
            LTI_TRY(refuse(r, record->line));
            continue;
        }
        lti_document row = {.line = record->line,
                            .hash = hash_of(file->text + record->begin, record->end - record->begin)};
        LTI_TRY(take(r, row, text, strlen(text), label, strlen(label)));
    }
}

static lt_status read_csv(reader *r, const char *text, int64_t bytes)
{
    lti_csv_text file = {.ctx = r->set->ctx, .path = r->path, .text = text, .bytes = bytes};
    lti_csv_record record = {.text = {.ctx = r->set->ctx}};
    lt_status status = read_csv_rows(r, &file, &record);
    lti_csv_record_free(&record);
    return status;
}

/* A string without NUL; NULL with a reason. */
static const char *string_of(reader *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!text)
        snprintf(r->reason, LTI_REASON, "'%s' is %s, not a string", key, lti_json_kind(value));
    else if (strlen(text) != json_string_length(value))
        snprintf(r->reason, LTI_REASON, "'%s' contains a NUL character", key);
    return *r->reason ? NULL : text;
}

static lt_status take_object(reader *r, lti_document row, const json_t *object)
{
    char number[24];
    const json_t *value = json_object_get(object, "label");
    const char *text = string_of(r, object, "text"), *label = number;
    if (json_is_integer(value))
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (text)
        label = string_of(r, object, "label");
    if (!*r->reason && !*label) snprintf(r->reason, LTI_REASON, "the label is empty");
    return *r->reason ? refuse(r, row.line) : take(r, row, text, strlen(text), label, strlen(label));
}

static lt_status read_object(reader *r, const lti_json_file *file, lti_document row)
{
    json_error_t error;
    const char *text = file->text + row.begin;
    uint64_t n = (uint64_t)(row.end - row.begin);
    json_t *object = NULL;
    *r->reason = 0;
    if (n > LTI_ROW_LIMIT)
        snprintf(r->reason, LTI_REASON, "the row has more than 64 MB");
    else if (lti_utf8_check((const unsigned char *)text, n) < n)
        snprintf(r->reason, LTI_REASON, "the row is not UTF-8");
    if (*r->reason) return refuse(r, row.line);
    object = lti_json_value(text, n, &error);
    if (!object && json_error_code(&error) == json_error_out_of_memory)
        return lti_fail(r->set->ctx, LT_ENOMEM, "out of memory while parsing the JSON of %s", r->path);
    if (!object)
        snprintf(r->reason, LTI_REASON, "not JSON at byte %d: %.100s", error.position, error.text);
    else if (!json_is_object(object))
        snprintf(r->reason, LTI_REASON, "the row is %s, not an object", lti_json_kind(object));
    lt_status status = *r->reason ? refuse(r, row.line) : take_object(r, row, object);
    json_decref(object);
    return status;
}

static lt_status read_json(reader *r, const char *text, int64_t bytes, bool array)
{
    lti_json_file file = {.ctx = r->set->ctx, .path = r->path, .text = text, .bytes = bytes, .array = array};
    for (;;) {
        lti_document row;
        bool more;
        LTI_TRY(lti_json_next(&file, &row, &more));
        if (!more) return LT_OK;
        LTI_TRY(read_object(r, &file, row));
    }
}

/* Appends a Latin-1 text as UTF-8. */
static void add_latin1(lti_text *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        char pair[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
        if (c < 0x80)
            lti_text_add(out, text + i, 1);
        else
            lti_text_add(out, pair, 2);
    }
}

/* "LABEL text": the class is the first word. A line that is no UTF-8 is Latin-1, as TREC's are. */
static lt_status read_line(reader *r, const char *from, const char *end, int64_t line)
{
    lti_document row = {.line = line, .hash = hash_of(from, end - from)};
    lti_text wide = {.ctx = r->set->ctx};
    uint64_t n = (uint64_t)(end - from);
    *r->reason = 0;
    if (lti_utf8_check((const unsigned char *)from, n) < n) {
        add_latin1(&wide, from, n);
        if (wide.failed) return LT_ENOMEM;
        from = wide.data;
        end = from + wide.length;
    }
    const char *label = from, *stop, *text;
    while (label < end && (*label == ' ' || *label == '\t')) label++;
    for (stop = label; stop < end && *stop != ' ' && *stop != '\t';) stop++;
    for (text = stop; text < end && (*text == ' ' || *text == '\t');) text++;
    if (memchr(from, 0, (size_t)(end - from)))
        snprintf(r->reason, LTI_REASON, "the line holds a NUL character");
    else if (label < end && text == end)
        snprintf(r->reason, LTI_REASON, "no text follows the label '%.*s'",
                 (int)(stop - label < 60 ? stop - label : 60), label);
    lt_status status = LT_OK;
    if (*r->reason)
        status = refuse(r, line);
    else if (label < end)
        status = take(r, row, text, (size_t)(end - text), label, (size_t)(stop - label));
    lti_text_free(&wide);
    return status;
}

static lt_status read_lines(reader *r, const char *text, int64_t bytes)
{
    const char *p = text, *end = text + bytes;
    if (bytes >= 3 && !memcmp(p, "\xEF\xBB\xBF", 3)) p += 3;
    for (int64_t line = 1; p < end; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        const char *last = stop > p && stop[-1] == '\r' ? stop - 1 : stop;
        LTI_TRY(read_line(r, p, last, line));
        p = newline ? newline + 1 : end;
    }
    return LT_OK;
}

/* ---- Classes ---- */

/* "12", but not "012": labels that are whole numbers come in the order of the numbers. */
static bool whole_number(const char *label)
{
    size_t n = strspn(label, "0123456789");
    return n > 0 && n < 19 && !label[n] && (*label != '0' || n == 1);
}

static int compare_names(const char *x, const char *y)
{
    bool one = whole_number(x), two = whole_number(y);
    if (one != two) return one ? -1 : 1;
    if (one && strlen(x) != strlen(y)) return strlen(x) < strlen(y) ? -1 : 1;
    return strcmp(x, y);
}

static int by_label(const void *a, const void *b, void *text)
{
    const label_at *x = a, *y = b;
    int order = compare_names((const char *)text + x->at, (const char *)text + y->at);
    return order ? order : x->row < y->row ? -1 : x->row > y->row;
}

static int by_name(const void *a, const void *b, void *set)
{
    return compare_names(lt_dataset_label(set, *(const int64_t *)a), lt_dataset_label(set, *(const int64_t *)b));
}

static int64_t search(const lt_dataset *like, const int64_t *sorted, const char *name)
{
    int64_t low = 0, high = like->classes;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = compare_names(name, lt_dataset_label(like, sorted[middle]));
        if (order == 0) return sorted[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

/* The class of a label; where the classes are coarser, that of the part before ':'. */
static int64_t class_like(const lt_dataset *like, const int64_t *sorted, const char *name)
{
    int64_t found = search(like, sorted, name);
    const char *colon = found < 0 ? strchr(name, ':') : NULL;
    char coarse[64];
    if (!colon || colon == name || colon - name >= (int64_t)sizeof coarse) return found;
    memcpy(coarse, name, (size_t)(colon - name));
    coarse[colon - name] = 0;
    return search(like, sorted, coarse);
}

static lt_status unknown_label(const reader *r, const lt_dataset *like, int64_t row)
{
    return lti_fail(r->set->ctx, LT_EFORMAT,
                    "%s:%" PRId64 ": '%.60s' is none of the %" PRId64 " classes ('%.40s', ...)", r->path,
                    r->list[row].line, r->kept.data + r->list[row].end + 1, like->classes, lt_dataset_label(like, 0));
}

/* Gives every row its class, class[row]. r->label is sorted by name. */
static lt_status number_labels(reader *r, const lt_dataset *like, const int64_t *sorted, int32_t *class)
{
    int64_t unknown = -1, now = -1;
    for (int64_t i = 0; i < r->count; i++) {
        const char *name = r->kept.data + r->label[i].at;
        if (i == 0 || strcmp(name, r->kept.data + r->label[i - 1].at)) {
            now = like ? class_like(like, sorted, name) : r->set->classes;
            if (!like) LTI_TRY(lti_set_add_label(r->set, name));
            if (now > INT32_MAX - 1) return lti_fail(r->set->ctx, LT_ELIMIT, "%s: too many classes", r->path);
        }
        if (now < 0 && (unknown < 0 || r->label[i].row < unknown)) unknown = r->label[i].row;
        class[r->label[i].row] = (int32_t)now;
    }
    for (int64_t k = 0; like && k < like->classes; k++) LTI_TRY(lti_set_add_label(r->set, lt_dataset_label(like, k)));
    return unknown >= 0 ? unknown_label(r, like, unknown) : LT_OK;
}

static lt_status classify(reader *r, const lt_dataset *like, int32_t **class)
{
    lt_ctx *ctx = r->set->ctx;
    int64_t *sorted = NULL;
    *class = lti_alloc_array(ctx, (size_t)r->count, sizeof **class);
    if (like) sorted = lti_alloc_array(ctx, (size_t)like->classes + 1, sizeof *sorted);
    if (!*class || (like && !sorted)) {
        lti_free(ctx, sorted);
        return LT_ENOMEM;
    }
    qsort_r(r->label, (size_t)r->count, sizeof *r->label, by_label, r->kept.data);
    for (int64_t i = 0; like && i < like->classes; i++) sorted[i] = i;
    if (like) qsort_r(sorted, (size_t)like->classes, sizeof *sorted, by_name, (void *)like);
    lt_status status = number_labels(r, like, sorted, *class);
    lti_free(ctx, sorted);
    return status;
}

/* ---- The set ---- */

static lt_status encode(reader *r, lt_tokenizer *tok, const int32_t *class)
{
    lt_dataset *set = r->set;
    lt_ids work = {0};
    lt_status status = LT_OK;
    set->row_class = lti_alloc_array(set->ctx, (size_t)r->count + 1, sizeof *set->row_class);
    if (!set->row_class) return LT_ENOMEM;
    for (int64_t i = 0; i < r->count && status == LT_OK; i++) {
        const lti_document *d = &r->list[i];
        set->row_class[i] = class[d->index];
        status =
            lti_set_add_whole(set, r->kept.data + d->begin, d->end - d->begin, i, tok, r->o->max_seq_length, &work);
        if (status != LT_OK) lti_fail_in(set->ctx, "%s:%" PRId64, r->path, d->line);
    }
    lt_ids_free(tok->ctx, &work);
    set->documents = r->count;
    return status;
}

static lt_status fill(reader *r, lt_tokenizer *tok, lt_split split, const lt_dataset *like)
{
    int32_t *class = NULL;
    if (r->count == 0) return lti_fail(r->set->ctx, LT_EFORMAT, "%s: there is no row in it that can be used", r->path);
    lt_status status = classify(r, like, &class);
    if (status == LT_OK) {
        status = lti_documents_split(r->set->ctx, NULL, split, r->o->valid_fraction, r->list, &r->count);
        if (status != LT_OK) lti_fail_in(r->set->ctx, "%s", r->path);
    }
    if (status == LT_OK) status = encode(r, tok, class);
    lti_free(r->set->ctx, class);
    return status == LT_OK ? lti_set_finish_labelled(r->set, r->path) : status;
}

static lt_status read_file(reader *r, lt_tokenizer *tok, lt_split split, const lt_dataset *like)
{
    lti_map map;
    LTI_TRY(lti_file_map(r->set->ctx, r->path, &map));
    const char *text = (const char *)map.data;
    int64_t bytes = (int64_t)map.size;
    bool array = lti_ends_with(r->path, ".json");
    lt_status status;
    if (lti_ends_with(r->path, ".csv"))
        status = read_csv(r, text, bytes);
    else if (array || lti_ends_with(r->path, ".jsonl"))
        status = read_json(r, text, bytes, array);
    else if (lti_ends_with(r->path, ".txt"))
        status = read_lines(r, text, bytes);
    else
        status = lti_fail(r->set->ctx, LT_EUNSUPPORTED,
                          "%s is not read as labelled texts; give a .csv with a heading (text, label), a .jsonl of "
                          "{\"text\", \"label\"} rows, or a .txt of lines \"LABEL text\"",
                          r->path);
    if (status == LT_OK) status = fill(r, tok, split, like);
    lti_file_unmap(&map);
    return status;
}

static lt_status open_path(lt_dataset *set, const char *path, lt_tokenizer *tok, const lt_dataset_options *o,
                           const lt_dataset *like)
{
    char *file;
    lt_split split;
    LTI_TRY(lti_set_part(set->ctx, path, lti_labelled_kinds, NULL, o->split, &file, &split));
    reader r = {.set = set, .path = file, .o = o, .kept = {.ctx = set->ctx}};
    lt_status status = read_file(&r, tok, split, like);
    lti_free(set->ctx, r.list);
    lti_free(set->ctx, r.label);
    lti_text_free(&r.kept);
    lti_free(set->ctx, file);
    return status;
}

lt_status lt_dataset_open_labelled(lt_ctx *ctx, const char *path, lt_tokenizer *tok, const lt_dataset_options *options,
                                   const lt_dataset *like, lt_dataset **dataset)
{
    lt_dataset *set;
    lt_dataset_options defaults;
    *dataset = NULL;
    lt_dataset_options_init(&defaults);
    if (!options) options = &defaults;
    LTI_TRY(lti_set_options(ctx, tok, options));
    if (!tok) return lti_fail(ctx, LT_EINVAL, "%s: labelled texts need a tokenizer", path);
    if (like && !like->label_at) return lti_fail(ctx, LT_EINVAL, "the classes to be like have no names");
    LTI_TRY(lti_set_new(ctx, LT_DATA_LABELLED, "labelled", &set));
    return lti_set_done(set, open_path(set, path, tok, options, like), dataset);
}
