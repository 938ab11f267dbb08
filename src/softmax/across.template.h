/* C layer: the sums of exponentials where neighbouring rows lie side by side, class by class. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* Adds class j, or two from j, of groups of rows that lie side by side to their states. */
INLINE void TYPED(add_across)(struct source x, int n_groups, ptrdiff_t j, ptrdiff_t apart,
                              const struct TYPED(scaling) *scaling, int centred, struct TYPED(state) *states, int two)
{
    struct TYPED(lane_scaling) of = {TYPED(load)(scaling->c), TYPED(load)(scaling->magic), TYPED(load)(scaling->lowest)};
    const char *p = x.rows[0] + j * x.class_stride, *q = p + apart * x.class_stride;
    for (int g = 0; g < n_groups; g++, p += 64, q += 64) {
        __builtin_prefetch(p + AHEAD_ACROSS * x.class_stride, 0, 2);
        VECTOR v[2] = {TYPED(load)((const REAL *)(const void *)p)};
        if (two) {
            __builtin_prefetch(q + AHEAD_ACROSS * x.class_stride, 0, 2);
            v[1] = TYPED(load)((const REAL *)(const void *)q);
        }
        TYPED(exponentials)(1 + two, v, &of, centred, &states[g].max_x);
        if (two)
            TYPED(enter_two)(&states[g], v[0], v[1]);
        else
            TYPED(add_terms)(states[g].sum, states[g].low, TYPED(enter)(&states[g], v[0]));
    }
}

/* Groups of LANES rows of many classes, where neighbouring rows and not the classes lie side by side: lanes are rows, and
 * states[l] has the lane l that a row of classes would have, so that every sum is the same. A class is read of all rows at
 * once, for each may be on another page of memory; the states stay in the first-level cache. */
INLINE void TYPED(sum_across)(struct source x, int n_groups, ptrdiff_t begin, ptrdiff_t n_classes,
                              const struct TYPED(scaling) *scaling, struct TYPED(state) (*states)[BLOCK / LANES], int centred)
{
    for (int l = 0; l < LANES; l++)
        for (int g = 0; g < n_groups; g++)
            TYPED(start)(&states[l][g]);
    for (ptrdiff_t first = 0; first < n_classes; first += 2 * LANES)
        for (int l = 0; l < LANES && first + l < n_classes; l++)
            EITHER(first + l + LANES < n_classes, TYPED(add_across), x, n_groups, begin + first + l, LANES, scaling,
                   centred, states[l]);
}

INLINE struct lane_sum TYPED(merge_across)(const struct TYPED(state) (*states)[BLOCK / LANES], int g, int h)
{
    struct lane_sum lanes[LANES];
    for (int l = 0; l < LANES; l++)
        lanes[l] = (struct lane_sum){WIDEN(states[l][g].max_x, h), WIDEN(states[l][g].max_e, h),
                                     {states[l][g].sum[h], states[l][g].low[h]}};
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++)
            TYPED(merge_lanes)(&lanes[l], &lanes[l + width]);
    return lanes[0];
}

struct TYPED(across) {
    struct segments segments;
    struct source x;
    int n_groups;
    const struct TYPED(scaling) *scaling;
    int centred;
    struct lane_sum (*sum)[LANES / 8];            /* of each segment, all groups */
};

static void TYPED(across_segment)(void *context, int i, char *scratch)
{
    struct TYPED(across) *of = context;
    struct TYPED(state) (*states)[BLOCK / LANES] = take(&scratch, LANES * sizeof *states);
    ptrdiff_t begin = i * of->segments.length, n = segment_size(&of->segments, i);
    EITHER(of->centred, TYPED(sum_across), of->x, of->n_groups, begin, n, of->scaling, states);
    for (int g = 0; g < of->n_groups; g++)
        for (int h = 0; h < LANES / 8; h++)
            of->sum[i * of->n_groups + g][h] = TYPED(merge_across)(states, g, h);
}

INLINE void TYPED(sum_across_rows)(struct TYPED(across) *of, ptrdiff_t n_classes)
{
    int n = run_segments(of->x.pool, TYPED(across_segment), &of->segments, n_classes, of->x.scratch);
    for (int i = 1; i < n; i++)
        for (int g = 0; g < of->n_groups; g++)
            for (int h = 0; h < LANES / 8; h++)
                TYPED(merge_lanes)(&of->sum[g][h], &of->sum[i * of->n_groups + g][h]);
}
