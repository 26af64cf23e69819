/* test_gguf_tokenizer.c - tokenizers in GGUF files, read and written.
 *
 * The goldens are vocabularies of every kind, with the ids that Hugging Face's tokenizers gives for the tokenizer.json
 * each comes from and that llama.cpp agrees with (scripts/goldens_gguf_tokenizers.py). What is written is read back and
 * must give the same ids again. */
#include "data/json.h"
#include "data/tokenizer/gguf_tokenizer.h"
#include "tests/data_files.h"

#define GOLDEN "tests/golden/gguf_tokenizers/"

static const char *const kinds[] = {"gpt2", "llama3", "qwen2", "smollm", "spm", "gemma", "bert"};

static const char *golden_path(const char *name, const char *ending)
{
    static char path[256];
    snprintf(path, sizeof path, GOLDEN "%s.%s", name, ending);
    return path;
}

static bool same_ids(const lt_ids *ids, const json_t *want)
{
    bool same = (size_t)ids->count == json_array_size(want);
    for (int64_t i = 0; same && i < ids->count; i++)
        same = ids->ids[i] == json_integer_value(json_array_get(want, (size_t)i));
    return same;
}

/* Every text of the golden gives its ids, and, where the tokenizer keeps all of a text, comes back. */
static void check_texts(lt_ctx *ctx, lt_tokenizer *tok, const char *name, const json_t *golden)
{
    const json_t *texts = json_object_get(golden, "texts"), *ids = json_object_get(golden, "ids");
    bool keeps = strcmp(name, "bert") != 0 && strcmp(name, "qwen2") != 0;
    int wrong = 0, lost = 0;
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        int64_t n = (int64_t)json_string_length(json_array_get(texts, i)), bytes;
        lt_ids got = {0};
        char *back = NULL;
        if (TS_OK(ctx, lt_tokenizer_encode(tok, text, n, 0, &got)) && !same_ids(&got, json_array_get(ids, i)) &&
            wrong++ < 3)
            TS_CHECK(false, "%s: text %zu '%s' has other ids", name, i, text);
        bool mark =
            memmem(text, (size_t)n, "\xe2\x96\x81", 3) != NULL; /* SentencePiece's blank comes back as a blank */
        if (keeps && !mark && TS_OK(ctx, lt_tokenizer_decode(tok, got.ids, got.count, 0, &back, &bytes)) &&
            (bytes != n || memcmp(back, text, (size_t)n) != 0) && lost++ < 3)
            TS_CHECK(false, "%s: text %zu '%s' comes back as '%s'", name, i, text, back);
        lt_buffer_free(ctx, back);
        lt_ids_free(ctx, &got);
    }
    TS_CHECK(wrong == 0 && lost == 0 && json_array_size(texts) > 300,
             "%s: %d texts with other ids, %d do not come back", name, wrong, lost);
    lt_ids around = {0};
    if (TS_OK(ctx, lt_tokenizer_encode(tok, "Hello world", 11, LT_ENCODE_SPECIAL_TOKENS, &around)))
        TS_CHECK(same_ids(&around, json_object_get(golden, "around")), "%s: what is put around a text", name);
    lt_ids_free(ctx, &around);
}

/* The tokenizer's keys in a file of their own. */
static bool write_pairs(ts_place *p, const lt_tokenizer *tok, int64_t rows, const char *path)
{
    lt_gguf_pair *pairs;
    int count;
    char hash[33];
    if (!TS_OK(p->ctx, lti_tokenizer_gguf_pairs(p->ctx, tok, rows, &pairs, &count))) return false;
    bool written = TS_OK(p->ctx, lt_gguf_write(p->ctx, path, pairs, count, NULL, 0, hash));
    lti_gguf_pairs_free(p->ctx, pairs, count);
    return written;
}

/* As read; from the saved files; from GGUF keys made of them. */
static void goldens(void)
{
    for (int k = 0; k < LTI_COUNT(kinds); k++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok = NULL, *saved = NULL, *written = NULL;
        json_t *golden = NULL;
        TS_OK(p.ctx, lti_json_read(p.ctx, golden_path(kinds[k], "json"), 1 << 20, &golden));
        if (golden && TS_OK(p.ctx, lt_tokenizer_open(p.ctx, golden_path(kinds[k], "gguf"), &tok))) {
            check_texts(p.ctx, tok, kinds[k], golden);
            TS_OK(p.ctx, lt_tokenizer_save(tok, p.dir));
            if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &saved))) check_texts(p.ctx, saved, kinds[k], golden);
            TS_CHECK(saved && strcmp(lt_tokenizer_hash(saved), lt_tokenizer_hash(tok)) == 0, "the hash stays");
            if (saved && write_pairs(&p, saved, lt_tokenizer_vocab_size(tok) + 3, ts_at(&p, "t.gguf")) &&
                TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_at(&p, "t.gguf"), &written))) {
                check_texts(p.ctx, written, kinds[k], golden);
                TS_CHECK(lt_tokenizer_bos(written) == lt_tokenizer_bos(tok) &&
                             lt_tokenizer_eos(written) == lt_tokenizer_eos(tok) &&
                             lt_tokenizer_pad(written) == lt_tokenizer_pad(tok) &&
                             lt_tokenizer_unknown(written) == lt_tokenizer_unknown(tok) &&
                             lt_tokenizer_vocab_size(written) == lt_tokenizer_vocab_size(tok),
                         "%s: bos, eos, pad, unknown and size come back", kinds[k]);
            }
        }
        lt_tokenizer_free(tok);
        lt_tokenizer_free(saved);
        lt_tokenizer_free(written);
        json_decref(golden);
        ts_close_place(&p);
    }
}

/* The keys themselves, as llama.cpp's converter names them. */
static void keys(void)
{
    static const char *const pre[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "default", "default", "default"};
    for (int k = 0; k < LTI_COUNT(kinds); k++) {
        ts_place p = ts_open_place();
        lt_tokenizer *tok = NULL;
        lt_gguf *g = NULL;
        lt_gguf_string text;
        int64_t type = 0;
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, golden_path(kinds[k], "gguf"), &tok)) &&
            write_pairs(&p, tok, 1000, ts_at(&p, "t.gguf")) && TS_OK(p.ctx, lt_gguf_open(p.ctx, p.path, &g))) {
            const lt_gguf_pair *tokens = lt_gguf_get(g, "tokenizer.ggml.tokens");
            const lt_gguf_pair *types = lt_gguf_get(g, "tokenizer.ggml.token_type");
            TS_CHECK(lt_gguf_text(g, "tokenizer.ggml.pre", &text) && (size_t)text.bytes == strlen(pre[k]) &&
                         memcmp(text.text, pre[k], strlen(pre[k])) == 0,
                     "%s: tokenizer.ggml.pre", kinds[k]);
            TS_CHECK(tokens && tokens->count == 1000 && tokens->strings[999].bytes == 8 &&
                         memcmp(tokens->strings[999].text, "[PAD999]", 8) == 0,
                     "%s: holes are named", kinds[k]);
            TS_CHECK(types && lt_gguf_item_int(types, 999, &type) && type == LTI_TYPE_UNUSED, "%s: unused", kinds[k]);
            TS_CHECK(!lt_gguf_get(g, "tokenizer.ggml.scores") == (k < 4 || k == 6), "%s: scores", kinds[k]);
            TS_CHECK(!lt_gguf_get(g, "tokenizer.ggml.merges") == (k == 4 || k == 6), "%s: merges", kinds[k]);
            TS_CHECK((lt_tokenizer_chat_template(tok) != NULL) == (k == 2) &&
                         !lt_gguf_get(g, "tokenizer.chat_template") == (k != 2),
                     "%s: the chat template", kinds[k]);
        }
        lt_gguf_close(g);
        lt_tokenizer_free(tok);
        ts_close_place(&p);
    }
}

/* Metaspace puts a blank before a text only where none is; the two spellings of Llama's tokenizer differ there. */
static void metaspace(void)
{
    static const char *const schemes[] = {"first", "always", "never"};
    static const char *const texts[] = {"a a", " a a", "  a", "a<x>a", "<x> a", "<x>a", ""};
    static const char rest[] =
        "\"split\":false},\"added_tokens\":[{\"id\":4,\"content\":\"<x>\",\"special\":false,\"normalized\":false}],"
        "\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"byte_fallback\":true,\"fuse_unk\":true,\"vocab\":{\"u\":0,"
        "\"a\":1,\"\xe2\x96\x81\":2,\"\xe2\x96\x81"
        "a\":3},\"merges\":[\"\xe2\x96\x81 a\"]}}";
    ts_place p = ts_open_place();
    for (int k = 0; k < LTI_COUNT(schemes); k++) {
        lt_tokenizer *tok = NULL, *again = NULL;
        char json[1024];
        snprintf(
            json, sizeof json,
            "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"%s\",%s",
            schemes[k], rest);
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok)) &&
            write_pairs(&p, tok, 0, ts_at(&p, "t.gguf")) && TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.path, &again)))
            for (int i = 0; i < LTI_COUNT(texts); i++) {
                lt_ids a = {0}, b = {0};
                TS_OK(p.ctx, lt_tokenizer_encode(tok, texts[i], (int64_t)strlen(texts[i]), 0, &a));
                TS_OK(p.ctx, lt_tokenizer_encode(again, texts[i], (int64_t)strlen(texts[i]), 0, &b));
                TS_CHECK(a.count == b.count && (!a.count || !memcmp(a.ids, b.ids, (size_t)a.count * sizeof *a.ids)),
                         "%s: '%s' has other ids", schemes[k], texts[i]);
                lt_ids_free(p.ctx, &a);
                lt_ids_free(p.ctx, &b);
            }
        lt_tokenizer_free(tok);
        lt_tokenizer_free(again);
    }
    ts_close_place(&p);
}

/* ---- Refusals ---- */

static void refused_files(void)
{
    static const struct {
        const char *file, *words;
        lt_status status;
    } bad[] = {
        {"bad-pre", "tokenizer.ggml.pre 'tekken' is not implemented", LT_EUNSUPPORTED},
        {"bad-old", "does not say how its tokenizer cuts words", LT_EUNSUPPORTED},
        {"bad-model", "tokenizer.ggml.model 't5' is not implemented", LT_EUNSUPPORTED},
        {"bad-no-merges", "tokenizer.ggml.merges is missing", LT_EFORMAT},
        {"bad-no-scores", "tokenizer.ggml.scores is missing", LT_EFORMAT},
        {"bad-twice", "tokens 0 and 7 are both 'a'", LT_EFORMAT},
        {"bad-twice-llama", "tokens 5 and 10 are both 'a'", LT_EFORMAT},
        {"bad-few-types", "tokenizer.ggml.token_type has 7 entries for 8 tokens", LT_EFORMAT},
        {"bad-text-types", "tokenizer.ggml.token_type must be an array of numbers", LT_EFORMAT},
        {"bad-merge", "'x'", LT_EFORMAT},
        {"bad-score", "is not a number", LT_EFORMAT},
        {"bad-utf8", "token 5 is not UTF-8", LT_EFORMAT},
    };
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    char path[256];
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        snprintf(path, sizeof path, "tests/fuzz/corpus/gguf_tokenizer/%s", bad[i].file);
        TS_REFUSED(p.ctx, lt_tokenizer_open(p.ctx, path, &tok), bad[i].status, bad[i].words);
    }
    char hash[33];
    TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "none.gguf"), NULL, 0, NULL, 0, hash));
    TS_REFUSED(p.ctx, lt_tokenizer_open(p.ctx, ts_at(&p, "none.gguf"), &tok), LT_EFORMAT,
               "there is no tokenizer in it");
    ts_close_place(&p);
}

/* A file that does not say how words are cut, or says "default", is read where the family alone tells it. */
static void no_pre(void)
{
    static const struct {
        const char *family, *pre;
        lt_status status;
    } cases[] = {{"gpt2", NULL, LT_OK},
                 {"gpt2", "default", LT_OK},
                 {"llama", NULL, LT_EUNSUPPORTED},
                 {"llama", "default", LT_EUNSUPPORTED},
                 {"gpt2", "tekken", LT_EUNSUPPORTED}};
    static const lt_gguf_string tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}}, merges[] = {{"a b", 3}},
                                model = {"gpt2", 4};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        const lt_gguf_string family = {cases[i].family, (int64_t)strlen(cases[i].family)};
        const lt_gguf_string pre = {cases[i].pre, cases[i].pre ? (int64_t)strlen(cases[i].pre) : 0};
        const lt_gguf_pair pairs[] = {
            {.key = "general.architecture", .type = LT_GGUF_STRING, .count = 1, .strings = &family},
            {.key = "tokenizer.ggml.model", .type = LT_GGUF_STRING, .count = 1, .strings = &model},
            {.key = "tokenizer.ggml.tokens",
             .type = LT_GGUF_ARRAY,
             .item = LT_GGUF_STRING,
             .count = 3,
             .strings = tokens},
            {.key = "tokenizer.ggml.merges",
             .type = LT_GGUF_ARRAY,
             .item = LT_GGUF_STRING,
             .count = 1,
             .strings = merges},
            {.key = "tokenizer.ggml.pre", .type = LT_GGUF_STRING, .count = 1, .strings = &pre}};
        lt_tokenizer *tok;
        TS_OK(p.ctx, lt_gguf_write(p.ctx, ts_at(&p, "a.gguf"), pairs, cases[i].pre ? 5 : 4, NULL, 0, NULL));
        lt_status status = lt_tokenizer_open(p.ctx, ts_at(&p, "a.gguf"), &tok);
        TS_CHECK(status == cases[i].status, "case %d: %s", i, lt_ctx_message(p.ctx));
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

/* What a tokenizer.json can say and GGUF cannot. */
static void refused_tokenizers(void)
{
    static const char level[] =
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}";
    static const char model[] =
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}";
    static const struct {
        const char *parts, *words;
    } bad[] = {
        {"\"normalizer\":{\"type\":\"Lowercase\"},", "normalizer 'Lowercase'"},
        {"\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"special\":false,\"lstrip\":true}],", "added token 'x'"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\"}},"
         "{\"SpecialToken\":{\"id\":\"a\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"a\":{\"ids\":[0]}}},",
         "2 and 0"},
    };
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_gguf_pair *pairs;
    char json[1024];
    int count;
    for (int i = 0; i < LTI_COUNT(bad); i++) {
        snprintf(json, sizeof json, "{%s%s,%s}", bad[i].parts, level, model);
        if (!TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) continue;
        TS_REFUSED(p.ctx, lti_tokenizer_gguf_pairs(p.ctx, tok, 0, &pairs, &count), LT_EUNSUPPORTED, bad[i].words);
        lt_tokenizer_free(tok);
    }
    snprintf(json, sizeof json, "{%s,%s}", level, model);
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) {
        TS_REFUSED(p.ctx, lti_tokenizer_gguf_pairs(p.ctx, tok, 2, &pairs, &count), LT_EINVAL, "3 tokens");
        lt_tokenizer_free(tok);
    }
    snprintf(json, sizeof json,
             "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
             "\"use_regex\":false},%s}",
             model);
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) {
        TS_REFUSED(p.ctx, lti_tokenizer_gguf_pairs(p.ctx, tok, 0, &pairs, &count), LT_EUNSUPPORTED, "pre-tokenizer");
        lt_tokenizer_free(tok);
    }
    if (TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) { /* nothing merges there: any cut will do */
        write_pairs(&p, tok, 0, ts_at(&p, "bytes.gguf"));
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

/* ---- Memory ---- */

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    lt_gguf_pair *pairs;
    int count;
    LTI_TRY(lt_tokenizer_open(ctx, arg, &tok));
    lt_status status = lti_tokenizer_gguf_pairs(ctx, tok, 20, &pairs, &count);
    if (status == LT_OK) lti_gguf_pairs_free(ctx, pairs, count);
    lt_tokenizer_free(tok);
    return status;
}

static void memory(void)
{
    static const char *const seeds[] = {"ok-holes", "ok-llama", "ok-llama-merges", "ok-bert"};
    for (int i = 0; i < LTI_COUNT(seeds); i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/fuzz/corpus/gguf_tokenizer/%s", seeds[i]);
        ts_every_allocation_fails(seeds[i], attempt, path);
    }
}

/* ---- Real vocabularies ---- */

static char *read_all(ts_place *p, const char *name, uint64_t *size)
{
    char *bytes = NULL;
    TS_OK(p->ctx, lti_file_read(p->ctx, ts_data(name), 1 << 20, &bytes, size));
    return bytes;
}

/* The prompts and ids that llama.cpp ships for GPT-2's vocabulary. */
static void vectors(void)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    ts_place p = ts_open_place();
    lt_tokenizer *tok = NULL;
    uint64_t size;
    char *in = read_all(&p, "tokenizers/vectors/ggml-vocab-gpt-2.gguf.inp", &size);
    char *out = read_all(&p, "tokenizers/vectors/ggml-vocab-gpt-2.gguf.out", &size), *line = out;
    int right = 0, all = 0;
    if (in && out && TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_data("tokenizers/ggml-vocab-gpt-2.gguf"), &tok))) {
        for (char *text = in, *next; (next = strstr(text, separator)); text = next + strlen(separator), all++) {
            lt_ids ids = {0};
            int64_t n = next - text;
            bool same = TS_OK(p.ctx, lt_tokenizer_encode(tok, text, n, 0, &ids));
            char *end = line + strcspn(line, "\n"), *at = line;
            for (int64_t i = 0; same && i < ids.count; i++) same = strtol(at, &at, 10) == ids.ids[i];
            right += same && at + strspn(at, " ") == end;
            line = *end ? end + 1 : end;
            lt_ids_free(p.ctx, &ids);
        }
    }
    TS_CHECK(all == 46 && right == 46, "%d of %d prompts", right, all);
    lt_tokenizer_free(tok);
    lti_free(p.ctx, in);
    lti_free(p.ctx, out);
    ts_close_place(&p);
}

/* The same model in both formats: the GGUF has scores, the directory merges. */
static void stories(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok[2] = {NULL, NULL};
    json_t *golden = NULL;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s", ts_data("models/stories260K/hf"));
    TS_OK(p.ctx, lti_json_read(p.ctx, GOLDEN "spm.json", 1 << 20, &golden));
    bool open = TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_data("models/stories260K/stories260K-f32.gguf"), &tok[0])) &&
                TS_OK(p.ctx, lt_tokenizer_open(p.ctx, directory, &tok[1]));
    const json_t *texts = json_object_get(golden, "texts");
    for (size_t i = 0; open && i < json_array_size(texts); i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        int64_t n = (int64_t)json_string_length(json_array_get(texts, i));
        lt_ids ids[2] = {{0}, {0}};
        for (int k = 0; k < 2; k++)
            TS_OK(p.ctx, lt_tokenizer_encode(tok[k], text, n, LT_ENCODE_SPECIAL_TOKENS, &ids[k]));
        TS_CHECK(ids[0].count == ids[1].count &&
                     memcmp(ids[0].ids, ids[1].ids, (size_t)ids[0].count * sizeof(int32_t)) == 0,
                 "'%s' has other ids in GGUF", text);
        for (int k = 0; k < 2; k++) lt_ids_free(p.ctx, &ids[k]);
    }
    json_decref(golden);
    for (int k = 0; k < 2; k++) lt_tokenizer_free(tok[k]);
    ts_close_place(&p);
}

int lti_suite_gguf_tokenizer(void)
{
    static const ts_test tests[] = {
        {"ids of every kind, saved and written again", goldens},
        {"the keys that are written", keys},
        {"Metaspace keeps its scheme", metaspace},
        {"files that are refused", refused_files},
        {"files that do not say how words are cut", no_pre},
        {"tokenizers GGUF has no form for", refused_tokenizers},
        {"every allocation fails", memory},
    };
    if (ts_suite("gguf_tokenizer", LTI_COUNT(tests), tests) != 0) return 1;
    CU_pSuite suite = CU_get_suite("gguf_tokenizer");
    return ts_add_with_data(suite, "46 prompts of GPT-2", "tokenizers/ggml-vocab-gpt-2.gguf", vectors) ||
           ts_add_with_data(suite, "stories260K: scores and merges", "models/stories260K/hf/tokenizer.json", stories);
}
