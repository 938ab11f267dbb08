/* C layer: codes of items, which are the same if their bytes are. */

#include "targets/items.h"

#include <string.h>

#define INLINED static inline __attribute__((always_inline))

enum { AHEAD = 1024 };                            /* bytes fetched so far ahead: the hash else waits for memory half of the time */

INLINED uint64_t load_8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

INLINED uint64_t load_4(const char *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

/* The last 8 bytes; where there are fewer, a word that tells them all. */
INLINED uint64_t last_word(const char *p, ptrdiff_t size)
{
    if (size >= 8)
        return load_8(p + size - 8);
    if (size >= 4)
        return load_4(p) | load_4(p + size - 4) << 32;
    if (size > 0)
        return (uint8_t)p[0] | (uint64_t)(uint8_t)p[size / 2] << 8 | (uint64_t)(uint8_t)p[size - 1] << 16;
    return 0;
}

/* Products with an odd number, 2^64 over the golden ratio, which carry every bit upwards. None waits for another; the sum is
 * rotated so that the order of the words counts. The upper bits are the good ones. */
INLINED uint64_t hash(const char *p, ptrdiff_t size)
{
    const uint64_t golden = 0x9e3779b97f4a7c15;
    uint64_t h = (uint64_t)size;
    for (ptrdiff_t i = 0; i < size - 8; i += 8)
        h = (h << 23 | h >> 41) + load_8(p + i) * golden;
    h = (h << 23 | h >> 41) + last_word(p, size) * golden;
    return (h ^ h >> 32) * golden;
}

INLINED int same(const char *p, const char *q, ptrdiff_t size)
{
    for (ptrdiff_t i = 0; i < size - 8; i += 8)
        if (load_8(p + i) != load_8(q + i))
            return 0;
    return last_word(p, size) == last_word(q, size);
}

/* -1 if it is one too many. */
INLINED int64_t code_of(struct seen_items *seen, const char *p, ptrdiff_t length, ptrdiff_t size, int64_t row)
{
    const uint64_t mask = ((uint64_t)1 << seen->slot_bits) - 1;
    uint64_t s = hash(p, size) >> (64 - seen->slot_bits);
    for (; seen->slot[s]; s = (s + 1) & mask) {
        const struct item *other = &seen->item[seen->slot[s] - 1];
        if (other->length == length && same(p, other->p, size))
            return (int64_t)seen->slot[s] - 1;
    }
    if (seen->n == seen->limit)
        return -1;
    seen->item[seen->n] = (struct item){p, length};
    seen->row[seen->n++] = row;
    seen->slot[s] = (uint32_t)seen->n;
    return seen->n - 1;
}

int codes_of_items(struct seen_items *seen, const struct item *items, int n, int64_t row, uint32_t *code)
{
    for (int i = 0; i < n; i++) {
        int64_t found = code_of(seen, items[i].p, items[i].length, items[i].length >> 2, row + i);
        if (found < 0)
            return 0;
        code[i] = (uint32_t)found;
    }
    return 1;
}

INLINED int elements_of_size(struct seen_items *seen, const char *p, ptrdiff_t stride, ptrdiff_t size, int n, int64_t row,
                             uint32_t *code)
{
    const ptrdiff_t ahead = stride > 0 ? AHEAD : -AHEAD;
    for (int i = 0; i < n; i++, p += stride) {
        __builtin_prefetch(p + ahead);
        int64_t found = code_of(seen, p, 4 * size, size, row + i);
        if (found < 0)
            return 0;
        code[i] = (uint32_t)found;
    }
    return 1;
}

/* Sizes of short strings, four bytes a character, and of numbers are known when this is compiled. */
int codes_of_elements(struct seen_items *seen, const char *p, ptrdiff_t stride, ptrdiff_t size, int n, int64_t row, uint32_t *code)
{
    switch (size) {
    case 4: return elements_of_size(seen, p, stride, 4, n, row, code);
    case 8: return elements_of_size(seen, p, stride, 8, n, row, code);
    case 12: return elements_of_size(seen, p, stride, 12, n, row, code);
    case 16: return elements_of_size(seen, p, stride, 16, n, row, code);
    case 20: return elements_of_size(seen, p, stride, 20, n, row, code);
    case 24: return elements_of_size(seen, p, stride, 24, n, row, code);
    case 28: return elements_of_size(seen, p, stride, 28, n, row, code);
    case 32: return elements_of_size(seen, p, stride, 32, n, row, code);
    default: return elements_of_size(seen, p, stride, size, n, row, code);
    }
}
