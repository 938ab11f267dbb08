/* C layer: the losses of probabilities and of their logarithms, for one element type.
 *
 * All terms of a sum are >= 0, but for logarithms of what is no probability, and for negative class weights. Class c goes to
 * lane c % LANES; of few classes lanes are rows. float64 sums have low parts; for float32 plain ones are wide enough, and so
 * are its own logarithms.
 */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* -log(p), inf for 0. */
INLINE VECTOR TYPED(cost_of)(VECTOR p)
{
    VECTOR log = TYPED(log)(p), zero = TYPED(set)(0);
    TYPED(mask) small = TYPED(less)(p, TYPED(set)(TYPED(SMALLEST)));
    if (TYPED(any)(small)) {
        /* 2^60, and its logarithm: subnormals of both types become normal. */
        VECTOR scaled = TYPED(log)(TYPED(mul)(p, TYPED(set)(0x1p60f)));
        log = TYPED(choose)(small, TYPED(sub)(scaled, TYPED(set)((REAL)(60 * 0x1.62e42fefa39efp-1))), log);
        log = TYPED(choose)(TYPED(equal)(p, zero), TYPED(set)(-INFINITY), log);
    }
    return TYPED(sub)(zero, log);
}

/* Adds a * cost of the values x with weights a. */
INLINE void TYPED(add_costs)(VECTOR x, const f64x8 *a, enum probability_kind kind, const struct probability_terms *of,
                             const f64x8 *divisor, struct probability_lanes *lanes)
{
    const f64x8 zero = set_f64(0), least = set_f64(of->limits.least), most = set_f64(of->limits.most);
    VECTOR cost = x;
    if (kind == PROBABILITIES)
        cost = TYPED(min)(TYPED(set)((REAL)of->limits.most_cost),
                          TYPED(max)(TYPED(set)((REAL)of->limits.least_cost), TYPED(cost_of)(x)));
    for (int h = 0; h < LANES / 8; h++) {
        struct double_double *loss = &lanes->loss[h], *unclipped = &lanes->unclipped[h];
        f64x8 term = WIDEN(cost, h);
        if (kind == LOGARITHMS)
            term = sub_f64(zero, term);
        if (kind == AMOUNTS) {
            f64x8 p = div_f64(term, divisor[h]), value = min_f64(most, max_f64(least, p));
            add_product(unclipped, choose_f64(equal_f64(p, value), a[h], zero), of->cancels);
            term = cost_of_f64(value);
        }
        term = choose_f64(equal_f64(a[h], zero), zero, term);
        if (LANES == 16) {
            loss->high = fma_f64(a[h], term, loss->high);
            continue;
        }
        f64x8 product = mul_f64(a[h], term);
        loss->low = add_f64(loss->low, fma_f64(a[h], term, sub_f64(zero, product)));
        add_product(loss, product, kind == LOGARITHMS || of->cancels);
    }
}

/* scale * (shift - a / x), without the latter where a is 0 or clipping changed x; of logarithms - scale * a. */
INLINE VECTOR TYPED(probability_slopes)(VECTOR x, const f64x8 *a, const struct probability_slope *of)
{
    const enum probability_kind kind = of->kind;
    const f64x8 zero = set_f64(0), least = set_f64(of->limits.least), most = set_f64(of->limits.most);
    double results[LANES];
    VECTOR inverse = x;
    /* For float32 one of its own divisions will do, of x that cannot overflow it nor its result. */
    const int short_division = LANES == 16 && kind == PROBABILITIES;
    if (short_division)
        inverse = TYPED(div)(TYPED(set)(1), TYPED(mul)(x, TYPED(set)(0x1p64f)));
    for (int h = 0; h < LANES / 8; h++) {
        f64x8 value = WIDEN(x, h), p = kind == AMOUNTS ? div_f64(value, of->divisor[h]) : value, pull = a[h];
        if (short_division)
            pull = mul_f64(mul_f64(a[h], set_f64(0x1p64)), WIDEN(inverse, h));
        else if (kind != LOGARITHMS)
            pull = div_f64(a[h], value);
        if (kind != LOGARITHMS) {
            pull = choose_f64(equal_f64(p, min_f64(most, max_f64(least, p))), pull, zero);
            pull = choose_f64(equal_f64(a[h], zero), zero, pull);
        }
        store_f64(results + 8 * h, mul_f64(sub_f64(of->shift[h], pull), of->scale[h]));
    }
    return TYPED(narrow)(results);
}

/* Of a row, from the class at which its target begins. */
INLINE VECTOR TYPED(slopes_of_row)(const void *terms, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct probability_slope *of = terms;
    const struct target_form form = {of->target.single, 0};
    f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
    for (int h = 0; 8 * h < n_valid; h++)
        a[h] = weights_of(&of->target, j - of->begin + 8 * h, at_most_8(n_valid - 8 * h), form, &given);
    return TYPED(probability_slopes)(x, a, of);
}

/* Of a row a lane. */
INLINE VECTOR TYPED(slopes_of_rows)(const void *terms, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct probability_slope *of = terms;
    f64x8 a[LANES / 8];
    (void)n_valid;
    for (int h = 0; h < LANES / 8; h++)
        a[h] = load_f64(of->weights + j * LANES + 8 * h);
    return TYPED(probability_slopes)(x, a, of);
}

/* n <= LANES classes of one row from j. */
INLINE void TYPED(add_probability_vector)(const REAL *row, const struct row_target *target, ptrdiff_t j, int n,
                                          enum probability_kind kind, const struct probability_terms *of,
                                          const f64x8 *divisor, struct probability_lanes *lanes)
{
    f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
    for (int h = 0; 8 * h < n; h++) {
        a[h] = weights_of(target, j + 8 * h, at_most_8(n - 8 * h), (struct target_form){target->single, 0}, &given);
        lanes->lowest = min_f64(given, lanes->lowest);
    }
    TYPED(add_costs)(n == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, n, 1), a, kind, of, divisor, lanes);
}

INLINE void TYPED(add_probability_part)(const REAL *row, const struct row_target *target, ptrdiff_t n,
                                        enum probability_kind kind, const struct probability_terms *of,
                                        const f64x8 *divisor, struct probability_lanes *lanes)
{
    struct probability_lanes local = *lanes;
    const ptrdiff_t size = target->single ? sizeof(float) : sizeof(double);
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        __builtin_prefetch((const char *)target->t + j * size + AHEAD);
        TYPED(add_probability_vector)(row, target, j, LANES, kind, of, divisor, &local);
    }
    if (j < n)
        TYPED(add_probability_vector)(row, target, j, (int)(n - j), kind, of, divisor, &local);
    *lanes = local;
}

/* A group of LANES rows of few classes, of which the first n count. */
INLINE void TYPED(probability_rows_in_lanes)(struct source group, const double *weights, enum probability_kind kind,
                                             const struct probability_terms *of, int first, int n, ptrdiff_t n_classes,
                                             struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    struct probability_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, zero};
    f64x8 divisors[LANES / 8];
    for (int h = 0; h < LANES / 8; h++)
        divisors[h] = 8 * h < n ? load_part_f64(of->divisor + first + 8 * h, at_most_8(n - 8 * h), 0) : zero;
    TYPED(pack_tile)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        f64x8 a[LANES / 8];
        for (int h = 0; h < LANES / 8; h++)
            a[h] = load_f64(weights + j * LANES + 8 * h);
        TYPED(add_costs)(TYPED(load)(tile + j * LANES), a, kind, of, divisors, &lanes);
    }
    for (int h = 0; 8 * h < n; h++) {
        store_part_f64(sums->loss + first + 8 * h, at_most_8(n - 8 * h), rounded(lanes.loss[h]));
        store_part_f64(sums->slope + first + 8 * h, at_most_8(n - 8 * h), rounded(lanes.unclipped[h]));
    }
}

/* Eight rows of many classes, of which the first n count. */
INLINE void TYPED(probability_classes_in_lanes)(struct source x, const struct class_target *target,
                                                enum probability_kind kind, const struct probability_terms *of, int first,
                                                int n, ptrdiff_t n_classes, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    struct lane_table losses = {0}, unclipped = {0};
    double lowest[8][8];
    ptrdiff_t tile = TYPED(direct)(x) && is_direct(target) ? n_classes : TILE;
    for (int k = 0; k < n; k++) {
        struct probability_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, set_f64(INFINITY)};
        f64x8 divisors[2] = {set_f64(of->divisor[first + k]), set_f64(of->divisor[first + k])};
        for (ptrdiff_t from = 0; from < n_classes; from += tile) {
            ptrdiff_t n_tile = n_classes - from < tile ? n_classes - from : tile;
            REAL x_copy[TILE];
            double t_copy[TILE];
            struct row_target part = part_of_target(target, first + k, from, n_tile, t_copy);
            const REAL *row = TYPED(contiguous)(x, first + k, from, n_tile, x_copy);
            TYPED(add_probability_part)(row, &part, n_tile, kind, of, divisors, &lanes);
        }
        set_lanes(&losses, k, lanes.loss);
        set_lanes(&unclipped, k, lanes.unclipped);
        store_f64(lowest[k], target->source.rows ? lanes.lowest : set_f64(INFINITY));
    }
    store_part_f64(sums->loss + first, n, rounded(total_of_lanes(&losses)));
    store_part_f64(sums->slope + first, n, rounded(total_of_lanes(&unclipped)));
    for (int k = 0; k < n; k++) {
        sums->lowest[first + k] = INFINITY;
        for (int l = 0; l < 8; l++)
            sums->lowest[first + k] = lowest[k][l] < sums->lowest[first + k] ? lowest[k][l] : sums->lowest[first + k];
    }
}

INLINE void TYPED(probability_loss_of)(struct source x, const struct class_target *target,
                                       const struct probability_terms *of, int n_rows, ptrdiff_t n_classes,
                                       struct soft_sums *sums, enum probability_kind kind)
{
    int size = TYPED(rows_in_lanes)(n_classes) ? LANES : 8;
    for (int first = 0; first < n_rows; first += size) {
        int n = n_rows - first < size ? n_rows - first : size;
        if (!TYPED(rows_in_lanes)(n_classes)) {
            TYPED(probability_classes_in_lanes)(x, target, kind, of, first, n, n_classes, sums);
            continue;
        }
        const char *rows[LANES];
        double lowest[LANES];
        struct source group = group_of(x, first, n, size, rows);
        double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
        TYPED(weights_of_rows_in_lanes)(target, first, n, n_classes, weights, lowest, group.scratch);
        TYPED(probability_rows_in_lanes)(group, weights, kind, of, first, n, n_classes, sums);
        memcpy(sums->lowest + first, lowest, (size_t)n * sizeof *lowest);
    }
}

static void TYPED(probability_loss)(struct source x, const struct class_target *target, enum probability_kind kind,
                                    const struct probability_terms *of, int n_rows, ptrdiff_t n_classes,
                                    struct soft_sums *sums)
{
    BY_KIND(kind, TYPED(probability_loss_of), x, target, of, n_rows, n_classes, sums);
}

INLINE void TYPED(probability_gradient_of)(struct source x, struct sink out, const struct class_target *target,
                                           const struct probability_terms *of, int n_rows, ptrdiff_t n_classes,
                                           enum probability_kind kind)
{
    struct probability_slope slope = {.kind = kind, .limits = of->limits};
    double lowest[LANES];
    int i = 0;
    for (; TYPED(rows_in_lanes)(n_classes) && TYPED(is_direct_sink)(out) && i + LANES <= n_rows; i += LANES) {
        struct source group = group_of(x, i, LANES, LANES, NULL);
        double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
        TYPED(weights_of_rows_in_lanes)(target, i, LANES, n_classes, weights, lowest, group.scratch);
        slope.weights = weights;
        for (int h = 0; h < LANES / 8; h++) {
            slope.shift[h] = load_f64(of->shift + i + 8 * h);
            slope.divisor[h] = load_f64(of->divisor + i + 8 * h);
            slope.scale[h] = load_f64(of->scale + i + 8 * h);
        }
        TYPED(map_rows_in_lanes)(group, sink_from(out, i), n_classes, TYPED(slopes_of_rows), &slope);
    }
    const ptrdiff_t tile = is_direct(target) ? n_classes : TILE;
    for (; i < n_rows; i++) {
        for (int h = 0; h < 2; h++) {
            slope.shift[h] = set_f64(of->shift[i]);
            slope.divisor[h] = set_f64(of->divisor[i]);
            slope.scale[h] = set_f64(of->scale[i]);
        }
        for (slope.begin = 0; slope.begin < n_classes; slope.begin += tile) {
            ptrdiff_t n = n_classes - slope.begin < tile ? n_classes - slope.begin : tile;
            double t_copy[TILE];
            slope.target = part_of_target(target, i, slope.begin, n, t_copy);
            TYPED(map_row)(x, out, i, slope.begin, slope.begin + n, TYPED(slopes_of_row), &slope);
        }
    }
}

static void TYPED(probability_gradient)(struct source x, struct sink out, const struct class_target *target,
                                        enum probability_kind kind, const struct probability_terms *of, int n_rows,
                                        ptrdiff_t n_classes)
{
    BY_KIND(kind, TYPED(probability_gradient_of), x, out, target, of, n_rows, n_classes);
}

/* fill in every class of a row, but the value at its code. */
static void TYPED(scatter)(struct sink out, const int64_t *code, const double *fill, const double *value, int n_rows,
                           ptrdiff_t n_classes)
{
    int in_place = TYPED(in_place)(out), i = 0;
    if (out.row_stride == sizeof(REAL) && out.element == TYPED(ELEMENT) && !in_place) {      /* rows side by side */
        i = n_rows / LANES * LANES;
        for (ptrdiff_t c = 0; c < n_classes; c++)
            for (int k = 0; k < i; k += LANES)
                TYPED(store)((REAL *)(void *)(out.rows[k] + c * out.class_stride), TYPED(narrow)(fill + k));
        for (int k = 0; k < i; k++)
            write_element(out.rows[k] + code[k] * out.class_stride, out.element, value[k]);
    }
    for (; i < n_rows; i++) {
        REAL *row = (REAL *)(void *)out.rows[i], other = (REAL)fill[i];
        VECTOR all = TYPED(set)(other);
        for (ptrdiff_t c = 0; !in_place && c < n_classes; c++)
            write_element(out.rows[i] + c * out.class_stride, out.element, c == code[i] ? (REAL)value[i] : other);
        for (ptrdiff_t j = 0, n_valid; in_place && j < n_classes; j += n_valid) {
            ptrdiff_t after = (ptrdiff_t)((uintptr_t)(row + j) % 64 / sizeof(REAL)), place = code[i] - j;
            n_valid = n_classes - j < LANES ? n_classes - j : LANES;
            if (out.stream && n_valid > LANES - after)
                n_valid = LANES - after;
            VECTOR v = all;
            if (0 <= place && place < n_valid) {
                REAL values[LANES];
                TYPED(store)(values, all);
                values[place] = (REAL)value[i];
                v = TYPED(load)(values);
            }
            if (n_valid < LANES)
                TYPED(store_part)(row + j, (int)n_valid, v);
            else if (out.stream)
                TYPED(stream)(row + j, v);
            else
                TYPED(store)(row + j, v);
        }
    }
}
