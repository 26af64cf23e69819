/* data_files.h - for suites about files: where the test data lie, fixtures in a directory of their own, and checks that
 * a call is refused with a status and certain words. */
#ifndef TS_DATA_FILES_H
#define TS_DATA_FILES_H

#include "data/files.h"
#include "tests/testing.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* LT_DATA, or ../shared/data of the project's root. */
static inline const char *ts_data(const char *name)
{
    static char path[4096];
    const char *root = getenv("LT_DATA");
    snprintf(path, sizeof path, "%s/%s", root && *root ? root : "../shared/data", name);
    return path;
}

static inline void ts_nothing(void) {}

/* Registers a test that needs a file of the test data; without it the list shows the test as skipped. */
static inline int ts_add_with_data(CU_pSuite suite, const char *name, const char *file, void (*run)(void))
{
    char text[256];
    if (access(ts_data(file), R_OK) == 0) return CU_add_test(suite, name, run) == NULL;
    snprintf(text, sizeof text, "%s [SKIPPED: no %s; set LT_DATA]", name, file);
    printf("%s\n", text);
    return CU_add_test(suite, text, ts_nothing) == NULL;
}

/* A context, and a directory that is removed with it. */
typedef struct ts_place {
    lt_ctx *ctx;
    char dir[64], path[512];
} ts_place;

static inline ts_place ts_open_place(void)
{
    ts_place p = {.ctx = lt_ctx_create(NULL), .dir = "/tmp/lathe-test-XXXXXX"};
    TS_CHECK(p.ctx != NULL, "a context is made");
    TS_CHECK(mkdtemp(p.dir) != NULL, "a directory is made");
    return p;
}

/* Checks also that nothing stays allocated. */
static inline void ts_close_place(ts_place *p)
{
    TS_OK(p->ctx, lti_remove_tree(p->ctx, p->dir));
    TS_CHECK(lt_ctx_live_bytes(p->ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(p->ctx));
    lt_ctx_free(p->ctx);
}

static inline const char *ts_at(ts_place *p, const char *name)
{
    snprintf(p->path, sizeof p->path, "%s/%s", p->dir, name);
    return p->path;
}

/* Writes a fixture and returns its path. */
static inline const char *ts_put(ts_place *p, const char *name, const void *bytes, size_t count)
{
    FILE *file = fopen(ts_at(p, name), "wb");
    TS_CHECK(file && fwrite(bytes, 1, count, file) == count, "%s is written", name);
    if (file) fclose(file);
    return p->path;
}

static inline const char *ts_put_text(ts_place *p, const char *name, const char *text)
{
    return ts_put(p, name, text, strlen(text));
}

#define TS_REFUSED(ctx, call, status, words)                                                                           \
    do {                                                                                                               \
        lt_status ts_got = (call);                                                                                     \
        TS_CHECK(ts_got == (status) && strstr(lt_ctx_message(ctx), words), "%s: %s (%s), not %s with '%s'", #call,     \
                 lt_status_name(ts_got), lt_ctx_message(ctx), lt_status_name(status), words);                          \
    } while (0)

#endif
