/* bpe.c - byte-pair encoding of one piece of text (Sennrich et al., 2016).
 *
 * Merge the pair of lowest rank, leftmost first, until no pair is left. A heap of candidates over a doubly linked list
 * makes that n log n: without a splitting pattern a whole document is one piece, and a megabyte of one letter must not
 * be quadratic. Candidates go stale when a neighbour is merged; they are recognised when they come up, by looking the
 * pair up again, rather than searched and removed.
 *
 * Where a pattern cuts text into words the same words come again and again: short pieces are kept with their ids in a
 * table of fixed size, one place a hash, the latest winning. SentencePiece's vocabularies come without a pattern, but
 * where no merge joins a U+2581 to something else before it, the text may be cut there and gives the same ids. */
#include "data/tokenizer/tokenizer.h"
#include "data/utf8.h"

#include <string.h>
#include <xxhash.h>

static uint32_t hash_pair(uint64_t pair)
{
    pair ^= pair >> 32;
    pair *= UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(pair >> 32);
}

lt_status lti_bpe_create(lt_ctx *ctx, int64_t merges, lti_bpe *bpe)
{
    bpe->slot_count = 16;
    while (bpe->slot_count < 2 * (uint64_t)merges) bpe->slot_count *= 2;
    bpe->merges = lti_alloc_array(ctx, bpe->slot_count, sizeof *bpe->merges);
    if (!bpe->merges) return LT_ENOMEM;
    for (uint32_t i = 0; i < bpe->slot_count; i++) bpe->merges[i].pair = UINT64_MAX;
    return LT_OK;
}

void lti_bpe_free(lt_ctx *ctx, lti_bpe *bpe)
{
    lti_free(ctx, bpe->merges);
    lti_free(ctx, bpe->symbols);
    lti_free(ctx, bpe->heap);
    lti_free(ctx, bpe->known);
}

static lti_merge *find(const lti_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t mask = bpe->slot_count - 1, at = hash_pair(pair) & mask;
    while (bpe->merges[at].pair != pair && bpe->merges[at].pair != UINT64_MAX) at = (at + 1) & mask;
    return &bpe->merges[at];
}

void lti_bpe_add(lti_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    lti_merge *merge = find(bpe, left, right);
    if (merge->pair != UINT64_MAX) return;
    *merge = (lti_merge){(uint64_t)(uint32_t)left << 32 | (uint32_t)right, rank, id};
}

/* ---- Heap of candidates: lowest rank first, then leftmost ---- */
static bool before(const lti_candidate *a, const lti_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(lti_bpe *bpe, lti_candidate c)
{
    int64_t i = bpe->heap_count++;
    for (; i > 0 && before(&c, &bpe->heap[(i - 1) / 2]); i = (i - 1) / 2) bpe->heap[i] = bpe->heap[(i - 1) / 2];
    bpe->heap[i] = c;
}

static lti_candidate pop(lti_bpe *bpe)
{
    lti_candidate top = bpe->heap[0], last = bpe->heap[--bpe->heap_count];
    int64_t i = 0, n = bpe->heap_count;
    for (int64_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && before(&bpe->heap[child + 1], &bpe->heap[child])) child++;
        if (!before(&bpe->heap[child], &last)) break;
        bpe->heap[i] = bpe->heap[child];
        i = child;
    }
    bpe->heap[i] = last;
    return top;
}

static void consider(lti_bpe *bpe, int32_t at)
{
    int32_t next = at < 0 ? -1 : bpe->symbols[at].next;
    if (next < 0) return;
    const lti_merge *merge = find(bpe, bpe->symbols[at].id, bpe->symbols[next].id);
    if (merge->pair != UINT64_MAX) push(bpe, (lti_candidate){merge->rank, at, merge->id});
}

static void merge_all(lti_bpe *bpe, int32_t count)
{
    lti_symbol *symbols = bpe->symbols;
    bpe->heap_count = 0;
    for (int32_t i = 0; i + 1 < count; i++) consider(bpe, i);
    while (bpe->heap_count) {
        lti_candidate c = pop(bpe);
        lti_symbol *left = &symbols[c.at];
        if (left->id < 0 || left->next < 0) continue;
        lti_symbol *right = &symbols[left->next];
        const lti_merge *merge = find(bpe, left->id, right->id);
        if (merge->pair == UINT64_MAX || merge->id != c.id) continue;
        left->id = c.id;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0) symbols[left->next].previous = c.at;
        consider(bpe, left->previous);
        consider(bpe, c.at);
    }
}

/* Room for `count` symbols, and candidates: n - 1 at first, then each merge takes one out and adds at most two. */
static lt_status make_room(lt_ctx *ctx, lti_bpe *bpe, int64_t count)
{
    if (count <= bpe->symbol_room) return LT_OK;
    int64_t room = count + count / 2 + 64;
    lti_free(ctx, bpe->symbols);
    lti_free(ctx, bpe->heap);
    bpe->symbol_room = bpe->heap_room = 0;
    bpe->symbols = lti_alloc_array(ctx, (size_t)room, sizeof *bpe->symbols);
    bpe->heap = lti_alloc_array(ctx, 2 * (size_t)room, sizeof *bpe->heap);
    if (!bpe->symbols || !bpe->heap) {
        lti_free(ctx, bpe->symbols);
        lti_free(ctx, bpe->heap);
        bpe->symbols = NULL;
        bpe->heap = NULL;
        return LT_ENOMEM;
    }
    bpe->symbol_room = room;
    bpe->heap_room = 2 * room;
    return LT_OK;
}

static void add_symbol(lti_bpe *bpe, int32_t *count, int32_t id)
{
    bpe->symbols[*count] = (lti_symbol){id, *count - 1, *count + 1};
    ++*count;
}

static bool covers(const lti_bpe *bpe, const unsigned char *bytes, int length)
{
    for (int i = 0; i < length; i++)
        if (bpe->byte_tokens[bytes[i]] < 0) return false;
    return bpe->byte_fallback;
}

/* The symbols a piece begins as: one a character (or byte), or the bytes of a character that is in no token. */
static lt_status split(const lti_vocab *vocab, lti_bpe *bpe, const unsigned char *piece, int64_t length, int32_t *count)
{
    int64_t after_unknown = -1; /* where the last unknown character ended */
    for (int64_t at = 0; at < length;) {
        int n = bpe->byte_level ? 1 : lti_utf8_length(piece + at, (uint64_t)(length - at));
        bool valid = n > 0;
        if (!valid) n = 1;
        int32_t id = valid ? lti_vocab_text(vocab, (const char *)piece + at, (size_t)n) : -1;
        if (id >= 0) {
            add_symbol(bpe, count, id);
        } else if (covers(bpe, piece + at, n)) {
            for (int i = 0; i < n; i++) add_symbol(bpe, count, bpe->byte_tokens[piece[at + i]]);
        } else if (bpe->unknown >= 0) {
            if (!bpe->fuse_unknown || after_unknown != at) add_symbol(bpe, count, bpe->unknown);
            after_unknown = at + n;
        } else if (!valid && !bpe->byte_level) {
            return lti_fail(vocab->ctx, LT_EFORMAT,
                            "tokenizer: the byte 0x%02x is in no token and there is no unknown token; is the text "
                            "UTF-8?",
                            piece[at]);
        } /* else what no token can express is left out, as Hugging Face leaves it out: SmolLM2 lacks four bytes */
        at += n;
    }
    return LT_OK;
}

/* ---- Pieces met before ---- */
#define KNOWN 8192
#define KNOWN_BYTES 22
#define KNOWN_IDS 10
#define KNOWN_FROM 512 /* so many pieces are worth a table */

struct lti_known {
    uint8_t length, count; /* length 0: empty */
    char piece[KNOWN_BYTES];
    int32_t ids[KNOWN_IDS];
};

/* The place of a short piece; NULL while there is no table. */
static lt_status place_of(lt_ctx *ctx, lti_bpe *bpe, const char *piece, int64_t length, struct lti_known **place)
{
    *place = NULL;
    if (length > KNOWN_BYTES || bpe->pieces < KNOWN_FROM) return bpe->pieces++, LT_OK;
    if (!bpe->known) bpe->known = lti_alloc_array(ctx, KNOWN, sizeof *bpe->known);
    if (!bpe->known) return LT_ENOMEM;
    *place = &bpe->known[XXH3_64bits(piece, (size_t)length) % KNOWN];
    return LT_OK;
}

static void keep(struct lti_known *place, const char *piece, int64_t length, const int32_t *ids, int64_t count)
{
    if (count > KNOWN_IDS) return;
    place->length = (uint8_t)length;
    place->count = (uint8_t)count;
    memcpy(place->piece, piece, (size_t)length);
    memcpy(place->ids, ids, (size_t)count * sizeof *ids);
}

static lt_status encode_new(const lti_vocab *vocab, lti_bpe *bpe, const char *piece, int64_t length, lt_ids *ids)
{
    if (bpe->ignore_merges) {
        int32_t id = lti_vocab_text(vocab, piece, (size_t)length);
        if (id >= 0) return lti_ids_add(vocab->ctx, ids, id);
    }
    LTI_TRY(make_room(vocab->ctx, bpe, length));
    int32_t count = 0;
    LTI_TRY(split(vocab, bpe, (const unsigned char *)piece, length, &count));
    if (count == 0) return LT_OK;
    bpe->symbols[count - 1].next = -1;
    merge_all(bpe, count);
    for (int32_t i = 0; i >= 0; i = bpe->symbols[i].next) LTI_TRY(lti_ids_add(vocab->ctx, ids, bpe->symbols[i].id));
    return LT_OK;
}

static lt_status encode_part(const lti_vocab *vocab, lti_bpe *bpe, const char *piece, int64_t length, lt_ids *ids)
{
    struct lti_known *place;
    int64_t first = ids->count;
    LTI_TRY(place_of(vocab->ctx, bpe, piece, length, &place));
    if (place && place->length == length && memcmp(place->piece, piece, (size_t)length) == 0)
        return lti_ids_append(vocab->ctx, ids, place->ids, place->count);
    LTI_TRY(encode_new(vocab, bpe, piece, length, ids));
    if (place) keep(place, piece, length, ids->ids + first, ids->count - first);
    return LT_OK;
}

/* ---- Words in a text without breaks ---- */

/* The first LTI_LOW_LINE behind something else in text[from .. length), or length. */
static int64_t next_word(const char *text, int64_t length, int64_t from)
{
    while (length - from >= 3 && memcmp(text + from, LTI_LOW_LINE, 3) == 0) from += 3;
    const char *hit = from < length ? memmem(text + from, (size_t)(length - from), LTI_LOW_LINE, 3) : NULL;
    return hit ? hit - text : length;
}

void lti_bpe_settle(const lti_vocab *vocab, lti_bpe *bpe)
{
    bpe->words = !bpe->byte_level && !bpe->ignore_merges && lti_vocab_text(vocab, LTI_LOW_LINE, 3) >= 0;
    for (uint32_t i = 0; i < bpe->slot_count && bpe->words; i++) {
        if (bpe->merges[i].pair == UINT64_MAX) continue;
        const lti_token *token = &vocab->tokens[bpe->merges[i].id];
        bpe->words = next_word(vocab->text + token->offset, token->length, 0) == token->length;
    }
}

lt_status lti_bpe_encode(const lti_vocab *vocab, lti_bpe *bpe, const char *piece, int64_t length, lt_ids *ids)
{
    if (length > 1 << 30)
        return lti_fail(vocab->ctx, LT_ELIMIT,
                        "tokenizer: a text of %lld bytes without a break passes the limit of 1 GiB", (long long)length);
    for (int64_t at = 0, end; at < length; at = end) {
        end = bpe->words ? next_word(piece, length, at) : length;
        LTI_TRY(encode_part(vocab, bpe, piece + at, end - at, ids));
    }
    return LT_OK;
}
