/* C layer: the loss of soft targets without a focal factor, for one element type of logits.
 *
 * Of many classes, class c goes to lane c % 16; of few, lanes are rows. float64 sums have low parts; for float32 plain ones
 * are wide enough.
 */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* The sums of LANES rows of few classes, of which n from `first` count. */
static void TYPED(soft_rows_in_lanes)(struct source group, const struct class_target *target, int first, int n,
                                      ptrdiff_t n_classes, int entropy, const struct pairs *pairs, struct soft_row_sums *sums)
{
    const f64x8 zero = set_f64(0);
    double lowest[LANES];
    struct soft_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, {zero, zero}};
    f64x8 m[LANES / 8];
    REAL *logits = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
    TYPED(pack_tile)(group, n_classes, logits);
    TYPED(weights_of_rows_in_lanes)(target, first, n, n_classes, weights, lowest, group.scratch);
    for (int h = 0; h < LANES / 8; h++)
        m[h] = 8 * h < n ? load_part_f64(pairs->m + first + 8 * h, at_most_8(n - 8 * h), 0) : zero;
    for (ptrdiff_t j = 0; j < n_classes; j++)
        for (int h = 0; h < LANES / 8; h++)
            add_soft_terms(&lanes, h, load_f64(weights + j * LANES + 8 * h), m[h], TYPED(load_wide)(logits + j * LANES + 8 * h),
                           TYPED(ELEMENT) == F64, target->has_negative);
    for (int h = 0; h < LANES / 8; h++) {
        struct double_double sum = {zero, zero};
        for (ptrdiff_t j = 0; entropy && j < n_classes; j++)
            add_entropy(&sum, load_f64(weights + j * LANES + 8 * h), TYPED(ELEMENT) == F64);
        sums[h] = (struct soft_row_sums){lanes.loss[h], lanes.mass[h], sum, load_f64(lowest + 8 * h)};
    }
}

INLINE void TYPED(add_soft_vector)(const REAL *x, const struct row_target *target, ptrdiff_t j, int n, f64x8 m,
                                   struct soft_form form, struct soft_lanes *lanes, int half)
{
    f64x8 given, a = weights_of(target, j, n, form.target, &given);
    lanes->lowest[half] = min_f64(given, lanes->lowest[half]);
    add_soft_terms(lanes, half, a, m, load_as_f64(x, j, TYPED(ELEMENT) == F32, n), TYPED(ELEMENT) == F64, form.cancels);
}

/* n classes of one row, the first of them in lane 0. */
INLINE void TYPED(add_soft_part)(const REAL *x, const struct row_target *target, ptrdiff_t n, f64x8 m, struct soft_form form,
                                 struct soft_lanes *lanes)
{
    struct soft_lanes local = *lanes;
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        __builtin_prefetch((const char *)target->t + j * (form.target.single ? 4 : 8) + AHEAD);
        TYPED(add_soft_vector)(x, target, j, 8, m, form, &local, 0);
        TYPED(add_soft_vector)(x, target, j + 8, 8, m, form, &local, 1);
    }
    if (j < n)
        TYPED(add_soft_vector)(x, target, j, at_most_8((int)(n - j)), m, form, &local, 0);
    if (j + 8 < n)
        TYPED(add_soft_vector)(x, target, j + 8, (int)(n - j - 8), m, form, &local, 1);
    *lanes = local;
}

/* The classes [begin, begin + n_classes) of row i and of its dense target; of a target of entries, as if all were 1. */
static void TYPED(add_soft_row)(struct source x, const struct class_target *target, int i, ptrdiff_t begin,
                                ptrdiff_t n_classes, f64x8 m, struct soft_lanes *lanes)
{
    enum { SINGLE = TYPED(ELEMENT) == F32 };
    int dense = target->source.rows != NULL;
    const ptrdiff_t tile = TYPED(direct)(x) && (!dense || is_direct(target)) ? n_classes : TILE, end = begin + n_classes;
    for (ptrdiff_t first = begin; first < end; first += tile) {
        ptrdiff_t n = end - first < tile ? end - first : tile;
        REAL x_copy[TILE];
        double t_copy[TILE];
        const REAL *logits = TYPED(contiguous)(x, i, first, n, x_copy);
        struct row_target part = dense ? part_of_target(target, i, first, n, t_copy) : class_weights_of(target, first);
        if (part.plain && part.single == SINGLE)
            TYPED(add_soft_part)(logits, &part, n, m, (struct soft_form){{SINGLE, 1}, 0}, lanes);
        else if (TYPED(ELEMENT) == F64 && target->has_negative)
            TYPED(add_soft_part)(logits, &part, n, m, (struct soft_form){{part.single, 0}, 1}, lanes);
        else
            TYPED(add_soft_part)(logits, &part, n, m, (struct soft_form){{part.single, 0}, 0}, lanes);
    }
}

/* The same of a target of entries: what smoothing gives to all classes, then the entries, each in the lane of its class. */
static void TYPED(add_entries)(struct source x, const struct class_target *target, int i, ptrdiff_t begin, ptrdiff_t n_classes,
                               f64x8 m, struct soft_lanes *lanes)
{
    const f64x8 zero = set_f64(0), uniform = set_f64(target->uniform);
    if (target->uniform != 0) {
        TYPED(add_soft_row)(x, target, i, begin, n_classes, m, lanes);
        for (int half = 0; half < 2; half++) {
            struct double_double loss = lanes->loss[half], mass = lanes->mass[half];
            lanes->loss[half] = lanes->mass[half] = (struct double_double){zero, zero};
            add_weighted(&lanes->loss[half], uniform, loss.high);
            add_weighted(&lanes->mass[half], uniform, mass.high);
            lanes->loss[half].low = fma_f64(uniform, loss.low, lanes->loss[half].low);
            lanes->mass[half].low = fma_f64(uniform, mass.low, lanes->mass[half].low);
        }
    }
    const int64_t stop = target->start[i + 1];
    for (int64_t entry = first_entry(target, i, begin); entry < stop && target->index[entry] < begin + n_classes; entry++) {
        ptrdiff_t c = target->index[entry];
        double logit = 0, a[8] = {0}, weight = target->class_weight[c * target->class_weight_stride];
        a[c % 8] = weight * (target->keep * target->value[entry * target->value_stride]);
        read_f64(x.rows[i] + c * x.class_stride, 0, x.element, 1, &logit);
        add_soft_terms(lanes, c / 8 % 2, load_f64(a), m, set_f64(logit), TYPED(ELEMENT) == F64, target->has_negative);
    }
}

/* sum_c a_c log a_c, in a pass of its own: few losses want it. */
static struct double_double TYPED(entropy_of)(const struct class_target *target, int i, ptrdiff_t begin, ptrdiff_t n_classes)
{
    struct double_double sum = {set_f64(0), set_f64(0)};
    for (ptrdiff_t first = begin; first < begin + n_classes; first += TILE) {
        int n_tile = begin + n_classes - first < TILE ? (int)(begin + n_classes - first) : TILE;
        double weights[TILE];
        target_weights(target, i, first, n_tile, weights, NULL);
        for (int j = 0; j < n_tile; j += 8)
            add_entropy(&sum, load_part_f64(weights + j, at_most_8(n_tile - j), 0), TYPED(ELEMENT) == F64);
    }
    return sum;
}

/* Of eight rows from `first`, or n: their sums, one segment after the other. */
struct TYPED(soft_segments) {
    struct segments segments;
    struct source x;
    const struct class_target *target;
    int entropy, first, n;
    const struct pairs *pairs;
    struct soft_row_sums *sum;                    /* of each segment, or of each half of a group */
};

static void TYPED(sum_soft_segment)(void *context, int s, char *scratch)
{
    const f64x8 zero = set_f64(0), above = set_f64(INFINITY);
    struct TYPED(soft_segments) *of = context;
    (void)scratch;
    ptrdiff_t begin = s * of->segments.length, n_classes = segment_size(&of->segments, s);
    struct lane_table losses = {0}, masses = {0}, entropies = {0};
    double lowest[8][8];
    f64x8 columns[8];
    for (int k = 0; k < 8; k++)
        store_f64(lowest[k], above);
    for (int k = 0, i = of->first; k < of->n; k++, i++) {
        struct soft_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, {above, above}};
        f64x8 m = set_f64(of->pairs->m[i]);
        if (of->target->source.rows)
            TYPED(add_soft_row)(of->x, of->target, i, begin, n_classes, m, &lanes);
        else
            TYPED(add_entries)(of->x, of->target, i, begin, n_classes, m, &lanes);
        set_lanes(&losses, k, lanes.loss);
        set_lanes(&masses, k, lanes.mass);
        store_f64(lowest[k], min_f64(lanes.lowest[0], lanes.lowest[1]));
        if (of->entropy) {
            struct double_double halves[2] = {TYPED(entropy_of)(of->target, i, begin, n_classes), {zero, zero}};
            set_lanes(&entropies, k, halves);
        }
    }
    transpose_8(lowest, columns);
    for (int l = 1; l < 8; l++)
        columns[0] = min_f64(columns[l], columns[0]);
    of->sum[s] =
        (struct soft_row_sums){total_of_lanes(&losses), total_of_lanes(&masses), total_of_lanes(&entropies), columns[0]};
}

static void TYPED(soft_loss)(struct source x, const struct class_target *target, int entropy, int n_rows, ptrdiff_t n_classes,
                             const struct pairs *pairs, struct soft_sums *sums)
{
    int rows_in_lanes = TYPED(rows_in_lanes)(n_classes), size = rows_in_lanes ? LANES : 8;
    struct TYPED(soft_segments) of;
    of.sum = take(&x.scratch, (size_t)(rows_in_lanes ? LANES / 8 : count_segments(n_classes)) * sizeof *of.sum);
    of.x = x;
    of.target = target;
    of.entropy = entropy;
    of.pairs = pairs;
    for (int i = 0; i < n_rows; i += size) {
        int n = n_rows - i < size ? n_rows - i : size;
        if (rows_in_lanes) {
            const char *rows[LANES];
            struct source group = group_of(x, i, n, LANES, rows);
            TYPED(soft_rows_in_lanes)(group, target, i, n, n_classes, entropy, pairs, of.sum);
            for (int h = 0; 8 * h < n; h++)
                finish_soft(&of.sum[h], pairs, i + 8 * h, at_most_8(n - 8 * h), sums);
            continue;
        }
        of.first = i;
        of.n = n;
        int n_segments = run_segments(x.pool, TYPED(sum_soft_segment), &of.segments, n_classes, x.scratch);
        for (int s = 1; s < n_segments; s++) {
            add_term(&of.sum[0].loss, of.sum[s].loss.high, of.sum[s].loss.low);
            add_term(&of.sum[0].mass, of.sum[s].mass.high, of.sum[s].mass.low);
            add_term(&of.sum[0].entropy, of.sum[s].entropy.high, of.sum[s].entropy.low);
            of.sum[0].lowest = min_f64(of.sum[s].lowest, of.sum[0].lowest);
        }
        finish_soft(&of.sum[0], pairs, i, n, sums);
    }
}
