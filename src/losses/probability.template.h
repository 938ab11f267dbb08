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
INLINE void TYPED(add_costs)(VECTOR x, const f64x8 *a, enum probability_kind kind, const struct proba_terms *of,
                             const f64x8 *divisor, struct proba_lanes *lanes)
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
INLINE VECTOR TYPED(proba_slopes)(VECTOR x, const f64x8 *a, enum probability_kind kind, const struct limits *limits,
                                  const struct proba_factors *of)
{
    const f64x8 zero = set_f64(0), least = set_f64(limits->least), most = set_f64(limits->most);
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

/* n <= LANES classes of one row from j. */
INLINE void TYPED(add_proba_vector)(const REAL *row, const struct row_target *target, ptrdiff_t j, int n,
                                    enum probability_kind kind, const struct proba_terms *of, const f64x8 *divisor,
                                    struct proba_lanes *lanes)
{
    f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
    for (int h = 0; 8 * h < n; h++) {
        a[h] = weights_of(target, j + 8 * h, at_most_8(n - 8 * h), target->single, 0, &given);
        lanes->lowest = min_f64(given, lanes->lowest);
    }
    TYPED(add_costs)(n == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, n, 1), a, kind, of, divisor, lanes);
}

INLINE void TYPED(add_proba_part)(const REAL *row, const struct row_target *target, ptrdiff_t n, enum probability_kind kind,
                                  const struct proba_terms *of, const f64x8 *divisor, struct proba_lanes *lanes)
{
    struct proba_lanes local = *lanes;
    const ptrdiff_t size = target->single ? sizeof(float) : sizeof(double);
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        __builtin_prefetch((const char *)target->t + j * size + AHEAD);
        TYPED(add_proba_vector)(row, target, j, LANES, kind, of, divisor, &local);
    }
    if (j < n)
        TYPED(add_proba_vector)(row, target, j, (int)(n - j), kind, of, divisor, &local);
    *lanes = local;
}

INLINE void TYPED(slopes_part)(const REAL *row, const struct row_target *target, ptrdiff_t n, enum probability_kind kind,
                               const struct limits *limits, const struct proba_factors *of, int stream, REAL *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = TYPED(next_part)(result + j, n - j, stream);
        f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
        for (int h = 0; 8 * h < LANES && part == LANES; h++)
            a[h] = weights_of(target, j + 8 * h, 8, target->single, 0, &given);
        for (int h = 0; 8 * h < part && part < LANES; h++)
            a[h] = weights_of(target, j + 8 * h, at_most_8(part - 8 * h), target->single, 0, &given);
        VECTOR x = part == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, part, 1);
        TYPED(put)(result + j, part, TYPED(proba_slopes)(x, a, kind, limits, of), stream);
        j += part;
    }
}

/* A group of LANES rows of few classes, of which the first n count. */
INLINE void TYPED(proba_rows_in_lanes)(struct source group, const double *weights, enum probability_kind kind,
                                       const struct proba_terms *of, int first, int n, ptrdiff_t n_classes,
                                       struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    struct proba_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, zero};
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
INLINE void TYPED(proba_classes_in_lanes)(struct source x, const struct class_target *target, enum probability_kind kind,
                                          const struct proba_terms *of, int first, int n, ptrdiff_t n_classes,
                                          struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    struct lane_table losses = {0}, unclipped = {0};
    double lowest[8][8];
    ptrdiff_t tile = TYPED(direct)(x) && is_direct(target) ? n_classes : TILE;
    for (int k = 0; k < n; k++) {
        struct proba_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, set_f64(INFINITY)};
        f64x8 divisors[2] = {set_f64(of->divisor[first + k]), set_f64(of->divisor[first + k])};
        for (ptrdiff_t from = 0; from < n_classes; from += tile) {
            ptrdiff_t part = n_classes - from < tile ? n_classes - from : tile;
            REAL x_copy[TILE];
            double t_copy[TILE];
            struct row_target part_target = part_of_target(target, first + k, from, part, t_copy);
            const REAL *row = TYPED(contiguous)(x, first + k, from, part, x_copy);
            TYPED(add_proba_part)(row, &part_target, part, kind, of, divisors, &lanes);
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

INLINE void TYPED(proba_loss_of)(struct source x, const struct class_target *target, enum probability_kind kind,
                                 const struct proba_terms *of, int n_rows, ptrdiff_t n_classes, struct soft_sums *sums)
{
    int size = TYPED(rows_in_lanes)(n_classes) ? LANES : 8;
    for (int first = 0; first < n_rows; first += size) {
        int n = n_rows - first < size ? n_rows - first : size;
        if (!TYPED(rows_in_lanes)(n_classes)) {
            TYPED(proba_classes_in_lanes)(x, target, kind, of, first, n, n_classes, sums);
            continue;
        }
        struct source group = x;
        const char *rows[LANES];
        double lowest[LANES];
        double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
        group.rows += first;
        if (n < size)
            TYPED(fill_group)(&group, n, size, rows);
        TYPED(weights_of_rows_in_lanes)(target, first, n, n_classes, weights, lowest, group.scratch);
        TYPED(proba_rows_in_lanes)(group, weights, kind, of, first, n, n_classes, sums);
        memcpy(sums->lowest + first, lowest, (size_t)n * sizeof *lowest);
    }
}

static void TYPED(proba_loss)(struct source x, const struct class_target *target, enum probability_kind kind,
                              const struct proba_terms *of, int n_rows, ptrdiff_t n_classes, struct soft_sums *sums)
{
    if (kind == PROBABILITIES)
        TYPED(proba_loss_of)(x, target, PROBABILITIES, of, n_rows, n_classes, sums);
    else if (kind == AMOUNTS)
        TYPED(proba_loss_of)(x, target, AMOUNTS, of, n_rows, n_classes, sums);
    else
        TYPED(proba_loss_of)(x, target, LOGARITHMS, of, n_rows, n_classes, sums);
}

/* LANES rows of few classes, into rows of neighbouring classes, or into neighbouring rows. */
INLINE void TYPED(slopes_rows_in_lanes)(struct source group, struct sink out, const double *weights,
                                        enum probability_kind kind, const struct proba_terms *of, int first,
                                        ptrdiff_t n_classes)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    struct proba_factors factors;
    f64x8 a[LANES / 8];
    for (int h = 0; h < LANES / 8; h++) {
        factors.shift[h] = load_f64(of->shift + first + 8 * h);
        factors.divisor[h] = load_f64(of->divisor + first + 8 * h);
        factors.scale[h] = load_f64(of->scale + first + 8 * h);
    }
    TYPED(pack_tile)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        for (int h = 0; h < LANES / 8; h++)
            a[h] = load_f64(weights + j * LANES + 8 * h);
        VECTOR x = TYPED(load)(tile + j * LANES);
        TYPED(store)(tile + j * LANES, TYPED(proba_slopes)(x, a, kind, &of->limits, &factors));
    }
    TYPED(unpack_tile)(tile, out, n_classes);
}

INLINE void TYPED(proba_gradient_of)(struct source x, struct sink out, const struct class_target *target,
                                     enum probability_kind kind, const struct proba_terms *of, int n_rows,
                                     ptrdiff_t n_classes)
{
    int in_place = out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT), i = 0;
    double lowest[LANES];
    for (; TYPED(rows_in_lanes)(n_classes) && TYPED(is_direct_sink)(out) && i + LANES <= n_rows; i += LANES) {
        struct source group = x;
        struct sink group_out = out;
        double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
        group.rows += i;
        group_out.rows += i;
        TYPED(weights_of_rows_in_lanes)(target, i, LANES, n_classes, weights, lowest, group.scratch);
        TYPED(slopes_rows_in_lanes)(group, group_out, weights, kind, of, i, n_classes);
    }
    ptrdiff_t tile = in_place && TYPED(direct)(x) && is_direct(target) ? n_classes : TILE;
    for (; i < n_rows; i++) {
        f64x8 divisor = set_f64(of->divisor[i]), shift = set_f64(of->shift[i]), scale = set_f64(of->scale[i]);
        struct proba_factors factors = {{divisor, divisor}, {shift, shift}, {scale, scale}};
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            REAL x_copy[TILE], out_copy[TILE];
            double t_copy[TILE];
            struct row_target part = part_of_target(target, i, first, n, t_copy);
            const REAL *row = TYPED(contiguous)(x, i, first, n, x_copy);
            REAL *result = in_place ? (REAL *)(void *)(out.rows[i] + first * out.class_stride) : out_copy;
            TYPED(slopes_part)(row, &part, n, kind, &of->limits, &factors, in_place && out.stream, result);
            if (!in_place)
                TYPED(write)(out.rows[i] + first * out.class_stride, out.class_stride, out.element, n, out_copy);
        }
    }
}

static void TYPED(proba_gradient)(struct source x, struct sink out, const struct class_target *target,
                                  enum probability_kind kind, const struct proba_terms *of, int n_rows, ptrdiff_t n_classes)
{
    if (kind == PROBABILITIES)
        TYPED(proba_gradient_of)(x, out, target, PROBABILITIES, of, n_rows, n_classes);
    else if (kind == AMOUNTS)
        TYPED(proba_gradient_of)(x, out, target, AMOUNTS, of, n_rows, n_classes);
    else
        TYPED(proba_gradient_of)(x, out, target, LOGARITHMS, of, n_rows, n_classes);
}

/* fill in every class of a row, but the value at its code. */
static void TYPED(scatter)(struct sink out, const int64_t *code, const double *fill, const double *value, int n_rows,
                           ptrdiff_t n_classes)
{
    int in_place = out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT), i = 0;
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
        for (ptrdiff_t j = 0, part; in_place && j < n_classes; j += part) {
            ptrdiff_t after = (ptrdiff_t)((uintptr_t)(row + j) % 64 / sizeof(REAL)), place = code[i] - j;
            part = n_classes - j < LANES ? n_classes - j : LANES;
            if (out.stream && part > LANES - after)
                part = LANES - after;
            VECTOR v = all;
            if (0 <= place && place < part) {
                REAL values[LANES];
                TYPED(store)(values, all);
                values[place] = (REAL)value[i];
                v = TYPED(load)(values);
            }
            if (part < LANES)
                TYPED(store_part)(row + j, (int)part, v);
            else if (out.stream)
                TYPED(stream)(row + j, v);
            else
                TYPED(store)(row + j, v);
        }
    }
}
