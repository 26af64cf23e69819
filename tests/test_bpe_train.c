/* test_bpe_train.c - lt_tokenizer_train against a learner that counts everything again for every merge. */
#include "base/rng.h"
#include "lathe/data.h"
#include "tests/data_files.h"

#include <time.h>

/* ---- The slow learner: words of ids, all pairs counted again for each merge ---- */
enum { WORDS = 400, LETTERS = 24, TOKENS = 600 };

typedef struct slow {
    int word[WORDS][LETTERS], length[WORDS], words;
    char token[TOKENS][LETTERS + 1]; /* what each id spells; ids as lt_tokenizer_train gives them */
    int tokens;
} slow;

static int times(const slow *s, int left, int right)
{
    int count = 0;
    for (int w = 0; w < s->words; w++)
        for (int i = 0; i + 1 < s->length[w]; i++) count += s->word[w][i] == left && s->word[w][i + 1] == right;
    return count;
}

static void replace(slow *s, int left, int right, int id)
{
    for (int w = 0; w < s->words; w++) {
        int n = 0;
        for (int i = 0; i < s->length[w]; i++) {
            bool joins = i + 1 < s->length[w] && s->word[w][i] == left && s->word[w][i + 1] == right;
            s->word[w][n++] = joins ? id : s->word[w][i];
            i += joins;
        }
        s->length[w] = n;
    }
}

/* One merge; false when no pair is left. */
static bool slow_merge(slow *s)
{
    int best = 0, left = -1, right = -1;
    for (int w = 0; w < s->words; w++)
        for (int i = 0; i + 1 < s->length[w]; i++) {
            int a = s->word[w][i], b = s->word[w][i + 1], count = times(s, a, b);
            int order = left < 0 ? -1 : strcmp(s->token[a], s->token[left]);
            if (left >= 0 && order == 0) order = strcmp(s->token[b], s->token[right]);
            if (count > best || (count == best && order < 0)) best = count, left = a, right = b;
        }
    if (left < 0) return false;
    char joined[2 * LETTERS + 1];
    snprintf(joined, sizeof joined, "%s%s", s->token[left], s->token[right]);
    int id = 0;
    while (id < s->tokens && strcmp(s->token[id], joined) != 0) id++;
    if (id == s->tokens) snprintf(s->token[s->tokens++], LETTERS + 1, "%.*s", LETTERS, joined);
    replace(s, left, right, id);
    return true;
}

/* Words of few letters, so that pairs overlap and tie, each with its blank in front as GPT-2 cuts them. */
static void make_words(slow *s, char *text)
{
    lti_rng rng = {7, lti_rng_stream("bpe_train"), 0};
    uint32_t r[4];
    char *at = text;
    s->words = 150;
    s->tokens = 257;
    for (int b = 0; b < 256; b++) s->token[b][0] = (char)b;
    snprintf(s->token[256], LETTERS, "<|endoftext|>");
    for (int w = 0; w < s->words; w++) {
        lti_philox(&rng, (uint64_t)w, r);
        s->length[w] = 0;
        *at++ = ' ';
        s->word[w][s->length[w]++] = ' ';
        for (uint32_t i = 0, n = 1 + r[0] % 9; i < n; i++) {
            *at = (char)('a' + (r[1 + i % 3] >> (3 * i)) % 3);
            s->word[w][s->length[w]++] = *at++;
        }
    }
    *at = 0;
}

static void same_as_slow(void)
{
    ts_place p = ts_open_place();
    slow *s = calloc(1, sizeof *s);
    char text[WORDS * LETTERS];
    lt_tokenizer *tok;
    make_words(s, text);
    while (s->tokens < 330 && slow_merge(s)) continue;
    if (TS_OK(p.ctx, lt_tokenizer_train(p.ctx, text, (int64_t)strlen(text), s->tokens, "gpt2", &tok))) {
        for (int id = 257; id < s->tokens; id++) {
            int64_t bytes;
            const char *token = lt_tokenizer_token(tok, id, &bytes);
            if (!TS_CHECK(token && (size_t)bytes == strlen(s->token[id]) &&
                              memcmp(token, s->token[id], (size_t)bytes) == 0,
                          "token %d is '%.*s', not '%s'", id, (int)bytes, token, s->token[id]))
                break;
        }
        lt_tokenizer_free(tok);
    }
    free(s);
    ts_close_place(&p);
}

/* ---- What comes out ---- */

static bool comes_back(lt_ctx *ctx, lt_tokenizer *tok, const char *text, lt_ids *ids)
{
    char *back = NULL;
    int64_t bytes, n = (int64_t)strlen(text);
    bool ok = TS_OK(ctx, lt_tokenizer_encode(tok, text, n, 0, ids)) &&
              TS_OK(ctx, lt_tokenizer_decode(tok, ids->ids, ids->count, 0, &back, &bytes)) && bytes == n &&
              memcmp(back, text, (size_t)n) == 0;
    lt_buffer_free(ctx, back);
    return ok;
}

static void patterns(void)
{
    static const char text[] =
        "In 1984 they counted 1984 sheep and 1984 goats, 1984's best. IT'S it's 1984\n\n1984 sheep";
    static const struct {
        const char *like, *token;
        bool learned;
    } want[] = {{"gpt2", " 1984", true}, {"gpt2", "'s", true},      {"smollm", "19", false}, {"smollm", " sheep", true},
                {"llama3", "198", true}, {"llama3", "1984", false}, {"qwen2", "19", false},  {"llama3", " 1", false}};
    ts_place p = ts_open_place();
    for (int i = 0; i < LTI_COUNT(want); i++) {
        lt_tokenizer *tok, *saved;
        lt_ids ids = {0}, again = {0};
        if (!TS_OK(p.ctx, lt_tokenizer_train(p.ctx, text, (int64_t)strlen(text), 288, want[i].like, &tok))) continue;
        TS_CHECK(lt_tokenizer_vocab_size(tok) == 288 && lt_tokenizer_eos(tok) == 256 && !lt_tokenizer_adds_bos(tok),
                 "%s: the vocabulary", want[i].like);
        TS_CHECK((lt_tokenizer_find(tok, want[i].token) >= 0) == want[i].learned, "%s: '%s' is %slearned", want[i].like,
                 want[i].token, want[i].learned ? "" : "not ");
        TS_CHECK(comes_back(p.ctx, tok, "Gr\xc3\xbc\xc3\x9f Gott, 1984 \xf0\x9f\x98\x80 sheep\t<|endoftext|>", &ids),
                 "%s: a text comes back", want[i].like);
        for (int64_t k = 0; k < ids.count; k++) TS_CHECK(ids.ids[k] != 256, "text is no control token");
        TS_OK(p.ctx, lt_tokenizer_save(tok, p.dir));
        if (TS_OK(p.ctx, lt_tokenizer_open(p.ctx, p.dir, &saved))) {
            TS_CHECK(comes_back(p.ctx, saved, "Gr\xc3\xbc\xc3\x9f Gott, 1984 \xf0\x9f\x98\x80 sheep\t<|endoftext|>",
                                &again) &&
                         again.count == ids.count &&
                         memcmp(again.ids, ids.ids, (size_t)ids.count * sizeof *ids.ids) == 0,
                     "%s: the files give the same ids", want[i].like);
            lt_tokenizer_free(saved);
        }
        lt_ids_free(p.ctx, &ids);
        lt_ids_free(p.ctx, &again);
        lt_tokenizer_free(tok);
    }
    ts_close_place(&p);
}

/* "<|endoftext|>" parts documents: nothing is learned from it, and words do not reach across. */
static void documents(void)
{
    static const char text[] = "ab<|endoftext|>cd<|endoftext|>ab<|endoftext|><|endoftext|>cd";
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    if (TS_OK(p.ctx, lt_tokenizer_train(p.ctx, text, sizeof text - 1, 259, "gpt2", &tok))) {
        TS_CHECK(lt_tokenizer_find(tok, "ab") == 257 && lt_tokenizer_find(tok, "cd") == 258, "ab and cd");
        lt_tokenizer_free(tok);
    }
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, text, sizeof text - 1, 260, "gpt2", &tok), LT_EINVAL,
               "fills a vocabulary of 259, not of 260");
    ts_close_place(&p);
}

static void refusals(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, "abab", 4, 256, "gpt2", &tok), LT_EINVAL, "a vocabulary of 256");
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, "abab", 4, 1 << 30, "gpt2", &tok), LT_EINVAL, "a vocabulary of");
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, "abab", 4, 257, "gpt4", &tok), LT_EINVAL,
               "no pattern is called 'gpt4'");
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, "", 0, 257, "gpt2", &tok), LT_EINVAL, "there is no text");
    TS_REFUSED(p.ctx, lt_tokenizer_train(p.ctx, "ab\xff", 3, 257, "gpt2", &tok), LT_EFORMAT,
               "not UTF-8; convert it (byte 2)");
    if (TS_OK(p.ctx, lt_tokenizer_train(p.ctx, "abab", 4, 257, "gpt2", &tok))) lt_tokenizer_free(tok); /* bytes alone */
    ts_close_place(&p);
}

/* A word of one letter repeated is all overlaps; it must not cost more than its length. */
static void long_word(void)
{
    ts_place p = ts_open_place();
    int64_t n = 1 << 20;
    char *text = malloc((size_t)n);
    lt_tokenizer *tok;
    struct timespec start, end;
    memset(text, 'a', (size_t)n);
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (TS_OK(p.ctx, lt_tokenizer_train(p.ctx, text, n, 265, "gpt2", &tok))) {
        int64_t bytes;
        TS_CHECK(lt_tokenizer_token(tok, 264, &bytes) && bytes == 256, "doubled each time");
        lt_tokenizer_free(tok);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    TS_CHECK(end.tv_sec - start.tv_sec < 20, "a megabyte of one letter takes %ld s", (long)(end.tv_sec - start.tv_sec));
    free(text);
    ts_close_place(&p);
}

static lt_status attempt(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    LTI_TRY(lt_tokenizer_train(ctx, arg, (int64_t)strlen(arg), 280, "gpt2", &tok));
    lt_tokenizer_free(tok);
    return LT_OK;
}

static void memory(void)
{
    char text[] = "the cat and the dog and the cow are on the hill and the hill is in the sun";
    ts_every_allocation_fails("learning", attempt, text);
}

int lti_suite_bpe_train(void)
{
    static const ts_test tests[] = {
        {"the merges of a slow learner", same_as_slow},
        {"patterns, round trips, files", patterns},
        {"documents are parted", documents},
        {"refusals", refusals},
        {"a megabyte of one letter", long_word},
        {"every allocation fails", memory},
    };
    return ts_suite("bpe_train", LTI_COUNT(tests), tests);
}
