/* test_tokenizer_families.c - every family of tokenizers against Hugging Face's tokenizers 0.23: hard strings whose ids
 * and decoded texts that library gave (scripts/goldens_tokenizers.py), llama.cpp's vectors for real vocabularies, and
 * megabytes without a break. */
#include "base/text.h"
#include "lathe/data.h"
#include "tests/data_files.h"

#include <jansson.h>
#include <time.h>

#define FOLDER "tests/golden/tokenizers/"

static const char *const families[] = {
    "gpt2",
    "roberta",
    "llama3",
    "qwen2",
    "smollm",
    "neox",
    "cased",
    "deepseek",
    "falcon",
    "nfkc",
    "llama2",
    "gemma",
    "metaspace_first",
    "metaspace_always",
    "metaspace_never",
    "bert_uncased",
    "bert_cased",
    "words",
    "split_removed",
    "split_removed_inverted",
    "split_isolated",
    "split_isolated_inverted",
    "split_merged_with_previous",
    "split_merged_with_previous_inverted",
    "split_merged_with_next",
    "split_merged_with_next_inverted",
    "split_contiguous",
    "split_contiguous_inverted",
};

static uint32_t fnv(const void *data, size_t count)
{
    const unsigned char *bytes = data;
    uint32_t hash = 0x811C9DC5u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x01000193u;
    return hash;
}

static char *slurp(lt_ctx *ctx, const char *path, uint64_t *size)
{
    char *bytes = NULL;
    TS_OK(ctx, lti_file_read(ctx, path, 1 << 24, &bytes, size));
    return bytes;
}

typedef struct trial {
    lt_ctx *ctx;
    lt_tokenizer *tok;
    const char *family;
    int number, failed;
    json_t *text;
} trial;

static void differ(trial *t, const char *what)
{
    if (t->failed++ > 3) return; /* the first few say what is wrong */
    char *shown = json_dumps(t->text, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    TS_CHECK(false, "%s: string %d: %s: %s", t->family, t->number, what, shown ? shown : "?");
    free(shown);
}

/* One string: the hashes of its ids in both ways and of what comes back. */
static void try_string(trial *t, const char *row, bool exact)
{
    const char *text = json_string_value(t->text), *p = strstr(row, "p="), *d = strstr(row, "d=");
    int64_t length = (int64_t)json_string_length(t->text), n = 0;
    uint32_t want = (uint32_t)strtoul(row, NULL, 16), want_plain = p ? (uint32_t)strtoul(p + 2, NULL, 16) : want;
    lt_ids ids = {0}, plain = {0};
    char *back = NULL;
    if (lt_tokenizer_encode(t->tok, text, length, LT_ENCODE_PARSE_SPECIAL, &ids) != LT_OK ||
        lt_tokenizer_encode(t->tok, text, length, 0, &plain) != LT_OK) {
        differ(t, lt_ctx_message(t->ctx));
    } else {
        if (fnv(ids.ids, (size_t)ids.count * sizeof *ids.ids) != want) differ(t, "ids");
        if (fnv(plain.ids, (size_t)plain.count * sizeof *plain.ids) != want_plain) differ(t, "ids without specials");
        TS_OK(t->ctx, lt_tokenizer_decode(t->tok, ids.ids, ids.count, LT_DECODE_SPECIAL_TOKENS, &back, &n));
        bool same = n == length && memcmp(back, text, (size_t)n) == 0;
        if (d ? fnv(back, (size_t)n) != strtoul(d + 2, NULL, 16) : !same) differ(t, "decoded text");
        lt_buffer_free(t->ctx, back);
        back = NULL;
        if (exact) TS_OK(t->ctx, lt_tokenizer_decode(t->tok, plain.ids, plain.count, 0, &back, &n));
        if (exact && (n != length || memcmp(back, text, (size_t)n) != 0)) differ(t, "what comes back");
        lt_buffer_free(t->ctx, back);
    }
    lt_ids_free(t->ctx, &ids);
    lt_ids_free(t->ctx, &plain);
}

/* "exact 1 17 2": the ids of "a b" with what is put around. */
static void try_around(trial *t, const char *row)
{
    lt_ids ids = {0};
    const char *at = strchr(row, ' ');
    bool same = at && lt_tokenizer_encode(t->tok, "a b", 3, LT_ENCODE_SPECIAL_TOKENS, &ids) == LT_OK;
    for (int64_t i = 0; same && i < ids.count; i++) {
        char *end;
        same = strtol(at, &end, 10) == ids.ids[i] && end != at;
        at = end;
    }
    TS_CHECK(same && *at == '\n', "%s: 'a b' with what is put around it", t->family);
    lt_ids_free(t->ctx, &ids);
}

static void try_family(lt_ctx *ctx, const char *family, json_t *strings)
{
    char path[128];
    uint64_t size;
    trial t = {.ctx = ctx, .family = family};
    snprintf(path, sizeof path, FOLDER "%s.json", family);
    if (!TS_OK(ctx, lt_tokenizer_open(ctx, path, &t.tok))) return;
    snprintf(path, sizeof path, FOLDER "%s.ids", family);
    char *rows = slurp(ctx, path, &size), *row = rows;
    if (rows) {
        bool exact = strncmp(rows, "exact", 5) == 0;
        try_around(&t, rows);
        for (; t.number < (int)json_array_size(strings); t.number++) {
            t.text = json_array_get(strings, (size_t)t.number);
            row = strchr(row, '\n') + 1;
            if (!TS_CHECK(*row, "%s: as many rows as strings", family)) break;
            char *end = strchr(row, '\n');
            *end = 0; /* so that nothing is read out of the next row */
            try_string(&t, row, exact);
            *end = '\n';
        }
        TS_CHECK(t.failed == 0 && t.number >= 1000, "%s: %d of %d differ", family, t.failed, t.number);
    }
    lti_free(ctx, rows);
    lt_tokenizer_free(t.tok);
}

static void goldens(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    json_t *strings = json_load_file(FOLDER "strings.json", JSON_ALLOW_NUL, NULL);
    if (TS_CHECK(json_array_size(strings) >= 1000, "the strings are read"))
        for (int i = 0; i < LTI_COUNT(families); i++) try_family(ctx, families[i], strings);
    json_decref(strings);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- A megabyte of one thing ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(LTI_COUNTS_LINES)
#define LONG (1 << 17)
#else
#define LONG (1 << 20)
#endif

static void try_long(lt_ctx *ctx, const char *family, lt_tokenizer *tok, char *text, const char *unit)
{
    size_t n = strlen(unit);
    lt_ids ids = {0};
    for (int64_t i = 0; i < LONG; i++) text[i] = unit[(size_t)i % n];
    int64_t length = LONG - LONG % (int64_t)n;
    clock_t start = clock();
    TS_OK(ctx, lt_tokenizer_encode(tok, text, length, 0, &ids));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    /* Below 2 s in a release build; what is quadratic takes a quarter of an hour in any. */
    TS_CHECK(seconds < 60, "%s: %lld ids of a run of U+%04X in %g s: something is quadratic", family,
             (long long)ids.count, (unsigned)(unsigned char)unit[0], seconds);
    lt_ids_free(ctx, &ids);
}

static void long_runs(void)
{
    static const char *const units[] = {"a", " ", "7", "\n", "\u0301\u0323", "\xff"};
    lt_ctx *ctx = lt_ctx_create(NULL);
    char *text = malloc(LONG), path[128];
    for (int f = 0; text && f < LTI_COUNT(families); f++) {
        lt_tokenizer *tok;
        if (strncmp(families[f], "split_", 6) == 0) continue;
        snprintf(path, sizeof path, FOLDER "%s.json", families[f]);
        if (!TS_OK(ctx, lt_tokenizer_open(ctx, path, &tok))) break;
        for (int u = 0; u < LTI_COUNT(units); u++) try_long(ctx, families[f], tok, text, units[u]);
        lt_tokenizer_free(tok);
    }
    free(text);
    lt_ctx_free(ctx);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    lt_ids ids = {0};
    char *text = NULL;
    int64_t n;
    static const char words[] = "  \u00c9t\u00e9 a\u0301\u0323 123 don't \u4e2d\u6587 WORD x\ty";
    LTI_TRY(lt_tokenizer_open(ctx, arg, &tok));
    lt_status status = LT_OK;
    for (int i = 0; i < 60 && status == LT_OK; i++) /* often enough for the table of known pieces */
        status = lt_tokenizer_encode(tok, words, (int64_t)sizeof words - 1, 0, &ids);
    if (status == LT_OK) status = lt_tokenizer_decode(tok, ids.ids, ids.count, 0, &text, &n);
    lt_buffer_free(ctx, text);
    lt_ids_free(ctx, &ids);
    lt_tokenizer_free(tok);
    return status;
}

static void memory(void)
{
    static const char *const some[] = {"qwen2", "falcon", "nfkc", "metaspace_always", "bert_uncased", "split_removed"};
    for (int i = 0; i < LTI_COUNT(some); i++) {
        char path[128];
        snprintf(path, sizeof path, FOLDER "%s.json", some[i]);
        ts_every_allocation_fails(some[i], attempt, path);
    }
}

/* ---- Real vocabularies ---- */

#define SEPARATOR "\n__ggml_vocab_test__\n"

/* llama.cpp's prompts and the ids it gives for them. */
static void try_vectors(lt_ctx *ctx, lt_tokenizer *tok, const char *name)
{
    char path[256];
    uint64_t size, unused;
    int good = 0, count = 0;
    snprintf(path, sizeof path, "tokenizers/vectors/ggml-vocab-%s.gguf.inp", name);
    char *prompts = slurp(ctx, ts_data(path), &size);
    snprintf(path, sizeof path, "tokenizers/vectors/ggml-vocab-%s.gguf.out", name);
    char *rows = slurp(ctx, ts_data(path), &unused), *row = rows, *end;
    for (char *at = prompts; rows && at && (end = strstr(at, SEPARATOR)); at = end + strlen(SEPARATOR)) {
        lt_ids ids = {0};
        bool same = lt_tokenizer_encode(tok, at, end - at, 0, &ids) == LT_OK;
        char *stop = strchr(row, '\n'), *next = row;
        for (int64_t i = 0; same && i < ids.count; i++, row = next)
            same = strtol(row, &next, 10) == ids.ids[i] && next != row && next <= stop;
        same = same && row + strspn(row, " ") == stop;
        TS_CHECK(same, "%s: prompt %d", name, count);
        good += same;
        count++;
        row = stop + 1;
        lt_ids_free(ctx, &ids);
    }
    TS_CHECK(good == 46 && count == 46, "%s: %d of %d prompts", name, good, count);
    lti_free(ctx, prompts);
    lti_free(ctx, rows);
}

static void neox_vectors(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    if (TS_OK(ctx, lt_tokenizer_open(ctx, ts_data("tokenizers/gpt-neox-20b-tokenizer.json"), &tok))) {
        try_vectors(ctx, tok, "mpt"); /* its vocabulary is GPT-NeoX's */
        lt_tokenizer_free(tok);
    }
    lt_ctx_free(ctx);
}

/* GPT-2's own two files as a tokenizer.json. */
static char *gpt2_json(lt_ctx *ctx, uint64_t *size)
{
    uint64_t unused;
    lti_text json = {.ctx = ctx};
    char *vocab = slurp(ctx, ts_data("tokenizers/gpt2/encoder.json"), &unused);
    char *merges = slurp(ctx, ts_data("tokenizers/gpt2/vocab.bpe"), &unused);
    lti_text_format(&json, "{\"added_tokens\":[{\"id\":50256,\"content\":\"<|endoftext|>\",\"special\":true}],"
                           "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                           "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"merges\":[");
    const char *comma = "";
    for (char *line = merges ? strchr(merges, '\n') : NULL, *end; line && (end = strchr(++line, '\n')); line = end) {
        *end = 0;
        lti_text_add(&json, comma, strlen(comma));
        lti_text_json(&json, line);
        comma = ",";
    }
    lti_text_add(&json, "],\"vocab\":", 10);
    if (vocab) lti_text_add(&json, vocab, strlen(vocab));
    lti_text_add(&json, "}}", 2);
    lti_free(ctx, vocab);
    lti_free(ctx, merges);
    *size = json.length;
    return json.data;
}

static void gpt2_vectors(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    uint64_t size;
    char *json = gpt2_json(p.ctx, &size);
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put(&p, "gpt2.json", json, size), &tok))) {
        TS_CHECK(lt_tokenizer_vocab_size(tok) == 50257, "%d tokens", lt_tokenizer_vocab_size(tok));
        try_vectors(p.ctx, tok, "gpt-2");
        lt_tokenizer_free(tok);
    }
    lti_free(p.ctx, json);
    ts_close_place(&p);
}

static void smollm2(void)
{
    static const struct {
        const char *text;
        int32_t count, ids[10];
    } want[] = {
        {"Hello, we can use", 5, {19556, 28, 392, 416, 722}},
        {"Hello world! 123", 7, {19556, 905, 17, 216, 33, 34, 35}},
        {"\n", 1, {198}},
        {"Caf\u00e9 d\u00e9j\u00e0 vu.", 9, {51, 1939, 2756, 32564, 90, 16739, 386, 101, 30}},
        {"  multiple   spaces", 4, {216, 2701, 256, 5600}},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    if (TS_OK(ctx, lt_tokenizer_open(ctx, ts_data("models/SmolLM2-135M-Instruct/tokenizer.json"), &tok))) {
        for (int i = 0; i < LTI_COUNT(want); i++) {
            lt_ids ids = {0};
            TS_OK(ctx, lt_tokenizer_encode(tok, want[i].text, (int64_t)strlen(want[i].text), 0, &ids));
            TS_CHECK(ids.count == want[i].count && memcmp(ids.ids, want[i].ids, (size_t)ids.count * 4) == 0, "'%s'",
                     want[i].text);
            lt_ids_free(ctx, &ids);
        }
        lt_tokenizer_free(tok);
    }
    lt_ctx_free(ctx);
}

int lti_suite_tokenizer_families(void)
{
    static const ts_test tests[] = {
        {"goldens of every family", goldens},
        {"a megabyte of one thing", long_runs},
        {"every allocation fails", memory},
    };
    if (ts_suite("tokenizer_families", LTI_COUNT(tests), tests) != 0) return 1;
    CU_pSuite suite = CU_get_suite("tokenizer_families");
    return ts_add_with_data(suite, "GPT-NeoX: llama.cpp's vectors", "tokenizers/gpt-neox-20b-tokenizer.json",
                            neox_vectors) ||
           ts_add_with_data(suite, "GPT-2: llama.cpp's vectors", "tokenizers/gpt2/encoder.json", gpt2_vectors) ||
           ts_add_with_data(suite, "SmolLM2: published ids", "models/SmolLM2-135M-Instruct/tokenizer.json", smollm2);
}
