/* test_tokenizer.c - tokenizers: ids against those of Hugging Face's tokenizers 0.23 (goldens), round trips, control
 * tokens, and broken files. */
#include "lathe/data.h"
#include "tests/data_files.h"

/* Expects exactly these ids, then that they decode to `back`. */
static void check_ids(lt_ctx *ctx, lt_tokenizer *tok, const char *text, unsigned flags, int count, const int32_t *want,
                      const char *back)
{
    lt_ids ids = {0};
    if (TS_OK(ctx, lt_tokenizer_encode(tok, text, (int64_t)strlen(text), flags, &ids))) {
        bool same = ids.count == count && (count == 0 || memcmp(ids.ids, want, (size_t)count * sizeof *want) == 0);
        TS_CHECK(same, "'%s': %lld ids, the first is %d", text, (long long)ids.count, ids.count ? ids.ids[0] : -1);
        char *decoded;
        int64_t bytes;
        if (TS_OK(ctx, lt_tokenizer_decode(tok, ids.ids, ids.count, 0, &decoded, &bytes))) {
            TS_CHECK(strcmp(decoded, back) == 0 && (size_t)bytes == strlen(back), "'%s' comes back as '%s'", text,
                     decoded);
            lt_buffer_free(ctx, decoded);
        }
    }
    lt_ids_free(ctx, &ids);
}

#define IDS(...)                                                                                                       \
    LTI_COUNT(((int32_t[]){__VA_ARGS__})), (int32_t[])                                                                 \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void stories(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    if (!TS_OK(ctx, lt_tokenizer_open(ctx, ts_data("models/stories260K/hf"), &tok))) return;
    TS_CHECK(lt_tokenizer_vocab_size(tok) == 512 && lt_tokenizer_bos(tok) == 1 && lt_tokenizer_eos(tok) == 2 &&
                 lt_tokenizer_adds_bos(tok),
             "512 tokens, BOS 1 is added, EOS 2");
    TS_CHECK(lt_tokenizer_files(tok) == 2, "%d files", lt_tokenizer_files(tok));
    static const char once[] = "Once upon a time, there was a little girl.";
    check_ids(ctx, tok, once, 0, IDS(403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 426), once);
    check_ids(ctx, tok, "  two  spaces", 0, IDS(410, 410, 259, 424, 414, 410, 262, 427, 412, 331, 419),
              "  two  spaces");
    check_ids(ctx, tok, "\u00e9\u65e5\u672c\U0001f600\n\ttab", 0,
              IDS(410, 485, 233, 154, 168, 233, 159, 175, 243, 162, 155, 131, 13, 12, 413, 412, 430),
              "\u00e9\u65e5\u672c\U0001f600\n\ttab");
    check_ids(ctx, tok, "a\u2581b", 0, IDS(261, 268), "a b");
    check_ids(ctx, tok, "Lily's \"big\" dog; 3.14!", 0,
              IDS(317, 439, 419, 313, 430, 333, 436, 400, 428, 474, 410, 472, 426, 475, 484, 443),
              "Lily's \"big\" dog; 3.14!");
    check_ids(ctx, tok, "<0x0A> <s>", LT_ENCODE_PARSE_SPECIAL, IDS(410, 504, 477, 444, 477, 447, 505, 410, 1),
              "<0x0A> ");
    check_ids(ctx, tok, "", LT_ENCODE_SPECIAL_TOKENS, IDS(1), "");
    lt_ids ids = {0};
    TS_OK(ctx, lt_tokenizer_encode(tok, "<s></s><unk>", 12, 0, &ids));
    for (int64_t i = 0; i < ids.count; i++)
        TS_CHECK(!lt_tokenizer_is_special(tok, ids.ids[i]), "text became the control token %d", ids.ids[i]);
    lt_ids_free(ctx, &ids);
    lt_tokenizer_free(tok);
    TS_CHECK(lt_ctx_live_bytes(ctx) == 0, "%zu bytes leak", lt_ctx_live_bytes(ctx));
    lt_ctx_free(ctx);
}

/* A small tokenizer whose parts the cases below replace. */
#define VOCAB "{\"<unk>\":0,\"a\":1,\"b\":2,\"ab\":3,\"c\":4,\"abc\":5,\"_\":6}"
#define MERGES "[\"a b\",[\"ab\",\"c\"]]"
#define MODEL(vocab, merges, more) "{\"type\":\"BPE\"," more "\"vocab\":" vocab ",\"merges\":" merges "}"
#define FILE_OF(model, more) "{" more "\"model\":" model "}"
#define WITH(more) FILE_OF(MODEL(VOCAB, MERGES, "\"unk_token\":\"<unk>\","), more)
#define ADDED(id, content, more) "{\"id\":" id ",\"content\":\"" content "\"" more "}"

static void small(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    const char *json =
        WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},"
             "\"added_tokens\":[" ADDED("7", "[x]", ",\"special\":false,\"normalized\":false") "," ADDED(
                 "8", "[xy]",
                 ",\"special\":true") "," ADDED("9", "b_b",
                                                ",\"special\":false,\"normalized\":true") "],"
                                                                                          "\"decoder\":{\"type\":"
                                                                                          "\"Sequence\",\"decoders\":[{"
                                                                                          "\"type\":\"Replace\","
                                                                                          "\"pattern\":{\"String\":"
                                                                                          "\"_\"},\"content\":\" "
                                                                                          "\"},{\"type\":\"Fuse\"}]},");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) {
        TS_CHECK(lt_tokenizer_bos(tok) == -1 && lt_tokenizer_eos(tok) == -1 && !lt_tokenizer_adds_bos(tok),
                 "no bos, eos");
        check_ids(p.ctx, tok, "abc ab", 0, IDS(5, 6, 3), "abc ab");
        check_ids(p.ctx, tok, "a[x]b", 0, IDS(1, 7, 2), "a[x]b");
        check_ids(p.ctx, tok, "[xy]", LT_ENCODE_PARSE_SPECIAL, IDS(8), "");
        check_ids(p.ctx, tok, "ab ba", 0, IDS(1, 9, 1), "ab ba"); /* found in the normalized text */
        check_ids(p.ctx, tok, "aZ", 0, IDS(1, 0), "a<unk>");
        int64_t bytes;
        TS_CHECK(memcmp(lt_tokenizer_token(tok, 5, &bytes), "abc", 3) == 0 && bytes == 3, "token 5");
        TS_CHECK(lt_tokenizer_find(tok, "abc") == 5 && lt_tokenizer_find(tok, "z") == -1, "find");
        char *text;
        TS_REFUSED(p.ctx, lt_tokenizer_decode(tok, (int32_t[]){10}, 1, 0, &text, &bytes), LT_EINVAL,
                   "id 10 at position 0 is outside");
        lt_tokenizer_free(tok);
    }
    json = FILE_OF(MODEL(VOCAB, MERGES, ""), "");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) {
        lt_ids ids = {0};
        TS_OK(p.ctx, lt_tokenizer_encode(tok, "a\xc3\xa9", 3, 0, &ids)); /* no token has it: left out */
        TS_CHECK(ids.count == 1, "%lld ids", (long long)ids.count);
        TS_REFUSED(p.ctx, lt_tokenizer_encode(tok, "a\xff", 2, 0, &ids), LT_EFORMAT, "0xff");
        lt_ids_free(p.ctx, &ids);
        check_ids(p.ctx, tok, "abb", 0, IDS(3, 2), "ab b"); /* without a decoder tokens are joined by blanks */
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

static lt_status try_open(lt_ctx *ctx, const char *path)
{
    lt_tokenizer *tok;
    lt_status status = lt_tokenizer_open(ctx, path, &tok);
    lt_tokenizer_free(tok);
    return status;
}

static const struct {
    const char *json, *words;
    lt_status status;
} broken_files[] = {
    {"", "is empty", LT_EFORMAT},
    {"{", "not JSON", LT_EFORMAT},
    {"[]", "an object", LT_EFORMAT},
    {"{}", "model must be an object with a type, it is missing", LT_EFORMAT},
    {FILE_OF("{\"type\":\"WordPiece\"}", ""), "model.vocab must be an object, it is missing", LT_EFORMAT},
    {FILE_OF("{\"type\":\"WordPiece\",\"vocab\":{},\"max_input_chars_per_word\":5000}", ""),
     "max_input_chars_per_word must be 1 to 1024", LT_ELIMIT},
    {FILE_OF("{\"type\":\"Unigram\"}", ""), "model 'Unigram' is not implemented (SentencePiece Unigram)",
     LT_EUNSUPPORTED},
    {FILE_OF("{\"type\":\"BPE\"}", ""), "model.vocab must be an object, it is missing", LT_EFORMAT},
    {FILE_OF(MODEL("{}", "[]", ""), ""), "vocabulary is empty", LT_EFORMAT},
    {FILE_OF(MODEL("{\"a\":-1}", "[]", ""), ""), "whole number", LT_EFORMAT},
    {FILE_OF(MODEL("{\"a\":4194304}", "[]", ""), ""), "below 65540", LT_EFORMAT},
    {FILE_OF(MODEL("{\"a\":0.5}", "[]", ""), ""), "whole number", LT_EFORMAT},
    {FILE_OF(MODEL("{\"a\":0,\"b\":0}", "[]", ""), ""), "id 0 is given to two tokens", LT_EFORMAT},
    {FILE_OF(MODEL("{\"a\":0,\"a\":1}", "[]", ""), ""), "occurs twice", LT_EFORMAT},
    {FILE_OF(MODEL("{\"\":0}", "[]", ""), ""), "has 0 bytes", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "{}", ""), ""), "merges must be an array", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[\"ab\"]", ""), ""), "model.merges[0] must be", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[\"a b c\"]", ""), ""), "model.merges[0] must be", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[[\"a\"]]", ""), ""), "model.merges[0] must be", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[\"a z\"]", ""), ""), "'z' is not in the vocabulary", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[\"b a\"]", ""), ""), "'b' + 'a' is not in the vocabulary", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[]", "\"unk_token\":\"?\","), ""), "unk_token is not in", LT_EFORMAT},
    {FILE_OF(MODEL(VOCAB, "[]", "\"dropout\":0.1,"), ""), "model.dropout is not implemented", LT_EUNSUPPORTED},
    {FILE_OF(MODEL(VOCAB, "[]", "\"end_of_word_suffix\":\"</w>\","), ""), "end_of_word_suffix", LT_EUNSUPPORTED},
    {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Precompiled\"}]},"),
     "normalizer.normalizers[1] 'Precompiled' is not implemented (SentencePiece Unigram)", LT_EUNSUPPORTED},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a\"},\"content\":\"\"},"),
     "normalizer: the pattern '(a' is not understood", LT_EUNSUPPORTED},
    {WITH("\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":1},"),
     "normalizer.lowercase must be true or false", LT_EFORMAT},
    {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"},"), "pattern is empty",
     LT_EFORMAT},
    {WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"},"), "pre_tokenizer 'UnicodeScripts'", LT_EUNSUPPORTED},
    {WITH("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":2},"), "pre_tokenizer.use_regex", LT_EFORMAT},
    {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"},"), "one character", LT_EFORMAT},
    {WITH("\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Odd\"},"), "behavior 'Odd'", LT_EUNSUPPORTED},
    {WITH("\"decoder\":{\"type\":\"ByteLevel\"},"), "decoder 'ByteLevel'", LT_EUNSUPPORTED},
    {WITH("\"decoder\":{\"type\":\"BPEDecoder\"},"), "decoder 'BPEDecoder'", LT_EUNSUPPORTED},
    {WITH("\"decoder\":{\"type\":\"WordPiece\"},"), "decoder.prefix must be a string", LT_EFORMAT},
    {WITH("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",1],\"sep\":[\"b\",70]},"),
     "an id is not in the vocabulary", LT_EFORMAT},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]},"),
     "post_processor.single has no sequence", LT_EFORMAT},
    {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}]},"),
     "'x' has no ids", LT_EFORMAT},
    {WITH("\"added_tokens\":{},"), "added_tokens must be an array", LT_EFORMAT},
    {WITH("\"added_tokens\":[{\"id\":7}],"), "added_tokens[0].content must be a string", LT_EFORMAT},
    {WITH("\"added_tokens\":[" ADDED("1", "x", "") "],"), "id 1 is another token", LT_EFORMAT},
    {WITH("\"added_tokens\":[" ADDED("9", "a", "") "],"), "has id 9 as an added token and 1", LT_EFORMAT},
    {WITH("\"added_tokens\":[" ADDED("1", "a", "") "," ADDED("1", "a", "") "],"), "the same text", LT_EFORMAT},
};

static void broken(void)
{
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(broken_files); i++)
        TS_REFUSED(p.ctx, try_open(p.ctx, ts_put_text(&p, "t.json", broken_files[i].json)), broken_files[i].status,
                   broken_files[i].words);
    TS_REFUSED(p.ctx, try_open(p.ctx, p.dir), LT_EIO, "there is no tokenizer.json in it; copy");
    ts_put_text(&p, "tokenizer.model", "x");
    ts_put_text(&p, "vocab.json", "{}");
    TS_REFUSED(p.ctx, try_open(p.ctx, p.dir), LT_EIO, "but tokenizer.model, vocab.json; Python makes one of them");
    ts_put_text(&p, "tokenizer.json", WITH(""));
    ts_put_text(&p, "tokenizer_config.json", "{\"bos_token\":\"?\"}");
    TS_REFUSED(p.ctx, try_open(p.ctx, p.dir), LT_EFORMAT, "bos_token '?' is not in the vocabulary");
    ts_put_text(&p, "tokenizer_config.json", "{\"bos_token\":{\"content\":\"a\"},\"eos_token\":null}");
    lt_tokenizer *tok;
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &tok))) {
        TS_CHECK(lt_tokenizer_bos(tok) == 1 && lt_tokenizer_eos(tok) == -1, "bos is a");
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

static void bytes(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok, *again;
    lt_ids ids = {0};
    char all[256], *text;
    int64_t n;
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    TS_CHECK(lt_tokenizer_vocab_size(tok) == 258 && lt_tokenizer_bos(tok) == 256 && lt_tokenizer_eos(tok) == 257 &&
                 lt_tokenizer_adds_bos(tok),
             "258 tokens, 256 begins, 257 ends");
    TS_OK(p.ctx, lt_tokenizer_encode(tok, all, 256, LT_ENCODE_SPECIAL_TOKENS, &ids));
    TS_CHECK(ids.count == 257 && ids.ids[0] == 256, "BOS and 256 bytes");
    for (int i = 0; i < 256 && ids.count == 257; i++) TS_CHECK(ids.ids[i + 1] == i, "byte %d is %d", i, ids.ids[i + 1]);
    TS_OK(p.ctx, lt_tokenizer_decode(tok, ids.ids, ids.count, 0, &text, &n));
    TS_CHECK(n == 256 && memcmp(text, all, 256) == 0, "and back");
    lt_buffer_free(p.ctx, text);
    lt_ids_free(p.ctx, &ids);
    TS_OK(p.ctx, lt_tokenizer_encode(tok, "<|endoftext|>", 13, 0, &ids));
    TS_CHECK(ids.count == 13, "written by a user, it is text");
    TS_OK(p.ctx, lt_tokenizer_encode(tok, "<|endoftext|>", 13, LT_ENCODE_PARSE_SPECIAL, &ids));
    TS_CHECK(ids.count == 14 && ids.ids[13] == 257, "asked for, it is the control token");
    lt_ids_free(p.ctx, &ids);
    for (int i = 0; i < lt_tokenizer_files(tok); i++) { /* its files make the same tokenizer */
        const char *name, *content = lt_tokenizer_file(tok, i, &name, &n);
        ts_put(&p, name, content, (size_t)n);
    }
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &again))) {
        TS_CHECK(strcmp(lt_tokenizer_hash(tok), lt_tokenizer_hash(again)) == 0 && lt_tokenizer_eos(again) == 257,
                 "reopened");
        lt_tokenizer_free(again);
    }
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

/* Patterns of files: what means the same to both engines, what is refused, what takes too long. */
#define SPLIT(pattern)                                                                                                 \
    FILE_OF("{\"type\":\"WordPiece\",\"unk_token\":\"<unk>\",\"vocab\":" VOCAB "}",                                    \
            "\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{\"Regex\":\"" pattern         \
            "\"}},")

static void patterns(void)
{
    static const struct {
        const char *json, *words;
        lt_status status;
    } refused[] = {
        {SPLIT(""), "its pattern is empty", LT_EFORMAT},
        {SPLIT("[a[b]]"), "a class inside [...] at byte 2", LT_EUNSUPPORTED},
        {SPLIT("[a&&b]"), "an intersection", LT_EUNSUPPORTED},
        {SPLIT("a{2}+"), "a repeated repetition", LT_EUNSUPPORTED},
        {SPLIT("a{,2}"), "without its first number", LT_EUNSUPPORTED},
        {SPLIT("\\\\h"), "pre_tokenizer: the pattern '\\h' is not implemented: an escape at byte 0", LT_EUNSUPPORTED},
        {SPLIT("(a)\\\\1"), "an escape", LT_EUNSUPPORTED},
        {SPLIT("(?R)"), "a group (?", LT_EUNSUPPORTED},
        {SPLIT("(*COMMIT)a"), "a verb (*", LT_EUNSUPPORTED},
        {SPLIT("[^\\\\S]"), "a negated set inside [...]", LT_EUNSUPPORTED},
        {SPLIT("\\\\p{Nonsense}"), "is not understood", LT_EUNSUPPORTED},
        {SPLIT("a)"), "is not understood", LT_EUNSUPPORTED},
    };
    static const char *const fine[] = {"[+-\\\\s]",
                                       "[\\\\p{L}-]",
                                       "[^\\\\r\\\\n]{1,2}",
                                       "a{",
                                       "\\\\u0041|\\\\x{1F600}",
                                       "(?i:AB)(?=c)",
                                       "\\\\P{N}",
                                       "\\\\w\\\\W\\\\d\\\\D\\\\v\\\\."};
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    for (int i = 0; i < LTI_COUNT(refused); i++)
        TS_REFUSED(p.ctx, try_open(p.ctx, ts_put_text(&p, "t.json", refused[i].json)), refused[i].status,
                   refused[i].words);
    for (int i = 0; i < LTI_COUNT(fine); i++) {
        char json[1024];
        snprintf(json, sizeof json, SPLIT("%s"), fine[i]);
        TS_OK(p.ctx, try_open(p.ctx, ts_put_text(&p, "t.json", json)));
    }
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", SPLIT("(?:a|aa)+[cd]")), &tok))) {
        char text[60001];
        lt_ids ids = {0};
        memset(text, 'a', sizeof text);
        text[sizeof text - 1] = 'b';
        TS_REFUSED(p.ctx, lt_tokenizer_encode(tok, text, sizeof text, 0, &ids), LT_ELIMIT,
                   "'(?:a|aa)+[cd]' passes the limits");
        lt_ids_free(p.ctx, &ids);
        check_ids(p.ctx, tok, "abaacab", 0, IDS(3, 3), "ab ab");
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

/* Bytes that are not UTF-8 go around the patterns and come back. */
static void not_utf8(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_ids ids = {0};
    const char *json =
        FILE_OF(MODEL("{\"a\":0,\"\u0120\":1,\"\u00ff\":2,\"\u0120a\":3}", "[\"\u0120 a\"]", ""),
                "\"normalizer\":{\"type\":\"NFC\"},\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{"
                "\"type\":\"ByteLevel\",\"add_prefix_space\":true},");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, ts_put_text(&p, "t.json", json), &tok))) {
        TS_OK(p.ctx, lt_tokenizer_encode(tok,
                                         "a\xff\xff"
                                         "a a",
                                         6, 0, &ids));
        static const int32_t want[] = {3, 2, 2, 0, 3};
        TS_CHECK(ids.count == 5 && memcmp(ids.ids, want, sizeof want) == 0, "%lld ids", (long long)ids.count);
        lt_ids_free(p.ctx, &ids);
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

static void configuration(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    char again[300];
    ts_put_text(&p, "tokenizer.json",
                FILE_OF(MODEL(VOCAB, MERGES, ""),
                        "\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",1],"
                        "\"sep\":[\"b\",2]},"));
    ts_put_text(
        &p, "tokenizer_config.json",
        "{\"eos_token\":\"b\",\"pad_token\":{\"content\":\"c\"},\"unk_token\":\"<unk>\",\"chat_template\":[{\"name\":"
        "\"tool_use\",\"template\":\"no\"},{\"name\":\"default\",\"template\":\"{{ x }}\"}]}");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &tok))) {
        TS_CHECK(lt_tokenizer_bos(tok) == 1 && lt_tokenizer_adds_bos(tok) && lt_tokenizer_adds_eos(tok) &&
                     lt_tokenizer_pad(tok) == 4 && lt_tokenizer_unknown(tok) == 0,
                 "bos %d, eos %d, pad %d, unknown %d", lt_tokenizer_bos(tok), lt_tokenizer_eos(tok),
                 lt_tokenizer_pad(tok), lt_tokenizer_unknown(tok));
        TS_CHECK(strcmp(lt_tokenizer_chat_template(tok), "{{ x }}") == 0, "the default of the templates");
        check_ids(p.ctx, tok, "abc", LT_ENCODE_SPECIAL_TOKENS, IDS(1, 5, 2), "a abc b");
        lt_tokenizer_free(tok);
    }
    ts_put_text(&p, "chat_template.jinja", "{{ y }}\n");
    if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &tok))) {
        TS_CHECK(strcmp(lt_tokenizer_chat_template(tok), "{{ y }}\n") == 0, "a file of its own goes first");
        snprintf(again, sizeof again, "%s/a/b", p.dir);
        TS_OK(p.ctx, lt_tokenizer_save(tok, again));
        lt_tokenizer *copy;
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, again, &copy))) {
            TS_CHECK(lt_tokenizer_files(copy) == 3 && strcmp(lt_tokenizer_hash(copy), lt_tokenizer_hash(tok)) == 0 &&
                         strcmp(lt_tokenizer_chat_template(copy), "{{ y }}\n") == 0,
                     "saved and opened: %d files", lt_tokenizer_files(copy));
            lt_tokenizer_free(copy);
        }
        lt_tokenizer_free(tok);
    }
    ts_put_text(&p, "tokenizer_config.json", "{\"chat_template\":7}");
    TS_REFUSED(p.ctx, try_open(p.ctx, p.dir), LT_EFORMAT, "chat_template must be a string, it is an integer");
    ts_put_text(&p, "tokenizer_config.json", "{\"pad_token\":\"nowhere\"}");
    TS_OK(p.ctx, try_open(p.ctx, p.dir));
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    lt_ids ids = {0};
    char *text;
    int64_t n;
    LTI_TRY(lt_tokenizer_open(ctx, arg, &tok));
    lt_status status = lt_tokenizer_encode(tok, "abc ab ba[x]", 12, 0, &ids);
    if (status == LT_OK) status = lt_tokenizer_decode(tok, ids.ids, ids.count, 0, &text, &n);
    if (status == LT_OK) lt_buffer_free(ctx, text);
    lt_ids_free(ctx, &ids);
    lt_tokenizer_free(tok);
    return status;
}

static lt_status attempt_bytes(lt_ctx *ctx, void *arg)
{
    (void)arg;
    lt_tokenizer *tok;
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_tokenizer_free(tok);
    return LT_OK;
}

static void memory(void)
{
    ts_place p = ts_open_place();
    char path[256];
    const char *json =
        WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"_\"},"
             "\"added_tokens\":[" ADDED(
                 "7", "[x]", ",\"special\":false,\"normalized\":true") "],"
                                                                       "\"decoder\":{\"type\":\"Replace\",\"pattern\":{"
                                                                       "\"String\":\"_\"},\"content\":\" \"},");
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "t.json", json));
    ts_every_allocation_fails("tokenizer", attempt, path);
    ts_every_allocation_fails("byte tokenizer", attempt_bytes, NULL);
    ts_close_place(&p);
}

int lti_suite_tokenizer(void)
{
    static const ts_test tests[] = {
        {"added tokens, normalizer, decoder, unknown", small},
        {"broken and unsupported files", broken},
        {"the byte tokenizer", bytes},
        {"patterns of files", patterns},
        {"bytes that are not UTF-8", not_utf8},
        {"tokenizer_config.json, templates, saving", configuration},
        {"every allocation fails", memory},
    };
    if (ts_suite("tokenizer", LTI_COUNT(tests), tests) != 0) return 1;
    return ts_add_with_data(CU_get_suite("tokenizer"), "stories260K: goldens", "models/stories260K/hf/tokenizer.json",
                            stories);
}
