/* The pieces of the C layer as functions of a shared library, of one instruction set: see units.py. */

#include <stdlib.h>

#include "memory/memory.h"
#include "memory/rows.h"
#include "memory/segments.h"
#include "simd/names.h"
#include "sums/lanes.h"
#include "sums/moments.h"
#include "sums/sums.h"
#include "targets/items.h"

extern const struct memory_kernels PER_SET(memory);
extern const struct sums_kernels PER_SET(sums);
extern const struct moments_kernels PER_SET(moments);

/* ---- Elements. */

void read_wide(const char *p, ptrdiff_t stride, int element, ptrdiff_t n, double *out)
{
    read_f64(p, stride, (enum element)element, n, out);
}

void read_single(const char *p, ptrdiff_t stride, int element, ptrdiff_t n, float *out)
{
    read_f32(p, stride, (enum element)element, n, out);
}

void write_wide(char *p, ptrdiff_t stride, int element, ptrdiff_t n, const double *values)
{
    write_f64(p, stride, (enum element)element, n, values);
}

void write_single(char *p, ptrdiff_t stride, int element, ptrdiff_t n, const float *values)
{
    write_f32(p, stride, (enum element)element, n, values);
}

void gather(const char *const *rows, ptrdiff_t stride, int element, const int64_t *code, int n, double *out)
{
    struct source x = {rows, stride, (enum element)element, 0, NULL, NULL};
    PER_SET(memory).gather(x, code, n, out);
}

int codes(const char *p, ptrdiff_t stride, int element, int n, int64_t n_codes, int64_t *out)
{
    return PER_SET(memory).codes(p, stride, (enum element)element, n, n_codes, out);
}

/* How many there are; -1 if more than the limit. */
ptrdiff_t code_elements(const char *p, ptrdiff_t stride, ptrdiff_t size, int n, uint32_t *slot, int slot_bits, ptrdiff_t limit,
                        int64_t *row, uint32_t *code)
{
    struct item *items = malloc((size_t)limit * sizeof *items);
    struct seen_items seen = {slot, slot_bits, items, row, limit, 0};
    int all = codes_of_elements(&seen, p, stride, size, n, 0, code);
    free(items);
    return all ? seen.n : -1;
}

void extremes(const int64_t *x, ptrdiff_t n, int64_t *out)
{
    PER_SET(memory).extremes(x, n, out, out + 1);
}

/* ---- Vectors. */

/* What masks of each number from 0 to 255, a bit a lane, are taken for: bit 0 any, bit 1 all. */
void masks(int *out)
{
    for (int m = 0; m < 256; m++) {
        double lanes[8];
        for (int l = 0; l < 8; l++)
            lanes[l] = m >> l & 1;
        i64x8 mask = equal_f64(load_f64(lanes), set_f64(1));
        out[m] = any_f64(mask) | all_f64(mask) << 1;
    }
}

/* The first n lanes: loaded, the others filled; stored; and with zeros behind them. */
#define DEFINE_PARTS(T, C)                                                                                         \
    void part_##T(const C *p, int n, C fill, C *loaded, C *stored)                                                 \
    {                                                                                                              \
        store_##T(loaded, load_part_##T(p, n, fill));                                                              \
        store_part_##T(stored, n, load_##T(p));                                                                    \
    }                                                                                                              \
    void some_##T(const C *p, int n, C fill, C *loaded, C *stored)                                                 \
    {                                                                                                              \
        store_##T(loaded, load_some_##T(p, n, fill));                                                              \
        store_some_##T(stored, n, load_##T(p));                                                                    \
    }
DEFINE_PARTS(f64, double)
DEFINE_PARTS(f32, float)

void conversions(const float *singles, const double *wide, double *widened, double *loaded, float *narrowed,
                 double *rounded_out)
{
    store_as_f64(widened, load_f32(singles));
    store_f64(loaded, load_wide_f32(singles));
    store_f64(loaded + 8, load_wide_f32(singles + 8));
    store_f32(narrowed, narrow_f32(wide));
    store_f64(rounded_out, single_f64(load_f64(wide)));
    store_f64(rounded_out + 8, single_f64(load_f64(wide + 8)));
}

void transposed(const double (*rows)[8], double (*out)[8])
{
    f64x8 columns[8];
    transpose_8(rows, columns);
    for (int c = 0; c < 8; c++)
        store_f64(out[c], columns[c]);
}

/* ---- Tiles of rows. */

#define DEFINE_TILES(T, C)                                                                                         \
    void pack_##T(const char *const *rows, ptrdiff_t class_stride, int element, ptrdiff_t row_stride,              \
                  ptrdiff_t n_classes, char *scratch, C *tile)                                                     \
    {                                                                                                              \
        struct source group = {rows, class_stride, (enum element)element, row_stride, NULL, scratch};              \
        pack_tile_##T(group, n_classes, tile);                                                                     \
    }                                                                                                              \
    void unpack_##T(const C *tile, char *const *rows, ptrdiff_t class_stride, int element, ptrdiff_t row_stride,   \
                    ptrdiff_t n_classes)                                                                           \
    {                                                                                                              \
        struct sink out = {rows, class_stride, (enum element)element, row_stride, 0};                              \
        unpack_tile_##T(tile, out, n_classes);                                                                     \
    }                                                                                                              \
    void stream_##T##_values(C *to, const C *from, ptrdiff_t n)                                                    \
    {                                                                                                              \
        stream_all_##T(to, from, n);                                                                               \
    }
DEFINE_TILES(f64, double)
DEFINE_TILES(f32, float)

/* ---- Segments, shapes, scratch memory. */

struct recorded {
    struct segments segments;
    ptrdiff_t *size;
    int *order, n, bad;
};

static void record(void *context, int i, char *scratch)
{
    struct recorded *r = context;
    r->bad |= scratch == NULL;
    r->size[i] = segment_size(&r->segments, i);
    r->order[r->n++] = i;
}

static void backwards(const struct segment_pool *pool, void (*part)(void *, int, char *), void *context, int n)
{
    for (int i = n - 1; i >= 0; i--)
        part(context, i, pool->scratch);
}

/* Returns the number of segments, or -1 where it is not the number of calls. */
int segments(ptrdiff_t n_classes, int shared, ptrdiff_t *length, ptrdiff_t *size, int *order)
{
    char scratch[1];
    struct segment_pool pool = {backwards, 2, scratch, 1};
    struct recorded r = {{0, 0}, size, order, 0, 0};
    int n = run_segments(shared ? &pool : NULL, record, &r.segments, n_classes, scratch);
    *length = r.segments.length;
    return r.bad || r.n != n || n != count_segments(n_classes) ? -1 : n;
}

ptrdiff_t most(int of, size_t size)
{
    return most_classes((enum shape)of, size);
}

int lanes_are_rows(ptrdiff_t n_classes, size_t size)
{
    return size == 8 ? rows_in_lanes_f64(n_classes) : rows_in_lanes_f32(n_classes);
}

size_t scratch_of(ptrdiff_t n_classes, size_t size)
{
    return scratch_bytes(n_classes, size);
}

size_t exponentials_of(ptrdiff_t n_classes, size_t size)
{
    return exponentials_bytes(n_classes, size);
}

/* Offsets of pieces that are taken one after the other, and of what is left. */
void pieces(const size_t *bytes, int n, size_t *offset)
{
    static char memory[1 << 16] __attribute__((aligned(LINE)));
    char *rest = memory;
    for (int i = 0; i < n; i++)
        offset[i] = (size_t)((char *)take(&rest, bytes[i]) - memory);
    offset[n] = (size_t)(rest - memory);
}

/* ---- Sums. */

void total_of_a_row(const double *high, const double *low, double *out)
{
    *out = lane_total((struct double_double){load_f64(high), load_f64(low)});
}

/* Of eight rows, each of sixteen lanes of high and of low parts. */
void totals_of_rows(const double (*high)[16], const double (*low)[16], double *out_high, double *out_low)
{
    struct lane_table table;
    for (int i = 0; i < 8; i++) {
        struct double_double halves[2] = {{load_f64(high[i]), load_f64(low[i])},
                                          {load_f64(high[i] + 8), load_f64(low[i] + 8)}};
        set_lanes(&table, i, halves);
    }
    struct double_double total = total_of_lanes(&table);
    store_f64(out_high, total.high);
    store_f64(out_low, total.low);
}

double add_all(struct exact_sum *sum, const double *values, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        exact_add(sum, values[i]);
    return exact_rounded(sum);
}

double merged(struct exact_sum *sum, struct exact_sum *other)
{
    exact_merge(sum, other);
    return exact_rounded(sum);
}

/* Blocks of row losses and their weights into sums, whose bins are then emptied. */
void finish_blocks(double *loss, const double *weight, const double *share, ptrdiff_t n, int element,
                   struct exact_sum *total, struct exact_sum *total_share)
{
    struct running_sum sums[2];
    memset(sums, 0, sizeof sums);
    for (ptrdiff_t i = 0; i < n; i += BLOCK)
        PER_SET(sums).finish(loss + i, weight ? weight + i : NULL, weight ? share + i : NULL,
                             n - i < BLOCK ? (int)(n - i) : BLOCK, (enum element)element, NULL, &sums[0], &sums[1]);
    exact_flush(&sums[0]);
    exact_flush(&sums[1]);
    *total = sums[0].exact;
    *total_share = sums[1].exact;
}

/* The same of float32 losses without weights. */
int finish_single_blocks(float *loss, ptrdiff_t n, float *out, struct exact_sum *total, struct exact_sum *total_share)
{
    struct running_sum sums[2];
    int undefined = 0;
    memset(sums, 0, sizeof sums);
    for (ptrdiff_t i = 0; i < n; i += BLOCK)
        undefined |= PER_SET(sums).finish_singles(loss + i, n - i < BLOCK ? (int)(n - i) : BLOCK, (char *)(out + i), &sums[0],
                                                  &sums[1]);
    exact_flush(&sums[0]);
    exact_flush(&sums[1]);
    *total = sums[0].exact;
    *total_share = sums[1].exact;
    return undefined;
}

/* Values into the moments of groups, whose bins are then emptied. */
void add_moments(const double *value, const double *weight, const int64_t *code, ptrdiff_t n, ptrdiff_t n_groups,
                 struct moments *sums, int64_t *counts)
{
    struct groups groups = {sums, calloc((size_t)n_groups, 16 * sizeof(double)), counts};
    for (ptrdiff_t i = 0; i < n; i += BLOCK)
        PER_SET(moments).add(value + i, weight ? weight + i : NULL, code + i, n - i < BLOCK ? (int)(n - i) : BLOCK, groups);
    for (ptrdiff_t g = 0; g < n_groups; g++)
        PER_SET(moments).flush(groups, g);
    free(groups.bins);
}
