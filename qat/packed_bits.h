/* packed_bits.h - numbers of 1 to 8 bits without gaps: number i begins at bit i x bits, least significant bit first. */
#ifndef LTI_PACKED_BITS_H
#define LTI_PACKED_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of `count` numbers; false when there is no such size. */
static inline bool lti_bits_bytes(int64_t count, int bits, size_t *bytes)
{
    if (count < 0 || count > (INT64_MAX - 7) / 8) return false;
    *bytes = ((size_t)count * (size_t)bits + 7) / 8;
    return true;
}

/* `to` holds zeros where number i goes. */
static inline void lti_bits_put(uint8_t *to, int bits, int64_t i, unsigned number)
{
    uint64_t at = (uint64_t)i * (uint64_t)bits;
    unsigned v = number << (at & 7);
    to[at >> 3] |= (uint8_t)v;
    if (v >> 8) to[(at >> 3) + 1] |= (uint8_t)(v >> 8);
}

static inline unsigned lti_bits_at(const uint8_t *from, size_t bytes, int bits, int64_t i)
{
    uint64_t at = (uint64_t)i * (uint64_t)bits;
    size_t byte = (size_t)(at >> 3);
    unsigned v = from[byte];
    if (byte + 1 < bytes) v |= (unsigned)from[byte + 1] << 8;
    return v >> (at & 7) & ((1u << bits) - 1);
}

/* Whether bits behind the last of `count` numbers are set. */
static inline bool lti_bits_behind(const uint8_t *from, size_t bytes, int bits, int64_t count)
{
    unsigned used = (unsigned)((uint64_t)count * (uint64_t)bits % 8);
    return used && from[bytes - 1] >> used;
}

#endif
