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
INLINE void TYPED(add_costs)(VECTOR x, const f64x8 *a, enum proba kind, const struct limits *clip, const f64x8 *divisor,
                             int cancels, struct proba_lanes *lanes)
{
    const f64x8 zero = set_f64(0), least = set_f64(clip->least), most = set_f64(clip->most);
    VECTOR cost = x;
    if (kind == PLAIN)
        cost =
            TYPED(min)(TYPED(set)((REAL)clip->most_cost), TYPED(max)(TYPED(set)((REAL)clip->least_cost), TYPED(cost_of)(x)));
    for (int h = 0; h < LANES / 8; h++) {
        struct double_double *loss = &lanes->loss[h], *unclipped = &lanes->unclipped[h];
        f64x8 term = WIDEN(cost, h);
        if (kind == LOGS)
            term = sub_f64(zero, term);
        if (kind == NORMALIZED) {
            f64x8 p = div_f64(term, divisor[h]), value = min_f64(most, max_f64(least, p));
            add_product(unclipped, choose_f64(equal_f64(p, value), a[h], zero), cancels);
            term = cost_of_f64(value);
        }
        term = choose_f64(equal_f64(a[h], zero), zero, term);
        if (LANES == 16) {
            loss->high = fma_f64(a[h], term, loss->high);
            continue;
        }
        f64x8 product = mul_f64(a[h], term);
        loss->low = add_f64(loss->low, fma_f64(a[h], term, sub_f64(zero, product)));
        add_product(loss, product, kind == LOGS || cancels);
    }
}

/* scale * (shift - a / x), without the latter where a is 0 or clipping changed x; of logarithms - scale * a. */
INLINE VECTOR TYPED(proba_slopes)(VECTOR x, const f64x8 *a, enum proba kind, const struct limits *clip, const f64x8 *shift,
                                  const f64x8 *divisor, const f64x8 *scale)
{
    const f64x8 zero = set_f64(0), least = set_f64(clip->least), most = set_f64(clip->most);
    double results[LANES];
    VECTOR inverse = x;
    /* For float32 one of its own divisions will do, of x that cannot overflow it nor its result. */
    const int short_division = LANES == 16 && kind == PLAIN;
    if (short_division)
        inverse = TYPED(div)(TYPED(set)(1), TYPED(mul)(x, TYPED(set)(0x1p64f)));
    for (int h = 0; h < LANES / 8; h++) {
        f64x8 value = WIDEN(x, h), p = kind == NORMALIZED ? div_f64(value, divisor[h]) : value, pull = a[h];
        if (short_division)
            pull = mul_f64(mul_f64(a[h], set_f64(0x1p64)), WIDEN(inverse, h));
        else if (kind != LOGS)
            pull = div_f64(a[h], value);
        if (kind != LOGS) {
            pull = choose_f64(equal_f64(p, min_f64(most, max_f64(least, p))), pull, zero);
            pull = choose_f64(equal_f64(a[h], zero), zero, pull);
        }
        store_f64(results + 8 * h, mul_f64(sub_f64(shift[h], pull), scale[h]));
    }
    return TYPED(narrow)(results);
}

/* n <= LANES classes of one row from j. */
INLINE void TYPED(add_proba_vector)(const REAL *row, const struct row_target *target, ptrdiff_t j, int n, enum proba kind,
                                    const struct limits *clip, const f64x8 *divisor, int cancels, struct proba_lanes *lanes)
{
    f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
    for (int h = 0; 8 * h < n; h++) {
        a[h] = weights_of(target, j + 8 * h, at_most_8(n - 8 * h), target->single, 0, &given);
        lanes->lowest = min_f64(given, lanes->lowest);
    }
    TYPED(add_costs)(n == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, n, 1), a, kind, clip, divisor, cancels,
                     lanes);
}

INLINE void TYPED(add_proba_part)(const REAL *row, const struct row_target *target, ptrdiff_t n, enum proba kind,
                                  const struct limits *clip, const f64x8 *divisor, int cancels, struct proba_lanes *lanes)
{
    struct proba_lanes local = *lanes;
    const ptrdiff_t size = target->single ? sizeof(float) : sizeof(double);
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        __builtin_prefetch((const char *)target->t + j * size + AHEAD);
        TYPED(add_proba_vector)(row, target, j, LANES, kind, clip, divisor, cancels, &local);
    }
    if (j < n)
        TYPED(add_proba_vector)(row, target, j, (int)(n - j), kind, clip, divisor, cancels, &local);
    *lanes = local;
}

INLINE void TYPED(slopes_part)(const REAL *row, const struct row_target *target, ptrdiff_t n, enum proba kind,
                               const struct limits *clip, const f64x8 *shift, const f64x8 *divisor, const f64x8 *scale,
                               int stream, REAL *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = TYPED(next_part)(result + j, n - j, stream);
        f64x8 a[2] = {set_f64(0), set_f64(0)}, given;
        for (int h = 0; 8 * h < LANES && part == LANES; h++)
            a[h] = weights_of(target, j + 8 * h, 8, target->single, 0, &given);
        for (int h = 0; 8 * h < part && part < LANES; h++)
            a[h] = weights_of(target, j + 8 * h, at_most_8(part - 8 * h), target->single, 0, &given);
        VECTOR x = part == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, part, 1);
        TYPED(put)(result + j, part, TYPED(proba_slopes)(x, a, kind, clip, shift, divisor, scale), stream);
        j += part;
    }
}

/* A group of LANES rows of few classes, of which the first n count. */
INLINE void TYPED(proba_rows_in_lanes)(struct source group, const double *weights, enum proba kind, const struct limits *clip,
                                       const double *divisor, int cancels, int n, ptrdiff_t n_classes, struct soft_sums *sums,
                                       int first)
{
    const f64x8 zero = set_f64(0);
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    struct proba_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, zero};
    f64x8 divisors[LANES / 8];
    for (int h = 0; h < LANES / 8; h++)
        divisors[h] = load_f64(divisor + 8 * h);
    TYPED(pack_tile)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        f64x8 a[LANES / 8];
        for (int h = 0; h < LANES / 8; h++)
            a[h] = load_f64(weights + j * LANES + 8 * h);
        TYPED(add_costs)(TYPED(load)(tile + j * LANES), a, kind, clip, divisors, cancels, &lanes);
    }
    for (int h = 0; 8 * h < n; h++) {
        store_part_f64(sums->loss + first + 8 * h, at_most_8(n - 8 * h), rounded(lanes.loss[h]));
        store_part_f64(sums->slope + first + 8 * h, at_most_8(n - 8 * h), rounded(lanes.unclipped[h]));
    }
}

/* Eight rows of many classes, of which the first n count. */
INLINE void TYPED(proba_classes_in_lanes)(struct source x, const struct class_target *target, enum proba kind,
                                          const struct limits *clip, const double *divisor, int first, int n,
                                          ptrdiff_t n_classes, struct soft_sums *sums)
{
    const f64x8 zero = set_f64(0);
    struct lane_table losses = {0}, unclipped = {0};
    double lowest[8][8];
    ptrdiff_t tile = TYPED(direct)(x) && is_direct(target) ? n_classes : TILE;
    for (int k = 0; k < n; k++) {
        struct proba_lanes lanes = {{{zero, zero}, {zero, zero}}, {{zero, zero}, {zero, zero}}, set_f64(INFINITY)};
        f64x8 divisors[2] = {set_f64(divisor[first + k]), set_f64(divisor[first + k])};
        for (ptrdiff_t from = 0; from < n_classes; from += tile) {
            ptrdiff_t part = n_classes - from < tile ? n_classes - from : tile;
            REAL x_copy[TILE];
            double t_copy[TILE];
            struct row_target part_target = part_of_target(target, first + k, from, part, t_copy);
            const REAL *row = TYPED(contiguous)(x, first + k, from, part, x_copy);
            TYPED(add_proba_part)(row, &part_target, part, kind, clip, divisors, target->has_negative, &lanes);
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

INLINE void TYPED(proba_loss_of)(struct source x, const struct class_target *target, enum proba kind,
                                 const struct limits *clip, const double *divisor, int n_rows, ptrdiff_t n_classes,
                                 struct soft_sums *sums)
{
    int size = TYPED(rows_in_lanes)(n_classes) ? LANES : 8;
    for (int first = 0; first < n_rows; first += size) {
        int n = n_rows - first < size ? n_rows - first : size;
        if (!TYPED(rows_in_lanes)(n_classes)) {
            TYPED(proba_classes_in_lanes)(x, target, kind, clip, divisor, first, n, n_classes, sums);
            continue;
        }
        struct source group = x;
        const char *rows[LANES];
        double lowest[LANES], divisors[LANES] = {0};
        double *weights = take(&group.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
        group.rows += first;
        if (n < size)
            TYPED(fill_group)(&group, n, size, rows);
        memcpy(divisors, divisor + first, (size_t)n * sizeof *divisors);
        TYPED(weights_of_rows_in_lanes)(target, first, n, n_classes, weights, lowest, group.scratch);
        TYPED(proba_rows_in_lanes)(group, weights, kind, clip, divisors, target->has_negative, n, n_classes, sums, first);
        memcpy(sums->lowest + first, lowest, (size_t)n * sizeof *lowest);
    }
}

static void TYPED(proba_loss)(struct source x, const struct class_target *target, enum proba kind, const struct limits *clip,
                              const double *divisor, int n_rows, ptrdiff_t n_classes, struct soft_sums *sums)
{
    if (kind == PLAIN)
        TYPED(proba_loss_of)(x, target, PLAIN, clip, divisor, n_rows, n_classes, sums);
    else if (kind == NORMALIZED)
        TYPED(proba_loss_of)(x, target, NORMALIZED, clip, divisor, n_rows, n_classes, sums);
    else
        TYPED(proba_loss_of)(x, target, LOGS, clip, divisor, n_rows, n_classes, sums);
}

/* LANES rows of few classes, into rows of neighbouring classes, or into neighbouring rows. */
INLINE void TYPED(slopes_rows_in_lanes)(struct source group, struct sink out, const double *weights, enum proba kind,
                                        const struct limits *clip, const double *shift, const double *divisor,
                                        const double *scale, ptrdiff_t n_classes)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    f64x8 shifts[LANES / 8], divisors[LANES / 8], scales[LANES / 8], a[LANES / 8];
    for (int h = 0; h < LANES / 8; h++) {
        shifts[h] = load_f64(shift + 8 * h);
        divisors[h] = load_f64(divisor + 8 * h);
        scales[h] = load_f64(scale + 8 * h);
    }
    TYPED(pack_tile)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        for (int h = 0; h < LANES / 8; h++)
            a[h] = load_f64(weights + j * LANES + 8 * h);
        VECTOR x = TYPED(load)(tile + j * LANES);
        TYPED(store)(tile + j * LANES, TYPED(proba_slopes)(x, a, kind, clip, shifts, divisors, scales));
    }
    TYPED(unpack_tile)(tile, out, n_classes);
}

INLINE void TYPED(proba_gradient_of)(struct source x, struct sink out, const struct class_target *target, enum proba kind,
                                     const struct limits *clip, const double *shift, const double *divisor, int n_rows,
                                     ptrdiff_t n_classes, const double *scale)
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
        TYPED(slopes_rows_in_lanes)(group, group_out, weights, kind, clip, shift + i, divisor + i, scale + i, n_classes);
    }
    ptrdiff_t tile = in_place && TYPED(direct)(x) && is_direct(target) ? n_classes : TILE;
    for (; i < n_rows; i++) {
        f64x8 shifts[2] = {set_f64(shift[i]), set_f64(shift[i])}, divisors[2] = {set_f64(divisor[i]), set_f64(divisor[i])};
        f64x8 scales[2] = {set_f64(scale[i]), set_f64(scale[i])};
        for (ptrdiff_t first = 0; first < n_classes; first += tile) {
            ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
            REAL x_copy[TILE], out_copy[TILE];
            double t_copy[TILE];
            struct row_target part = part_of_target(target, i, first, n, t_copy);
            const REAL *row = TYPED(contiguous)(x, i, first, n, x_copy);
            REAL *result = in_place ? (REAL *)(void *)(out.rows[i] + first * out.class_stride) : out_copy;
            TYPED(slopes_part)(row, &part, n, kind, clip, shifts, divisors, scales, in_place && out.stream, result);
            if (!in_place)
                TYPED(write)(out.rows[i] + first * out.class_stride, out.class_stride, out.element, n, out_copy);
        }
    }
}

static void TYPED(proba_gradient)(struct source x, struct sink out, const struct class_target *target, enum proba kind,
                                  const struct limits *clip, const double *shift, const double *divisor, int n_rows,
                                  ptrdiff_t n_classes, const double *scale)
{
    if (kind == PLAIN)
        TYPED(proba_gradient_of)(x, out, target, PLAIN, clip, shift, divisor, n_rows, n_classes, scale);
    else if (kind == NORMALIZED)
        TYPED(proba_gradient_of)(x, out, target, NORMALIZED, clip, shift, divisor, n_rows, n_classes, scale);
    else
        TYPED(proba_gradient_of)(x, out, target, LOGS, clip, shift, divisor, n_rows, n_classes, scale);
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
