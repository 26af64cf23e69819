/* test_format_files.c - the collection in tests/files: what each small valid or broken file must be called.
 *
 * scripts/make_format_files.py makes the files and expected.txt, without help from the library, and compares the
 * verdicts with the formats' own readers. Here every file is opened; of a valid one all that the headers promise is
 * read. Allocations that fail one by one must leave nothing behind, whatever the file holds. */
#include "lathe/formats.h"
#include "lathe/gguf.h"
#include "tests/data_files.h"

#include <dirent.h>

#define FILES "tests/files/"

static const struct {
    const char *name;
    lt_status status;
} statuses[] = {{"ok", LT_OK}, {"EFORMAT", LT_EFORMAT}, {"EUNSUPPORTED", LT_EUNSUPPORTED}, {"EIO", LT_EIO}};

static volatile unsigned char sum; /* every byte of a tensor is touched */

static void touch(const void *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) sum = sum ^ ((const unsigned char *)data)[i];
}

static lt_status load_all(lt_ctx *ctx, lt_gguf *g)
{
    lt_status status = LT_OK;
    for (int i = 0; i < lt_gguf_tensors(g) && status == LT_OK; i++) {
        const lt_gguf_tensor_info *t = lt_gguf_tensor(g, i);
        lt_real *real = lti_alloc_array(ctx, (size_t)t->elements, sizeof *real);
        status = real ? lt_gguf_load_real(g, i, real) : LT_ENOMEM;
        if (status == LT_EUNSUPPORTED && (!t->known || t->type == LT_I8 || t->type == LT_I32)) status = LT_OK;
        lti_free(ctx, real);
        touch(t->data, t->bytes);
        TS_CHECK(lt_gguf_find(g, t->name) == i, "'%s' is found", t->name);
    }
    return status;
}

static lt_status try_gguf(lt_ctx *ctx, const char *path, int *tensors)
{
    lt_gguf *g;
    lt_status status = lt_gguf_open(ctx, path, &g);
    if (status != LT_OK) return status;
    *tensors = lt_gguf_tensors(g);
    for (int i = 0; i < lt_gguf_pairs(g); i++) {
        const lt_gguf_pair *pair = lt_gguf_pair_at(g, i);
        TS_CHECK(lt_gguf_get(g, pair->key) == pair, "%s: key '%s' is found", path, pair->key);
        for (int64_t k = 0; pair->strings && k < pair->count; k++)
            touch(pair->strings[k].text, (uint64_t)pair->strings[k].bytes);
    }
    status = load_all(ctx, g);
    lt_gguf_close(g);
    return status;
}

static lt_status try_safetensors(lt_ctx *ctx, const char *path, int *tensors)
{
    lt_tensors *t;
    lt_status status = lt_tensors_open(ctx, path, &t);
    if (status != LT_OK) return status;
    *tensors = lt_tensors_count(t);
    for (int i = 0; i < *tensors; i++) {
        touch(lt_tensors_data(t, i), lt_tensors_bytes(t, i));
        TS_CHECK(lt_tensors_find(t, lt_tensors_name(t, i)) == i, "'%s' is found", lt_tensors_name(t, i));
    }
    lt_tensors_close(t);
    return status;
}

typedef lt_status (*reader)(lt_ctx *ctx, const char *path, int *tensors);

typedef struct attempt {
    reader read;
    const char *path;
    lt_status expected;
} attempt;

/* A file that is refused counts as success here: only LT_ENOMEM is asked about. */
static lt_status attempt_once(lt_ctx *ctx, void *arg)
{
    const attempt *a = arg;
    int tensors;
    lt_status status = a->read(ctx, a->path, &tensors);
    return status == a->expected ? LT_OK : status;
}

static void check_line(const char *folder, char *line, reader read)
{
    char path[512];
    const char *name = strtok(line, "\t\n"), *word = strtok(NULL, "\t\n"), *words = strtok(NULL, "\t\n");
    lt_status expected = LT_OK;
    if (!TS_CHECK(name && word, "%s: a line without a name or a verdict", folder)) return;
    snprintf(path, sizeof path, FILES "%s/%s", folder, name);
    for (int i = 0; i < LTI_COUNT(statuses); i++)
        if (strcmp(word, statuses[i].name) == 0) expected = statuses[i].status;
    int tensors = -1;
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_status status = read(ctx, path, &tensors);
    TS_CHECK(status == expected, "%s: %s (%s), not %s", path, lt_status_name(status), lt_ctx_message(ctx), word);
    if (expected == LT_OK)
        TS_CHECK(words && tensors == atoi(words), "%s: %d tensors, not %s", path, tensors, words ? words : "?");
    else
        TS_CHECK(!words || strstr(lt_ctx_message(ctx), words), "%s: '%s' without '%s'", path, lt_ctx_message(ctx),
                 words);
    TS_CHECK(expected == LT_OK || strstr(lt_ctx_message(ctx), name), "%s: '%s' does not name the file", path,
             lt_ctx_message(ctx));
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%s: %zu bytes leak", path, lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
    if (status == expected) ts_every_allocation_fails(path, attempt_once, &(attempt){read, path, expected});
}

static int files_in(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    if (!TS_CHECK(directory != NULL, "%s is there", path)) return 0;
    for (struct dirent *e; (e = readdir(directory));) count += e->d_name[0] != '.';
    closedir(directory);
    return count;
}

static void check_folder(const char *folder, reader read)
{
    char path[256], line[512];
    int lines = 0;
    snprintf(path, sizeof path, FILES "%s/expected.txt", folder);
    FILE *file = fopen(path, "r");
    if (!TS_CHECK(file != NULL, "%s is there", path)) return;
    for (; fgets(line, sizeof line, file); lines++) check_line(folder, line, read);
    fclose(file);
    path[strlen(path) - strlen("/expected.txt")] = 0;
    TS_CHECK(lines >= 120 && files_in(path) == lines + 1, "%s: %d lines for %d files", path, lines, files_in(path));
}

static void gguf_files(void)
{
    check_folder("gguf", try_gguf);
}

static void safetensors_files(void)
{
    check_folder("safetensors", try_safetensors);
}

/* ---- Writing from what is made in turn ---- */

typedef struct maker {
    uint16_t numbers[3]; /* reused for each tensor */
    int calls;
    lt_ctx *ctx;
    enum { MAKE, REFUSE, FORGET } what;
} maker;

static lt_status make_numbers(void *user, const void **bytes)
{
    maker *m = user;
    if (m->what == REFUSE) return lti_fail(m->ctx, LT_EIO, "no numbers today");
    m->calls++;
    for (int i = 0; i < 3; i++) m->numbers[i] = (uint16_t)(10 * m->calls + i);
    if (m->what == MAKE) *bytes = m->numbers;
    return LT_OK;
}

/* The file's order is by type, then by name: so are the calls. */
static void made_in_turn(void)
{
    static const int64_t shape[] = {3}, none[] = {0};
    ts_place p = ts_open_place();
    maker m = {.ctx = p.ctx};
    const lt_tensor_entry e[] = {{"b", LT_STORED_I16, 1, shape, NULL, NULL, make_numbers, &m},
                                 {"a", LT_STORED_I16, 1, shape, NULL, NULL, make_numbers, &m},
                                 {"none", LT_STORED_F32, 1, none, NULL, NULL, make_numbers, &m}};
    lt_tensor_entry both = e[0];
    both.data = m.numbers;
    if (TS_OK(p.ctx, lt_tensors_write(p.ctx, ts_at(&p, "t.safetensors"), e, 3, NULL, 0, NULL))) {
        lt_tensors *t;
        TS_CHECK(m.calls == 2, "%d calls: nothing is made of nothing", m.calls);
        if (TS_OK(p.ctx, lt_tensors_open(p.ctx, p.path, &t))) {
            const uint16_t *a = lt_tensors_data(t, lt_tensors_find(t, "a"));
            const uint16_t *b = lt_tensors_data(t, lt_tensors_find(t, "b"));
            TS_CHECK(a[0] == 10 && b[0] == 20 && b[2] == 22, "%d %d %d", a[0], b[0], b[2]);
            lt_tensors_close(t);
        }
    }
    m.what = REFUSE;
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, e, 3, NULL, 0, NULL), LT_EIO, "no numbers today");
    m.what = FORGET;
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, e, 3, NULL, 0, NULL), LT_EINVAL, "tensor 'a' was not made");
    TS_REFUSED(p.ctx, lt_tensors_write(p.ctx, p.path, &both, 1, NULL, 0, NULL), LT_EINVAL, "give either bytes");
    ts_close_place(&p);
}

int lti_suite_format_files(void)
{
    return ts_suite("format_files", 3,
                    (ts_test[]){{"gguf", gguf_files},
                                {"safetensors", safetensors_files},
                                {"safetensors made in turn", made_in_turn}});
}
