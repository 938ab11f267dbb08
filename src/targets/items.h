/* C layer: codes of items, which are the same if their bytes are. */
#ifndef XENTC_TARGETS_ITEMS_H
#define XENTC_TARGETS_ITEMS_H

#include <stddef.h>
#include <stdint.h>

/* length: the number of bytes times 4, and what else equal items have in common. */
struct item {
    const char *p;
    ptrdiff_t length;
};

/* Items that were seen, in the order of appearance. Nothing is taken for an index unchecked: somebody may be writing to
 * their bytes. */
struct seen_items {
    uint32_t *slot;                               /* of a hash: a code + 1, or 0 */
    int slot_bits;                                /* there are 2^slot_bits of them, more than `limit` */
    struct item *item;                            /* of each code */
    int64_t *row;                                 /* that it was first seen in */
    ptrdiff_t limit, n;
};

/* The codes of n items, or of n elements of `size` bytes that begin `stride` bytes apart, which are the rows from `row` on.
 * False if there are more than the limit. */
int codes_of_items(struct seen_items *seen, const struct item *items, int n, int64_t row, uint32_t *code /* OUT */);
int codes_of_elements(struct seen_items *seen, const char *p, ptrdiff_t stride, ptrdiff_t size, int n, int64_t row,
                  uint32_t *code /* OUT */);

#endif
