/* C layer: a sum of float64 values that is exact, so that no order of adding or merging changes it.
 *
 * A small superaccumulator (R. Neal 2015, arXiv 1505.05571): a fixed-point number over the whole range of float64, kept
 * in 64-bit chunks that start 32 bits apart. A value touches two chunks: chunk i gets the low 32 bits of its shifted
 * mantissa, chunk i + 1 the rest, below 2^53. The 11 bits left over take CARRY_AFTER values before the carries must move on.
 * The integer sum of chunk[i] * 2^(32 i) counts units of 2^-1075, twice as many as the smallest subnormal.
 */
#ifndef XENTC_SUMS_EXACT_SUM_H
#define XENTC_SUMS_EXACT_SUM_H

#include <stdint.h>
#include <string.h>

enum {
    CHUNKS = 67,                                  /* 2099 bits of float64 and 45 for the count of values */
    CARRY_AFTER = 1000,
};

struct exact_sum {
    int64_t chunk[CHUNKS];
    int64_t positive_infinities, negative_infinities, nans;
    int64_t pending;                              /* values added since the last carry */
};

/* Every chunk but the last into [0, 2^32). */
static inline void exact_carry(struct exact_sum *sum)
{
    for (int i = 0; i < CHUNKS - 1; i++) {
        int64_t carry = sum->chunk[i] >> 32;
        sum->chunk[i] -= carry * ((int64_t)1 << 32);
        sum->chunk[i + 1] += carry;
    }
    sum->pending = 0;
}

static inline void exact_add(struct exact_sum *sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52) & 0x7ff;
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (exponent == 0x7ff) {
        if (mantissa)
            sum->nans++;
        else if (bits >> 63)
            sum->negative_infinities++;
        else
            sum->positive_infinities++;
        return;
    }
    if (exponent)
        mantissa |= (uint64_t)1 << 52;
    else
        exponent = 1;                             /* subnormals have the exponent of the smallest normal */
    int shift = exponent & 31;
    int64_t low = (int64_t)((mantissa << shift) & 0xffffffff), high = (int64_t)(mantissa >> (32 - shift));
    int64_t sign = -(int64_t)(bits >> 63);        /* 0 or -1 */
    int64_t *chunk = sum->chunk + (exponent >> 5);
    chunk[0] += (low ^ sign) - sign;
    chunk[1] += (high ^ sign) - sign;
    if (++sum->pending >= CARRY_AFTER)
        exact_carry(sum);
}

static inline void exact_merge(struct exact_sum *sum, struct exact_sum *other)
{
    exact_carry(sum);
    exact_carry(other);
    for (int i = 0; i < CHUNKS; i++)
        sum->chunk[i] += other->chunk[i];
    sum->positive_infinities += other->positive_infinities;
    sum->negative_infinities += other->negative_infinities;
    sum->nans += other->nans;
    exact_carry(sum);
}

/* The float64 nearest to the sum, ties to even. In integers: the rounding mode and the flags are the caller's. */
static inline double exact_rounded(const struct exact_sum *sum)
{
    const uint64_t infinity = (uint64_t)0x7ff << 52;
    uint32_t digit[CHUNKS];
    uint64_t bits, sign = 0;
    int64_t carry = 0;
    double value;
    for (int i = 0; i < CHUNKS; i++) {
        carry += sum->chunk[i];
        digit[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry < 0) {
        sign = (uint64_t)1 << 63;
        carry = 1;
        for (int i = 0; i < CHUNKS; i++) {
            carry += (uint32_t)~digit[i];
            digit[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    int top = CHUNKS - 1;
    while (top > 1 && !digit[top])
        top--;
    uint64_t head = (uint64_t)digit[top] << 32 | digit[top - 1];
    if (sum->nans || (sum->positive_infinities && sum->negative_infinities)) {
        bits = infinity | (uint64_t)1 << 51;
        sign = 0;
    } else if (sum->positive_infinities || sum->negative_infinities) {
        bits = infinity;
        sign = sum->positive_infinities ? 0 : (uint64_t)1 << 63;
    } else if (top == 1 && head >> 53 == 0) {
        bits = head >> 1;                         /* zero or a subnormal: all float64 are even numbers of units, so exact */
    } else {
        int shift = __builtin_clzll(head);
        uint64_t third = top > 1 ? (uint64_t)digit[top - 2] << shift : 0, rest = third & 0xffffffff;
        int exponent = 32 * top - 21 - shift;     /* biased: a head of 2^53 at top 1 is 2^-1022, of exponent 1 */
        for (int i = 0; i < top - 2; i++)
            rest |= digit[i];
        head = head << shift | third >> 32;
        uint64_t mantissa = head >> 11, below = (head & 0x7ff) << 1 | (rest != 0);
        mantissa += below > 0x800 - (mantissa & 1);
        bits = exponent > 0x7fe ? infinity : ((uint64_t)(exponent - 1) << 52) + mantissa;
    }
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Most values need not touch the chunks one by one: eight lanes collect them in bins of 40 bits, as multiples of 2^-26,
 * 2^-66, 2^-106 and 2^-146. A bin takes 2^13 values below 2^14 before it must be emptied. The first two hold all digits of a
 * float64 from 2^-13 on. */
enum { BINS = 4, MOST_OF_BINS = 14, FLUSH_AFTER = 8000 };

struct running_sum {
    double bin[BINS][8];
    int64_t pending;                              /* vectors in the bins */
    int64_t ones;                                 /* values of 1, counted apart */
    struct exact_sum exact;
};

static inline void exact_flush(struct running_sum *sum)
{
    for (int i = 0; i < BINS; i++)
        for (int l = 0; l < 8; l++)
            if (sum->bin[i][l] != 0) {
                exact_add(&sum->exact, sum->bin[i][l]);
                sum->bin[i][l] = 0;
            }
    if (sum->ones)
        exact_add(&sum->exact, (double)sum->ones);
    sum->pending = sum->ones = 0;
}

#endif
