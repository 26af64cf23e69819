/* json_bench.h - for suites about data sets of JSON: a place, the byte tokenizer, perhaps a chat, options; rows shown
 * with what is not learned in parentheses. Bytes: id b is byte b, 256 BOS, 257 EOS. */
#ifndef TS_JSON_BENCH_H
#define TS_JSON_BENCH_H

#include "lathe/chat.h"
#include "tests/data_files.h"

#define BOS "<|startoftext|>"
#define EOS "<|endoftext|>"

typedef struct bench {
    ts_place p;
    lt_tokenizer *tok;
    lt_chat *chat;
    lt_dataset_options o;
} bench;

static inline bool open_bench(bench *b, const char *chat)
{
    *b = (bench){.p = ts_open_place()};
    lt_dataset_options_init(&b->o);
    if (!TS_OK(b->p.ctx, lt_tokenizer_bytes(b->p.ctx, &b->tok))) return false;
    if (!chat) return true;
    bool made = TS_OK(b->p.ctx, lt_chat_open(b->p.ctx, b->tok, chat, &b->chat));
    b->o.chat = b->chat;
    return made;
}

static inline void close_bench(bench *b)
{
    lt_chat_free(b->chat);
    lt_tokenizer_free(b->tok);
    ts_close_place(&b->p);
}

static inline lt_status open_text(bench *b, const char *name, const char *text, lt_dataset **set)
{
    return lt_dataset_open(b->p.ctx, ts_put_text(&b->p, name, text), b->tok, &b->o, set);
}

static inline void check_row(bench *b, const lt_dataset *set, int64_t row, const char *want)
{
    char *text;
    if (!TS_OK(b->p.ctx, lt_dataset_show(set, b->tok, row, "(", ")", &text))) return;
    TS_CHECK(strcmp(text, want) == 0, "row %lld: '%s', not '%s'", (long long)row, text, want);
    lt_buffer_free(b->p.ctx, text);
}

#endif
