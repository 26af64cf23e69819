/* test_reply.c - the text of a reply as its ids come: characters and stop texts that lie across ids, blanks that depend
 * on the id before, bytes that are no text. Oracles read the whole at once, the slow way. */
#include "data/utf8.h"
#include "infer/reply.h"
#include "tests/data_files.h"
#include "tests/golden.h"

/* ---- Bytes to characters ---- */

/* Which bytes may be second, and how many follow: table 3-7 of the Unicode standard. */
static int follow(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return lead < 0x80 ? 0 : lead < 0xC2 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : -1;
}

/* The text of n bytes; what is no character becomes U+FFFD, the longest beginning of one at a time. */
static void readable(const unsigned char *bytes, size_t n, lti_text *out)
{
    for (size_t i = 0, used; i < n; i += used) {
        unsigned char low, high;
        int more = follow(bytes[i], &low, &high);
        used = 1;
        while (more > 0 && i + used < n && bytes[i + used] >= low && bytes[i + used] <= high) {
            used++, more--;
            low = 0x80, high = 0xBF;
        }
        if (more == 0)
            lti_text_add(out, (const char *)bytes + i, used);
        else
            lti_text_add(out, "\xEF\xBF\xBD", 3);
    }
}

/* Where the text ends: before the longest stop text that ends first. */
static size_t end_of(const char *text, size_t n, int n_stop, const char *const *stop)
{
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (int i = 0; i < n_stop; i++) {
            size_t k = strlen(stop[i]);
            if (k <= end && k > longest && !memcmp(text + end - k, stop[i], k)) longest = k;
        }
        if (longest) return end - longest;
    }
    return n;
}

/* ---- Anything, byte by byte ---- */

static const char *const pieces[] = {"a",
                                     "b",
                                     "ab",
                                     "\xC3\xA9",
                                     "\xE2\x82\xAC",
                                     "\xF0\x9F\x98\x80",
                                     "\xC3",
                                     "\xE2\x82",
                                     "\xF0",
                                     "\xF0\x9F\x98",
                                     "\x80",
                                     "\xFF",
                                     "\xED\xA0",
                                     "\xF4\x90\x80",
                                     "\n",
                                     "\xE0\x9F",
                                     "c"};
static const char *const stops[] = {"ab",
                                    "ba",
                                    "aab",
                                    "\xC3\xA9",
                                    "a\xE2\x82\xAC",
                                    ("b\xF0\x9F\x98\x80"
                                     "a"),
                                    "\n",
                                    "aa",
                                    "abab",
                                    "cab",
                                    "\xE2\x82\xAC\xE2\x82\xAC"};

static int choose(const char *what, int64_t index, int n)
{
    return (int)(ts_uniform(what, index) * n);
}

/* Feeds the bytes one by one; checks what comes on the way and in the end. */
static void judge_bytes(lt_ctx *ctx, lt_tokenizer *tokenizer, const lti_text *raw, const lt_sampling *how,
                        const lti_text *want, bool cut)
{
    lti_reply reply;
    lti_text got = {.ctx = ctx};
    bool stopped = false, right = true, prompt = true;
    int64_t bytes;
    TS_OK(ctx, lti_reply_open(ctx, tokenizer, how, &(lt_ids){0}, (int64_t)raw->length, &reply));
    for (size_t i = 0; i < raw->length && !stopped; i++) {
        if (!TS_OK(ctx, lti_reply_add(&reply, (unsigned char)raw->data[i], &stopped))) break;
        const char *text = lti_reply_take(&reply, false, &bytes);
        right = right && lti_utf8_check((const unsigned char *)text, (uint64_t)bytes) == (uint64_t)bytes;
        if (bytes) lti_text_add(&got, text, (size_t)bytes);
        right = right && got.length <= want->length && (!got.length || !memcmp(got.data, want->data, got.length));
        prompt = prompt && (stopped || got.length + reply.longest_stop >= reply.text.length);
    }
    TS_OK(ctx, lti_reply_end(&reply));
    const char *rest = lti_reply_take(&reply, true, &bytes);
    lti_text_add(&got, rest, (size_t)bytes);
    TS_CHECK(right, "what came is whole characters of the result");
    TS_CHECK(prompt, "no more is held back than may become a stop text");
    TS_CHECK(stopped == cut, "stopped: %d", stopped);
    TS_CHECK(got.length == want->length && !memcmp(got.data, want->data, want->length), "got '%s', want '%.*s'",
             got.data, (int)want->length, want->data);
    TS_CHECK(reply.text.length == want->length && !strncmp(reply.text.data, got.data, got.length), "the result is it");
    lti_text_free(&got);
    lti_reply_close(&reply);
}

static void anything(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tokenizer = NULL;
    TS_OK(ctx, lt_tokenizer_bytes(ctx, &tokenizer));
    for (int64_t round = 0; round < 3000; round++) {
        lti_text raw = {.ctx = ctx}, want = {.ctx = ctx};
        const char *chosen[3];
        lt_sampling how;
        lt_sampling_init(&how);
        how.stop = chosen;
        how.n_stop = choose("stops", round, 4);
        for (int i = 0; i < how.n_stop; i++) chosen[i] = stops[choose("stop", 3 * round + i, LTI_COUNT(stops))];
        int n = 1 + choose("length", round, 20);
        for (int i = 0; i < n; i++) {
            const char *piece = pieces[choose("piece", 20 * round + i, LTI_COUNT(pieces))];
            lti_text_add(&raw, piece, strlen(piece));
        }
        readable((const unsigned char *)raw.data, raw.length, &want);
        size_t end = end_of(want.data, want.length, how.n_stop, how.stop);
        bool cut = end < want.length;
        want.length = end;
        judge_bytes(ctx, tokenizer, &raw, &how, &want, cut);
        lti_text_free(&raw);
        lti_text_free(&want);
    }
    lt_tokenizer_free(tokenizer);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* ---- Published kinds of tokenizers: any cut of a text into prompt and reply ---- */

static void judge_cut(lt_ctx *ctx, lt_tokenizer *tokenizer, const char *name, const lt_ids *ids, int64_t at)
{
    lt_ids prompt = {ids->ids, at, ids->capacity};
    lt_sampling how;
    lt_sampling_init(&how);
    lti_reply reply;
    char *whole = NULL, *before = NULL;
    int64_t n, k;
    bool stopped;
    TS_OK(ctx, lt_tokenizer_decode(tokenizer, ids->ids, ids->count, 0, &whole, &n));
    TS_OK(ctx, lt_tokenizer_decode(tokenizer, ids->ids, at, 0, &before, &k));
    TS_OK(ctx, lti_reply_open(ctx, tokenizer, &how, &prompt, ids->count, &reply));
    for (int64_t i = at; i < ids->count; i++) TS_OK(ctx, lti_reply_add(&reply, ids->ids[i], &stopped));
    if (n >= k && lti_utf8_check((const unsigned char *)before, (uint64_t)k) == (uint64_t)k)
        TS_CHECK(reply.text.length == (size_t)(n - k) && !memcmp(reply.text.data, whole + k, (size_t)(n - k)),
                 "%s: behind '%s' comes '%s', not '%s'", name, before, reply.text.data, whole + k);
    lti_reply_close(&reply);
    lt_buffer_free(ctx, whole);
    lt_buffer_free(ctx, before);
}

static void any_cut(void)
{
    static const char *const names[] = {"spm", "gemma", "llama3", "gpt2", "smollm", "qwen2"};
    for (int m = 0; m < LTI_COUNT(names); m++) {
        lt_ctx *ctx = lt_ctx_create(NULL);
        lt_tokenizer *tokenizer = NULL;
        char path[600];
        snprintf(path, sizeof path, "%s/gguf_tokenizers/%s.json", gd_directory(), names[m]);
        json_t *golden = json_load_file(path, JSON_ALLOW_NUL, NULL), *texts = json_object_get(golden, "texts"), *text;
        TS_CHECK(json_array_size(texts) > 20, "%s has texts", path);
        snprintf(path, sizeof path, "%s/gguf_tokenizers/%s.gguf", gd_directory(), names[m]);
        TS_OK(ctx, lt_tokenizer_open(ctx, path, &tokenizer));
        size_t i;
        json_array_foreach(texts, i, text)
        {
            lt_ids ids = {0};
            if (i >= 40 || !tokenizer) break;
            TS_OK(ctx,
                  lt_tokenizer_encode(tokenizer, json_string_value(text), (int64_t)json_string_length(text), 0, &ids));
            for (int64_t at = 0; at < ids.count && at < 12; at++) judge_cut(ctx, tokenizer, names[m], &ids, at);
            lt_ids_free(ctx, &ids);
        }
        lt_tokenizer_free(tokenizer);
        json_decref(golden);
        TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
        lt_ctx_free(ctx);
    }
}

/* ---- Ids ---- */

static void which_ids(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tokenizer = NULL;
    lt_sampling how;
    lt_sampling_init(&how);
    how.n_stop = 1, how.stop = (const char *const[]){"cd"};
    lti_reply reply;
    bool stopped = false;
    const int32_t ids[] = {'a', 257, 'b', 300, 0xC3, 'c', 'd'};
    TS_OK(ctx, lt_tokenizer_bytes(ctx, &tokenizer));
    TS_OK(ctx, lti_reply_open(ctx, tokenizer, &how, &(lt_ids){0}, 10, &reply));
    for (int i = 0; i < LTI_COUNT(ids); i++) {
        TS_CHECK(!stopped && reply.count == i, "id %d", i);
        TS_OK(ctx, lti_reply_add(&reply, ids[i], &stopped));
    }
    TS_CHECK(stopped && reply.count == 5 && !strcmp(reply.text.data, "ab\xEF\xBF\xBD"),
             "%lld ids begin before the stop text, those without a text too; '%s'", (long long)reply.count,
             reply.text.data);
    lti_reply_close(&reply);
    lti_reply_close(&(lti_reply){0});
    lt_tokenizer_free(tokenizer);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

int lti_suite_reply(void)
{
    const ts_test tests[] = {
        {"anything, byte by byte", anything}, {"any cut of a text", any_cut}, {"which ids", which_ids}};
    return ts_suite("reply", LTI_COUNT(tests), tests);
}
