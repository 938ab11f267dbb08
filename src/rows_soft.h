/* C layer: the loss of soft targets without a focal factor. Included by rows.c.
 *
 * sum_c a_c (m - x_c + tail) = sum_c a_c (m - x_c) + tail * sum_c a_c with tail = log1p(r): one pass over logits and target,
 * and all terms are >= 0. Class c goes to lane c % 16. float64 sums have low parts; for float32 plain ones are wide enough.
 */

struct soft_lanes {
    struct wide loss[2], mass[2];
    f64x8 lowest;
};

/* What all classes of a row share, and the class weights: one a class, or eight alike with a step of 0. */
struct soft_row {
    f64x8 m, keep, uniform;
    const double *class_weight;
    int class_weight_step;
};

/* Terms with a = 0 are left out, even if m - x is infinite. An infinite or undefined sum has any low part. */
INLINE void add_soft_terms(struct soft_lanes *lanes, int half, f64x8 a, f64x8 m, f64x8 x, int wide)
{
    const f64x8 zero = set_f64(0);
    struct wide *loss = &lanes->loss[half], *mass = &lanes->mass[half];
    f64x8 margin = choose_f64(equal_f64(a, zero), zero, sub_f64(m, x));
    if (wide) {
        f64x8 product = mul_f64(a, margin), low = fma_f64(a, margin, sub_f64(zero, product));
        add_terms_f64(&loss->high, &loss->low, product);
        loss->low = add_f64(loss->low, low);
        add_terms_f64(&mass->high, &mass->low, a);
    } else {
        loss->high = fma_f64(a, margin, loss->high);
        mass->high = add_f64(mass->high, a);
    }
}

/* n <= 8 classes from j of x and t, which are float32 where `single`, else float64. A t of NULL is 1, not smoothed. */
INLINE void add_soft_vector(const void *x, const void *t, int single, ptrdiff_t j, int n, const struct soft_row *row,
                            int wide, struct soft_lanes *lanes, int half)
{
    f64x8 a = load_part_f64(row->class_weight + j * row->class_weight_step, n, 0);
    if (t) {
        f64x8 given = load_as_f64(t, j, single, n);
        lanes->lowest = min_f64(given, lanes->lowest);
        a = mul_f64(a, fma_f64(row->keep, given, row->uniform));
    }
    add_soft_terms(lanes, half, a, row->m, load_as_f64(x, j, single, n), wide);
}

INLINE void add_soft_part(const void *x, const void *t, int single, ptrdiff_t n, const struct soft_row *row, int wide,
                          struct soft_lanes *lanes)
{
    struct soft_lanes local = *lanes;
    ptrdiff_t j = 0;
    for (; j + 16 <= n; j += 16) {
        add_soft_vector(x, t, single, j, 8, row, wide, &local, 0);
        add_soft_vector(x, t, single, j + 8, 8, row, wide, &local, 1);
    }
    if (j < n)
        add_soft_vector(x, t, single, j, at_most_8((int)(n - j)), row, wide, &local, 0);
    if (j + 8 < n)
        add_soft_vector(x, t, single, j + 8, (int)(n - j - 8), row, wide, &local, 1);
    *lanes = local;
}

/* The classes [begin, begin + n_classes) of a row of logits and of a dense target, or of no target: where they lie if both
 * are float32, else as float64. */
static void add_soft_row(struct source x, const struct source *t, int i, ptrdiff_t begin, ptrdiff_t n_classes,
                         struct soft_row row, struct soft_lanes *lanes)
{
    row.class_weight += begin * row.class_weight_step;
    if (direct_f32(x) && !t)
        add_soft_part(x.rows[i] + begin * x.step, NULL, 1, n_classes, &row, 0, lanes);
    else if (direct_f32(x) && direct_f32(*t))
        add_soft_part(x.rows[i] + begin * x.step, t->rows[i] + begin * t->step, 1, n_classes, &row, 0, lanes);
    else
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            ptrdiff_t n = n_classes - first < TILE ? n_classes - first : TILE;
            double x_copy[TILE], t_copy[TILE];
            const double *logits = contiguous_f64(x, i, begin + first, n, x_copy);
            const double *given = t ? contiguous_f64(*t, i, begin + first, n, t_copy) : NULL;
            struct soft_row part = row;
            part.class_weight += first * row.class_weight_step;
            if (x.element == F64)
                add_soft_part(logits, given, 0, n, &part, 1, lanes);
            else
                add_soft_part(logits, given, 0, n, &part, 0, lanes);
        }
}

/* The same of a target of entries: what smoothing gives to all classes, then the entries, each in the lane of its class. */
static void add_entries(struct source x, const struct class_target *target, int i, ptrdiff_t begin, ptrdiff_t n_classes,
                        struct soft_row row, struct soft_lanes *lanes)
{
    const f64x8 zero = set_f64(0);
    if (target->uniform != 0) {
        add_soft_row(x, NULL, i, begin, n_classes, row, lanes);
        for (int half = 0; half < 2; half++) {
            struct wide loss = lanes->loss[half], mass = lanes->mass[half];
            lanes->loss[half] = lanes->mass[half] = (struct wide){zero, zero};
            add_weighted(&lanes->loss[half], row.uniform, loss.high);
            add_weighted(&lanes->mass[half], row.uniform, mass.high);
            lanes->loss[half].low = fma_f64(row.uniform, loss.low, lanes->loss[half].low);
            lanes->mass[half].low = fma_f64(row.uniform, mass.low, lanes->mass[half].low);
        }
    }
    const int64_t stop = target->start[i + 1];
    for (int64_t entry = first_entry(target, i, begin); entry < stop && target->index[entry] < begin + n_classes; entry++) {
        ptrdiff_t c = target->index[entry];
        double logit = 0, a[8] = {0}, weight = target->class_weight[c * target->class_weight_step];
        a[c % 8] = weight * (target->keep * target->value[entry * target->value_step]);
        read_f64(x.rows[i] + c * x.step, 0, x.element, 1, &logit);
        add_soft_terms(lanes, c / 8 % 2, load_f64(a), row.m, set_f64(logit), x.element == F64);
    }
}

/* sum_c a_c log a_c, in a pass of its own: few losses want it. */
static struct wide entropy_of(const struct class_target *target, int i, ptrdiff_t begin, ptrdiff_t n_classes, int wide)
{
    const f64x8 zero = set_f64(0);
    struct wide sum = {zero, zero};
    for (ptrdiff_t first = begin; first < begin + n_classes; first += TILE) {
        int n_tile = begin + n_classes - first < TILE ? (int)(begin + n_classes - first) : TILE;
        double weights[TILE];
        target_weights(target, i, first, n_tile, weights, NULL);
        for (int j = 0; j < n_tile; j += 8) {
            f64x8 a = load_part_f64(weights + j, at_most_8(n_tile - j), 0), low = zero;
            f64x8 normal = choose_f64(less_f64(a, set_f64(0x1p-1022)), set_f64(1), a);
            f64x8 log_a = wide ? log_wide(normal, zero, &low) : log_short(normal, zero);
            add_weighted(&sum, a, add_f64(log_a, low));
        }
    }
    return sum;
}

/* The lanes of eight rows. */
struct lane_table {
    double high[8][8], low[8][8];
};

INLINE void columns_of(const double (*table)[8], f64x8 out[8])
{
    const char *rows[8];
    for (int i = 0; i < 8; i++)
        rows[i] = (const char *)table[i];
    for (int l = 0; l < 8; l += 2)
        columns_f64(rows, l * (ptrdiff_t)sizeof(double), &out[l]);
}

INLINE void set_lanes(struct lane_table *table, int i, const struct wide halves[2])
{
    struct wide sum = halves[0];
    add_term(&sum, halves[1].high, halves[1].low);
    store_f64(table->high[i], sum.high);
    store_f64(table->low[i], sum.low);
}

INLINE struct wide total_of_lanes(const struct lane_table *table)
{
    f64x8 high[8], low[8];
    columns_of(table->high, high);
    columns_of(table->low, low);
    for (int width = 4; width; width /= 2)
        for (int l = 0; l < width; l++) {
            accumulate_f64(&high[l], &low[l], high[l + width]);
            low[l] = add_f64(low[l], low[l + width]);
        }
    return (struct wide){high[0], low[0]};
}

INLINE f64x8 rounded(struct wide sum)
{
    return choose_f64(less_f64(abs_f64(sum.high), set_f64(INFINITY)), add_f64(sum.high, sum.low), sum.high);
}

/* Of eight rows from `first`, or n: their sums, one segment after the other. */
struct soft_segments {
    struct segments segments;
    struct source x;
    const struct class_target *target;
    int entropy, first, n;
    const struct pairs *pairs;
    struct soft_row row;
    struct soft_segment {
        struct wide loss, mass, entropy;
        f64x8 lowest;
    } sum[MOST_SEGMENTS];
};

static void sum_soft_segment(void *context, int s)
{
    const f64x8 zero = set_f64(0);
    struct soft_segments *of = context;
    ptrdiff_t begin = s * of->segments.length, n_classes = segment_size(&of->segments, s);
    struct lane_table losses = {0}, masses = {0}, entropies = {0};
    double lowest[8][8];
    f64x8 columns[8];
    for (int k = 0; k < 8; k++)
        store_f64(lowest[k], set_f64(INFINITY));
    for (int k = 0, i = of->first; k < of->n; k++, i++) {
        struct soft_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, set_f64(INFINITY)};
        struct soft_row row = of->row;
        row.m = set_f64(of->pairs->m[i]);
        if (of->target->source.rows)
            add_soft_row(of->x, &of->target->source, i, begin, n_classes, row, &lanes);
        else
            add_entries(of->x, of->target, i, begin, n_classes, row, &lanes);
        set_lanes(&losses, k, lanes.loss);
        set_lanes(&masses, k, lanes.mass);
        store_f64(lowest[k], lanes.lowest);
        if (of->entropy) {
            struct wide halves[2] = {entropy_of(of->target, i, begin, n_classes, of->x.element == F64), {zero, zero}};
            set_lanes(&entropies, k, halves);
        }
    }
    columns_of(lowest, columns);
    for (int l = 1; l < 8; l++)
        columns[0] = min_f64(columns[l], columns[0]);
    of->sum[s] = (struct soft_segment){total_of_lanes(&losses), total_of_lanes(&masses), total_of_lanes(&entropies), columns[0]};
}

static void plain_soft_loss(struct source x, const struct class_target *target, int entropy, int n_rows, ptrdiff_t n_classes,
                            const struct pairs *pairs, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    double weights[8];
    store_f64(weights, set_f64(target->class_weight[0]));
    struct soft_segments of;
    of.x = x;
    of.target = target;
    of.entropy = entropy;
    of.pairs = pairs;
    of.row = (struct soft_row){zero, set_f64(target->keep), set_f64(target->uniform),
                               target->class_weight_step ? target->class_weight : weights, target->class_weight_step};
    for (int i = 0; i < n_rows; i += 8) {
        int n = of.n = at_most_8(n_rows - i), n_segments;
        of.first = i;
        n_segments = run_segments(x.team, sum_soft_segment, &of.segments, n_classes);
        struct soft_segment all = of.sum[0];
        for (int s = 1; s < n_segments; s++) {
            add_term(&all.loss, of.sum[s].loss.high, of.sum[s].loss.low);
            add_term(&all.mass, of.sum[s].mass.high, of.sum[s].mass.low);
            add_term(&all.entropy, of.sum[s].entropy.high, of.sum[s].entropy.low);
            all.lowest = min_f64(of.sum[s].lowest, all.lowest);
        }
        f64x8 tail_low, tail = tails(pairs, i, n, &tail_low);
        add_weighted(&all.loss, all.mass.high, tail);
        all.loss.low = add_f64(all.loss.low, fma_f64(all.mass.high, tail_low, mul_f64(all.mass.low, tail)));
        /* NaN in the row is NaN, even without a target. */
        f64x8 sum = load_part_f64(pairs->sum + i, n, 0), e = load_part_f64(pairs->e + i, n, 0);
        f64x8 nothing = add_f64(mul_f64(sum, zero), mul_f64(e, zero));
        store_part_f64(sums->loss + i, n, add_f64(rounded(all.loss), nothing));
        store_part_f64(sums->slope + i, n, rounded(all.mass));
        store_part_f64(sums->curvature + i, n, zero);
        store_part_f64(sums->entropy + i, n, rounded(all.entropy));
        store_part_f64(sums->lowest + i, n, all.lowest);
    }
}

static void soft_loss(struct source x, const struct class_target *target, double gamma, int entropy, int n_rows,
                      ptrdiff_t n_classes, const struct pairs *pairs, struct soft_sums *sums)
{
    if (gamma == 0)
        plain_soft_loss(x, target, entropy, n_rows, n_classes, pairs, sums);
    else
        focal_soft_loss(x, target, gamma, n_rows, n_classes, pairs, sums);
}
