/* test_labelled.c - texts with a class: records of CSV, formats, labels, parts, batches, errors. */
#include "data/sets/csv_text.h"
#include "lathe/classes.h"
#include "tests/data_files.h"

/* ---- CSV of texts ---- */

/* Fields as RFC 4180 has them; "|" ends a field, ";" a record. */
static void records(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"a,b\nc,d\n", "a|b|;c|d|;"},
        {"a,b\r\nc,d", "a|b|;c|d|;"},
        {"\"a,b\",c\n", "a,b|c|;"},
        {"\"a \"\"q\"\"\",\"\"\n", "a \"q\"||;"},
        {"\"a\nb\",c\n\n\r\nd,e\n", "a\nb|c|;d|e|;"},
        {"a,\n,b\n", "a||;|b|;"},
        {"\xEF\xBB\xBFtext,x\n", "text|x|;"},
        {"it's 5\" wide,b\n", "it's 5\" wide|b|;"},
        {"a\rb,c\r\n", "a\rb|c|;"},
        {"one", "one|;"},
        {"", ""},
        {"\n\n", ""},
        {"a,b,", "a|b||;"},
        {"\"\"", "|;"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lti_csv_text file = {
            .ctx = ctx, .path = "x.csv", .text = cases[i].text, .bytes = (int64_t)strlen(cases[i].text)};
        lti_csv_record record = {.text = {.ctx = ctx}};
        char got[256] = "";
        for (bool more = true; TS_OK(ctx, lti_csv_text_next(&file, &record, &more)) && more; strcat(got, ";"))
            for (int64_t k = 0; k < record.count; k++) strcat(strcat(got, lti_csv_field(&record, k)), "|");
        TS_CHECK(strcmp(got, cases[i].want) == 0, "case %d: '%s'", i, got);
        lti_csv_record_free(&record);
    }
    lt_ctx_free(ctx);
}

static void broken_records(void)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *words;
    } cases[] = {
        {"a,b\nc,\"d\n", 9, "x.csv:2: a quote is opened and never closed"},
        {"\"a\nb\" c,d\n", 10, "x.csv:2: text follows the closing quote of field 1"},
        {"a,b\n\nc\0d,e\n", 11, "x.csv:3: the record holds a NUL character"},
        {"a,b\n\xff,b\n", 8, "x.csv:2: byte 1 of the record is not UTF-8"},
    };
    lt_ctx *ctx = lt_ctx_create(NULL);
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        lti_csv_text file = {.ctx = ctx, .path = "x.csv", .text = cases[i].text, .bytes = (int64_t)cases[i].bytes};
        lti_csv_record record = {.text = {.ctx = ctx}};
        bool more = true;
        lt_status status = LT_OK;
        while (status == LT_OK && more) status = lti_csv_text_next(&file, &record, &more);
        TS_CHECK(status == LT_EFORMAT && strstr(lt_ctx_message(ctx), cases[i].words), "case %d: %s", i,
                 lt_ctx_message(ctx));
        lti_csv_record_free(&record);
    }
    lt_ctx_free(ctx);
}

/* ---- Labelled texts ---- */

static lt_status open_labelled(ts_place *p, const char *path, lt_tokenizer *tok, lt_split split, const lt_dataset *like,
                               lt_dataset **set)
{
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = split;
    o.valid_fraction = 0.25;
    o.max_seq_length = 6;
    return lt_dataset_open_labelled(p->ctx, path, tok, &o, like, set);
}

/* "b:hello c:.." : each row's label and text, without BOS. */
static const char *rows_of(const lt_dataset *set)
{
    static char text[512];
    *text = 0;
    for (int64_t r = 0; r < lt_dataset_rows(set); r++) {
        int64_t n;
        const int32_t *ids = lt_dataset_row(set, r, &n);
        size_t at = strlen(text);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s:", r ? " " : "",
                               lt_dataset_label(set, lt_dataset_row_class(set, r)));
        for (int64_t i = 1; i < n; i++) text[at++] = (char)ids[i];
        text[at] = 0;
    }
    return text;
}

/* The same rows in every format. */
static void formats(void)
{
    static const struct {
        const char *name, *text;
    } files[] = {
        {"a.csv", "id,text,category\n1,\"hi, x\",pear\n2,yes,apple\n3,no,pear\n"},
        {"b.csv", "Label,Text\r\npear,\"hi, x\"\r\napple,yes\r\npear,no\r\n"},
        {"c.jsonl", "{\"text\":\"hi, x\",\"label\":\"pear\"}\n\n{\"label\":\"apple\",\"text\":\"yes\",\"k\":1}\n"
                    "{\"text\":\"no\",\"label\":\"pear\"}"},
        {"d.json", "[{\"text\":\"hi, x\",\"label\":\"pear\"}, {\"text\":\"yes\",\"label\":\"apple\"},\n"
                   "{\"text\":\"no\",\"label\":\"pear\"}]"},
        {"e.txt", "pear hi, x\n\n  apple\tyes\r\npear   no"},
    };
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    char first[40] = "";
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    for (int i = 0; i < LTI_COUNT(files); i++) {
        lt_dataset *set;
        const char *path = ts_put_text(&p, files[i].name, files[i].text);
        TS_CHECK(lt_dataset_kind_at(p.ctx, path) == (i == 4 ? LT_DATA_TOKENS : LT_DATA_LABELLED), "%s is recognised",
                 files[i].name);
        if (!TS_OK(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_ALL, NULL, &set))) continue;
        TS_CHECK(!strcmp(rows_of(set), "pear:hi, x apple:yes pear:no"), "%s: %s", files[i].name, rows_of(set));
        TS_CHECK(lt_dataset_kind_of(set) == LT_DATA_LABELLED && lt_dataset_classes(set) == 2 &&
                     !strcmp(lt_dataset_label(set, 0), "apple") && !lt_dataset_label(set, 2),
                 "%s: classes by name", files[i].name);
        TS_CHECK(lt_dataset_scored(set) == 3 && lt_dataset_longest(set) == 6 && lt_dataset_documents(set) == 3 &&
                     lt_dataset_tokens(set) == 6 + 4 + 3,
                 "%s: counts", files[i].name);
        if (i == 0) snprintf(first, sizeof first, "%s", lt_dataset_hash(set));
        TS_CHECK(!strcmp(first, lt_dataset_hash(set)), "%s: the same rows have the same hash", files[i].name);
        lt_dataset_free(set);
    }
    TS_CHECK(lt_dataset_kind_at(p.ctx, ts_put_text(&p, "t.txt", "DESC:manner How did\nENTY:animal What fowl\n")) ==
                 LT_DATA_LABELLED,
             "lines of TREC are recognised");
    TS_CHECK(lt_dataset_kind_at(p.ctx, ts_put_text(&p, "n.csv", "x,y,class\n1,2,0\n")) == LT_DATA_NUMBERS &&
                 lt_dataset_kind_at(p.ctx, ts_at(&p, "none")) == LT_DATA_TOKENS,
             "other files too");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static void labels(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *set, *like, *other;
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    const char *numbers =
        "{\"text\":\"a\",\"label\":10}\n{\"text\":\"b\",\"label\":9}\n{\"text\":\"c\",\"label\":\"x\"}\n";
    if (TS_OK(p.ctx, open_labelled(&p, ts_put_text(&p, "n.jsonl", numbers), tok, LT_SPLIT_ALL, NULL, &set))) {
        TS_CHECK(!strcmp(rows_of(set), "10:a 9:b x:c") && lt_dataset_row_class(set, 0) == 1 &&
                     lt_dataset_row_class(set, 1) == 0 && lt_dataset_row_class(set, 2) == 2,
                 "numbers by value, then words");
        lt_dataset_free(set);
    }
    if (TS_OK(p.ctx, lt_dataset_of_labels(p.ctx, 3, (const char *const[]){"pear", "DESC", "apple"}, &like))) {
        const char *path = ts_put_text(&p, "l.txt", "apple a\nDESC:how b\npear c\n");
        if (TS_OK(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_ALL, like, &set))) {
            TS_CHECK(lt_dataset_classes(set) == 3 && lt_dataset_row_class(set, 0) == 2 &&
                         lt_dataset_row_class(set, 1) == 1 && lt_dataset_row_class(set, 2) == 0,
                     "labels keep the numbers they had");
            TS_REFUSED(
                p.ctx,
                open_labelled(&p, ts_put_text(&p, "u.txt", "zz a\n\nfig b\napple c\n"), tok, LT_SPLIT_ALL, set, &other),
                LT_EFORMAT, "u.txt:1: 'zz' is none of the 3 classes ('pear', ...)");
            lt_dataset_free(set);
        }
        lt_dataset_free(like);
    }
    TS_REFUSED(p.ctx, lt_dataset_of_labels(p.ctx, 0, NULL, &like), LT_EINVAL, "there is none");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static void labelled_splits(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *train, *valid, *set;
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    const char *path = ts_put_text(&p, "train.csv", "text,label\na,x\nb,y\nc,x\nd,y\ne,x\nf,y\ng,x\nh,rare\n");
    if (TS_OK(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_TRAIN, NULL, &train)) &&
        TS_OK(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_VALID, NULL, &valid))) {
        TS_CHECK(lt_dataset_rows(train) == 6 && lt_dataset_rows(valid) == 2, "6 and 2 rows");
        TS_CHECK(lt_dataset_classes(train) == 3 && lt_dataset_classes(valid) == 3, "both know all classes");
        if (TS_OK(p.ctx, open_labelled(&p, p.dir, tok, LT_SPLIT_VALID, NULL, &set))) {
            TS_CHECK(!strcmp(lt_dataset_hash(set), lt_dataset_hash(valid)), "train.csv alone is divided alike");
            lt_dataset_free(set);
        }
        lt_dataset_free(train);
        lt_dataset_free(valid);
    }
    TS_CHECK(lt_dataset_kind_at(p.ctx, p.dir) == LT_DATA_LABELLED, "a directory is what its files are");
    TS_REFUSED(p.ctx, open_labelled(&p, p.dir, tok, LT_SPLIT_TEST, NULL, &set), LT_EIO,
               "there is no test.csv, .jsonl, .json or .txt in it");
    ts_put_text(&p, "train.jsonl", "{}");
    TS_REFUSED(p.ctx, open_labelled(&p, p.dir, tok, LT_SPLIT_TRAIN, NULL, &set), LT_EINVAL, "which is meant");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static void broken_labelled(void)
{
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"x.csv", "a,b\n1,2\n", "x.csv:1: the first line must be a heading with a column 'text'"},
        {"x.csv", "text,label\na,b\nc\n", "x.csv:3: 1 fields, where the heading has 2"},
        {"x.csv", "text,label\n\"a\nb\",c\nd,\n", "x.csv:4: the label is empty"},
        {"x.csv", "text,label\n", "x.csv: there is no row in it that can be used"},
        {"x.jsonl", "{\"text\":\"a\",\"label\":1}\n{\"text\":\"a\",\"label\":1.5}",
         "x.jsonl:2: 'label' is a fraction, not a"},
        {"x.jsonl", "{\"label\":\"a\"}", "x.jsonl:1: 'text' is missing, not a string"},
        {"x.jsonl", "{\"text\":\"a\",\"label\":\"\"}", "x.jsonl:1: the label is empty"},
        {"x.jsonl", "[1]", "x.jsonl:1: the row is an array, not an object"},
        {"x.jsonl", "{\"text\":\"a\",\"text\":\"b\",\"label\":1}", "x.jsonl:1: not JSON at byte"},
        {"x.jsonl", "{\"text\":\"a\\u0000b\",\"label\":1}", "x.jsonl:1: "},
        {"x.txt", "LABEL a\nalone\n", "x.txt:2: no text follows the label 'alone'"},
        {"x.parquet", "PAR1", "x.parquet is not read as labelled texts"},
    };
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *set;
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    for (int i = 0; i < LTI_COUNT(cases); i++) {
        const char *path = ts_put_text(&p, cases[i].name, cases[i].text);
        lt_status want = i == LTI_COUNT(cases) - 1 ? LT_EUNSUPPORTED : LT_EFORMAT;
        TS_REFUSED(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_ALL, NULL, &set), want, cases[i].words);
    }
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.skip_bad_rows = true;
    const char *path = ts_put_text(&p, "s.csv", "text,label\na,b\nc\nd,\ne,f\n");
    if (TS_OK(p.ctx, lt_dataset_open_labelled(p.ctx, path, tok, &o, NULL, &set))) {
        TS_CHECK(lt_dataset_rows(set) == 2 && lt_dataset_skipped(set) == 2, "bad rows are left out and counted");
        lt_dataset_free(set);
    }
    TS_REFUSED(p.ctx, lt_dataset_open_labelled(p.ctx, path, NULL, &o, NULL, &set), LT_EINVAL, "need a tokenizer");
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static void labelled_batches(void)
{
    ts_place p = ts_open_place();
    lt_tokenizer *tok;
    lt_dataset *set;
    lt_batches *batches;
    lt_batch batch;
    int32_t tokens[24], classes[4], last[4], spans[48];
    if (!TS_OK(p.ctx, lt_tokenizer_bytes(p.ctx, &tok))) return;
    const char *path = ts_put_text(&p, "b.csv", "text,label\nabc,x\nd,y\nef,x\nlonger than six,y\ng,y\n");
    if (TS_OK(p.ctx, open_labelled(&p, path, tok, LT_SPLIT_ALL, NULL, &set)) &&
        TS_OK(p.ctx, lt_batches_create(p.ctx, set, NULL, 3, 1, false, &batches))) {
        TS_OK(p.ctx, lt_batches_next(batches, &batch));
        TS_CHECK(batch.rows == 3 && batch.targets == 3 && batch.longest == 4, "a batch of 3 rows");
        TS_OK(p.ctx, lt_batches_fill_labelled(batches, 4, 6, tokens, classes, last));
        TS_OK(p.ctx, lt_batches_fill_spans(batches, 4, 6, spans));
        static const int32_t want[] = {256, 'a', 'b', 'c', 0, 0, 256, 'd', 0, 0, 0, 0,
                                       256, 'e', 'f', 0,   0, 0, 0,   0,   0, 0, 0, 0};
        TS_CHECK(!memcmp(tokens, want, sizeof want), "tokens");
        TS_CHECK(classes[0] == 0 && classes[1] == 1 && classes[2] == 0 && classes[3] == -1, "classes");
        TS_CHECK(last[0] == 3 && last[1] == 7 && last[2] == 14 && last[3] == 18, "ends of texts");
        TS_CHECK(spans[0] == 0 && spans[1] == 4 && spans[6] == 0 && spans[7] == 4 && spans[8] == 4 && spans[9] == 5 &&
                     spans[13] == 2,
                 "a text sees itself, padding itself alone");
        TS_OK(p.ctx, lt_batches_next(batches, &batch));
        TS_OK(p.ctx, lt_batches_fill_labelled(batches, 2, 6, tokens, classes, last));
        TS_CHECK(batch.last && tokens[5] == 'x' && last[0] == 5, "a long text keeps its last id");
        TS_REFUSED(p.ctx, lt_batches_fill(batches, 4, 6, tokens, tokens), LT_EINVAL, "lt_batches_fill_labelled");
        TS_REFUSED(p.ctx, lt_batches_fill_labelled(batches, 1, 6, tokens, classes, last), LT_EINVAL, "do not fit B");
        lt_batches_free(batches);
    }
    lt_dataset_free(set);
    lt_tokenizer_free(tok);
    ts_close_place(&p);
}

static lt_status try_labelled(lt_ctx *ctx, void *arg)
{
    lt_tokenizer *tok;
    lt_dataset *train = NULL, *valid = NULL;
    lt_dataset_options o;
    lt_dataset_options_init(&o);
    o.split = LT_SPLIT_TRAIN;
    LTI_TRY(lt_tokenizer_bytes(ctx, &tok));
    lt_status status = lt_dataset_open_labelled(ctx, arg, tok, &o, NULL, &train);
    o.split = LT_SPLIT_VALID;
    if (status == LT_OK) status = lt_dataset_open_labelled(ctx, arg, tok, &o, train, &valid);
    lt_dataset_free(train);
    lt_dataset_free(valid);
    lt_tokenizer_free(tok);
    return status;
}

static void memory_is_out(void)
{
    ts_place p = ts_open_place();
    char path[512];
    snprintf(path, sizeof path, "%s", ts_put_text(&p, "m.csv", "text,label\na,x\n\"b \"\"c\",y\nd,z\nefg,x\n"));
    TS_CHECK(ts_every_allocation_fails("labelled texts", try_labelled, path) > 10, "allocations");
    ts_close_place(&p);
}

/* Real files: their sizes, from the data's own pages (banking77: 77 intents; TREC: 5,452 questions). */
static void real_texts(void)
{
    lt_ctx *ctx = lt_ctx_create(NULL);
    lt_tokenizer *tok;
    lt_dataset *train, *test;
    char path[4096];
    if (!TS_OK(ctx, lt_tokenizer_bytes(ctx, &tok))) return;
    snprintf(path, sizeof path, "%s", ts_data("classify/banking77-train.csv"));
    TS_CHECK(lt_dataset_kind_at(ctx, path) == LT_DATA_LABELLED, "banking77 is labelled");
    if (TS_OK(ctx, lt_dataset_open_labelled(ctx, path, tok, NULL, NULL, &train))) {
        TS_CHECK(lt_dataset_rows(train) == 10003 && lt_dataset_classes(train) == 77, "banking77: %lld, %lld",
                 (long long)lt_dataset_rows(train), (long long)lt_dataset_classes(train));
        if (TS_OK(ctx,
                  lt_dataset_open_labelled(ctx, ts_data("classify/banking77-test.csv"), tok, NULL, train, &test))) {
            TS_CHECK(lt_dataset_rows(test) == 3080, "banking77's test rows");
            lt_dataset_free(test);
        }
        lt_dataset_free(train);
    }
    snprintf(path, sizeof path, "%s", ts_data("classify/trec-train.txt"));
    TS_CHECK(lt_dataset_kind_at(ctx, path) == LT_DATA_LABELLED, "TREC is labelled");
    if (TS_OK(ctx, lt_dataset_open_labelled(ctx, path, tok, NULL, NULL, &train))) {
        TS_CHECK(lt_dataset_rows(train) == 5452 && lt_dataset_classes(train) == 50, "TREC: %lld, %lld",
                 (long long)lt_dataset_rows(train), (long long)lt_dataset_classes(train));
        lt_dataset_free(train);
    }
    lt_tokenizer_free(tok);
    lt_ctx_free(ctx);
}

int lti_suite_labelled(void)
{
    CU_pSuite suite = CU_add_suite("labelled", NULL, NULL);
    static const ts_test tests[] = {{"records of a CSV", records},
                                    {"broken records", broken_records},
                                    {"formats of labelled texts", formats},
                                    {"labels and their numbers", labels},
                                    {"splits of labelled texts", labelled_splits},
                                    {"broken labelled texts", broken_labelled},
                                    {"batches of labelled texts", labelled_batches},
                                    {"memory is out", memory_is_out}};
    if (!suite) return 1;
    for (int i = 0; i < LTI_COUNT(tests); i++)
        if (!CU_add_test(suite, tests[i].name, tests[i].run)) return 1;
    return ts_add_with_data(suite, "real labelled texts", "classify/banking77-train.csv", real_texts);
}
