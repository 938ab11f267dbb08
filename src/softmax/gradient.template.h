/* C layer: the gradient with respect to logits, class by class. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* LANES rows of few classes together, into rows of neighbouring classes or neighbouring rows. cached_exp: their exponentials,
 * or NULL; weights, where not NULL: as of weights_of_rows_in_lanes. */
INLINE void TYPED(gradient_rows_in_lanes)(struct source group, struct sink out, ptrdiff_t n_classes, const REAL *cached_exp,
                                          const struct TYPED(lane_factors) *factors, const double *weights,
                                          const double *scale)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    if (!cached_exp)
        TYPED(pack_group)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        VECTOR value = cached_exp ? TYPED(mul)(TYPED(load)(cached_exp + j * LANES), factors->fraction)
                       : TYPED(scaled_softmax)(TYPED(load)(tile + j * LANES), factors);
        if (weights) {
            double pull[LANES];
            for (int h = 0; h < LANES; h += 8)
                store_f64(pull + h, mul_f64(load_f64(weights + j * LANES + h), load_f64(scale + h)));
            value = TYPED(sub)(value, TYPED(narrow)(pull));
        }
        TYPED(store)(tile + j * LANES, value);
    }
    TYPED(unpack_tile)(tile, out, n_classes);
}

/* scale times the weights of n <= LANES classes from j. */
INLINE VECTOR TYPED(pull_of)(const struct row_target *target, ptrdiff_t j, int n, struct target_form form, double scale)
{
    double pull[LANES] = {0};
    f64x8 given;
    for (int h = 0; h < n; h += 8)
        store_f64(pull + h,
                  mul_f64(weights_of(target, j + h, at_most_8(n - h), form.single, form.plain, &given), set_f64(scale)));
    return TYPED(narrow)(pull);
}

/* n classes of one row; the target, where not NULL, is subtracted. */
INLINE void TYPED(gradient_part)(const REAL *row, ptrdiff_t n, const struct TYPED(lane_factors) *factors,
                                 const struct row_target *target, struct target_form form, double scale, int stream,
                                 REAL *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = TYPED(next_part)(result + j, n - j, stream);
        VECTOR x = part == LANES ? TYPED(load)(row + j) : TYPED(load_part)(row + j, part, 0),
               value = TYPED(scaled_softmax)(x, factors);
        if (target && part == LANES)
            value = TYPED(sub)(value, TYPED(pull_of)(target, j, LANES, form, scale));
        else if (target)
            value = TYPED(sub)(value, TYPED(pull_of)(target, j, part, form, scale));
        TYPED(put)(result + j, part, value, stream);
        j += part;
    }
}

/* What the rows of a gradient have in common. */
struct TYPED(gradient_terms) {
    const struct class_target *target;
    const struct codes *codes;
    const struct pairs *pairs;
    struct derivative given;
    struct TYPED(softmax_factors) factors;
};

/* The gradient's entries of the codes. What the target is short of 1 is the sum's share where it is the largest class; where
 * it is not, its probability is at most 1/2, and nothing cancels. */
static void TYPED(entries_of_codes)(const struct TYPED(gradient_terms) *of, int first, int n_rows, double *entries)
{
    const struct codes *codes = of->codes;
    const struct pairs *pairs = of->pairs;
    for (; first < n_rows; first += LANES) {
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        struct TYPED(lane_factors) factors = TYPED(factors_of_rows)(&of->factors, first);
        VECTOR of_target = TYPED(scaled_softmax)(TYPED(narrow)(codes->x + first), &factors);
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 inverse = load_part_f64(of->factors.inverse + i, n, 0);
            f64x8 scales = load_part_f64(of->given.scale + i, n, 0), own = load_part_f64(codes->slope + i, n, 0);
            f64x8 more = sub_f64(load_part_f64(of->given.slope + i, n, 0), own);
            f64x8 of_e = mul_f64(more, mul_f64(load_part_f64(pairs->e + i, n, 1), inverse));
            f64x8 of_largest = fnma_f64(own, mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse), of_e);
            f64x8 of_other = fnma_f64(own, scales, WIDEN(of_target, h));
            i64x8 largest = equal_f64(load_part_f64(pairs->m + i, n, 0), load_part_f64(codes->x + i, n, 1));
            store_part_f64(entries + i, n, choose_f64(largest, mul_f64(of_largest, scales), of_other));
        }
    }
}

/* Groups of LANES rows from the first, where rows lie side by side, in the result too: one class of all of them at a time,
 * with its entries, where there are codes. Not past the caches: parts of many lines would be. */
static void TYPED(gradient_across)(struct source x, struct sink out, int n_groups, ptrdiff_t begin, ptrdiff_t stop,
                                   const struct TYPED(softmax_factors) *softmax_factors, const struct codes *codes,
                                   const double *entries)
{
    struct TYPED(lane_factors) factors[BLOCK / LANES];
    double code[BLOCK];
    VECTOR codes_of[BLOCK / LANES], entry[BLOCK / LANES];
    for (int i = 0; i < n_groups * LANES; i++)
        code[i] = codes ? (double)codes->code[i] : -1;
    for (int g = 0; g < n_groups; g++) {
        factors[g] = TYPED(factors_of_rows)(softmax_factors, g * LANES);
        codes_of[g] = TYPED(narrow)(code + g * LANES);
        entry[g] = codes ? TYPED(narrow)(entries + g * LANES) : TYPED(set)(0);
    }
    for (ptrdiff_t j = begin; j < stop; j++) {
        const REAL *p = (const REAL *)(const void *)(x.rows[0] + j * x.class_stride);
        REAL *result = (REAL *)(void *)(out.rows[0] + j * out.class_stride);
        VECTOR c = TYPED(set)((REAL)j);
        for (int g = 0; g < n_groups; g++, p += LANES, result += LANES) {
            __builtin_prefetch((const char *)p + AHEAD_ACROSS * x.class_stride);
            __builtin_prefetch((char *)result + AHEAD_ACROSS * out.class_stride, 1);
            TYPED(store)(result, TYPED(choose)(TYPED(equal)(codes_of[g], c), entry[g],
                                               TYPED(scaled_softmax)(TYPED(load)(p), &factors[g])));
        }
    }
}

/* Of two classes, whose probabilities are e and the sum over the total: no exponential is needed again. */
static void TYPED(gradient_two)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                                int n_rows, const struct pairs *pairs, struct derivative given)
{
    for (int first = 0; first < n_rows; first += LANES) {
        struct source group = x;
        const char *rows[LANES];
        REAL tile[2 * LANES];
        double entries[2][LANES], pull[2 * LANES] = {0}, lowest[LANES];
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        group.rows += first;
        if (all < LANES)
            TYPED(fill_group)(&group, all, LANES, rows);
        TYPED(pack_group)(group, 2, tile);
        if (target)
            TYPED(weights_of_rows_in_lanes)(target, first, all, 2, pull, lowest, x.scratch);
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 low, total = total_of(pairs, i, n, &low), inverse = inverse_of(total, low);
            f64x8 m = load_part_f64(pairs->m + i, n, 0), slopes = load_part_f64(given.slope + i, n, 0);
            f64x8 of_m = mul_f64(load_part_f64(pairs->e + i, n, 0), inverse);
            f64x8 of_other = mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse),
                  scales = load_part_f64(given.scale + i, n, 0);
            i64x8 is_first = equal_f64(m, WIDEN(TYPED(load)(tile), h));
            f64x8 p[2] = {choose_f64(is_first, of_m, of_other), choose_f64(is_first, of_other, of_m)};
            for (int c = 0; c < 2; c++) {
                f64x8 value = fma_f64(slopes, p[c], sub_f64(set_f64(0), load_f64(pull + c * LANES + 8 * h)));
                if (codes) {                      /* slope p_c - own = (slope - own) p_c - own (1 - p_c) */
                    f64x8 own = load_part_f64(codes->slope + i, n, 0);
                    f64x8 hit = fnma_f64(own, p[1 - c], mul_f64(sub_f64(slopes, own), p[c]));
                    value = choose_f64(code_is(codes->code + i, n, c), hit, value);
                }
                store_f64(entries[c] + 8 * h, mul_f64(value, scales));
            }
        }
        VECTOR columns[2] = {TYPED(narrow)(entries[0]), TYPED(narrow)(entries[1])};
        if (out.row_stride && out.row_stride == 2 * out.class_stride) {
            TYPED(unpairs)(columns, tile);
            TYPED(write)(out.rows[first], out.class_stride, out.element, 2 * all, tile);
            continue;
        }
        for (int c = 0; c < 2; c++) {
            REAL results[LANES];
            TYPED(store)(results, columns[c]);
            if (out.row_stride == sizeof(REAL) && out.element == TYPED(ELEMENT)) {
                memcpy(out.rows[first] + c * out.class_stride, results, (size_t)all * sizeof(REAL));
                continue;
            }
            for (int i = 0; i < all; i++)
                write_element(out.rows[first + i] + c * out.class_stride, out.element, results[i]);
        }
    }
}

/* A segment of each row at a time: n_across rows that lie side by side, and those from first_row. */
struct TYPED(segments_of_gradient) {
    struct segments segments;
    struct source x;
    struct sink out;
    const struct TYPED(gradient_terms) *terms;
    int n_across, first_row, n_rows;
    const double *entries;
};

static void TYPED(gradient_segment)(void *context, int s, char *scratch)
{
    const struct TYPED(segments_of_gradient) *segment = context;
    const struct TYPED(gradient_terms) *of = segment->terms;
    (void)scratch;
    struct source x = segment->x;
    struct sink out = segment->out;
    ptrdiff_t begin = s * segment->segments.length, end = begin + segment_size(&segment->segments, s);
    int in_place = out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT), whole = in_place && TYPED(direct)(x);
    int stream = in_place && out.stream;
    const struct target_form no_target = {0, 0}, direct = {TYPED(ELEMENT) == F32, 1};
    const ptrdiff_t tile = whole && of->target && is_direct(of->target) ? end - begin : TILE;
    if (segment->n_across)
        TYPED(gradient_across)(x, out, segment->n_across / LANES, begin, end, &of->factors, of->codes, segment->entries);
    for (int i = segment->first_row; i < segment->n_rows; i++) {
        struct TYPED(lane_factors) factors = TYPED(factors_of_row)(&of->factors, i);
        const REAL *logits = (const REAL *)(const void *)(x.rows[i] + begin * x.class_stride);
        REAL *results = (REAL *)(void *)(out.rows[i] + begin * out.class_stride);
        if (whole && !of->target && out.stream)
            TYPED(gradient_part)(logits, end - begin, &factors, NULL, no_target, 0, 1, results);
        else if (whole && !of->target)
            TYPED(gradient_part)(logits, end - begin, &factors, NULL, no_target, 0, 0, results);
        else
            for (ptrdiff_t first = begin; first < end; first += tile) {
                ptrdiff_t n = end - first < tile ? end - first : tile;
                REAL x_copy[TILE], out_copy[TILE];
                double t_copy[TILE];
                const REAL *row = TYPED(contiguous)(x, i, first, n, x_copy);
                REAL *result = in_place ? (REAL *)(void *)(out.rows[i] + first * out.class_stride) : out_copy;
                struct row_target part;
                if (of->target)
                    part = part_of_target(of->target, i, first, n, t_copy);
                if (!of->target)
                    TYPED(gradient_part)(row, n, &factors, NULL, no_target, 0, 0, result);
                else if (part.plain && part.single == (TYPED(ELEMENT) == F32))
                    TYPED(gradient_part)(row, n, &factors, &part, direct, of->given.scale[i], stream, result);
                else
                    TYPED(gradient_part)(row, n, &factors, &part, (struct target_form){part.single, 0}, of->given.scale[i],
                                         stream, result);
                if (!in_place)
                    TYPED(write)(out.rows[i] + first * out.class_stride, out.class_stride, out.element, n, out_copy);
            }
    }
}

/* The rows from `first`, which LANES divides. */
static void TYPED(gradient_rows)(struct source x, struct sink out, const struct TYPED(gradient_terms) *of, int first,
                                 int n_rows, ptrdiff_t n_classes)
{
    const struct class_target *target = of->target;
    const struct codes *codes = of->codes;
    const struct pairs *pairs = of->pairs;
    const struct TYPED(softmax_factors) *factors = &of->factors;
    int i = first, n_across = 0;
    double *weights = NULL, lowest[LANES], entries[BLOCK];
    if (target && TYPED(rows_in_lanes)(n_classes))
        weights = take(&x.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
    if (codes)
        TYPED(entries_of_codes)(of, first, n_rows, entries);
    if (TYPED(goes_across)(x, out, target, n_classes))
        i = n_across = n_rows / LANES * LANES;
    else if (TYPED(caches_exponentials)(pairs, n_classes) && TYPED(is_direct_sink)(out))
        for (; i + LANES <= n_rows; i += LANES) {
            struct source group = x;
            struct sink group_out = out;
            group.rows += i;
            group_out.rows += i;
            struct TYPED(lane_factors) lane_factors = TYPED(factors_of_rows)(factors, i);
            int is_cached =
                pairs->is_cached[i / 8] && factors->plain[i / 8] && factors->plain[i / 8 + LANES / 8 - 1];
            const REAL *exponentials = (const REAL *)(const void *)pairs->cached_exp + i * n_classes;
            if (target)
                TYPED(weights_of_rows_in_lanes)(target, i, LANES, n_classes, weights, lowest, x.scratch);
            TYPED(gradient_rows_in_lanes)(group, group_out, n_classes, is_cached ? exponentials : NULL, &lane_factors,
                                          weights, of->given.scale + i);
        }
    struct TYPED(segments_of_gradient) segment = {{0}, x, out, of, n_across, i, n_rows, entries};
    if (n_across || i < n_rows)
        run_segments(x.pool, TYPED(gradient_segment), &segment.segments, n_classes, x.scratch);
    for (i = first + n_across; codes && i < n_rows; i++) {
        char *place = out.rows[i] + codes->code[i] * out.class_stride;
        REAL entry = (REAL)entries[i];
        if (out.element == TYPED(ELEMENT))
            memcpy(place, &entry, sizeof entry);
        else
            write_element(place, out.element, entry);
    }
}

static void TYPED(gradient)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                            int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, struct derivative given)
{
    const ptrdiff_t bytes = n_classes * (ptrdiff_t)sizeof(REAL);
    struct TYPED(gradient_terms) of;
    if (n_classes == 2) {
        TYPED(gradient_two)(x, out, target, codes, n_rows, pairs, given);
        return;
    }
    of.target = target;
    of.codes = codes;
    of.pairs = pairs;
    of.given = given;
    TYPED(set_softmax_factors)(pairs, n_rows, given, &of.factors);
    /* Short rows are made in a stage, some at a time, where they are to go past the caches or are not written as they are. */
    int stream = out.stream && out.class_stride == sizeof(REAL) && out.element == TYPED(ELEMENT) && out.row_stride == bytes;
    if (n_classes > most_classes(STAGED, sizeof(REAL)) || (TYPED(is_direct_sink)(out) && !stream)) {
        TYPED(gradient_rows)(x, out, &of, 0, n_rows, n_classes);
        return;
    }
    char *rows[BLOCK];
    struct sink staged = {rows, sizeof(REAL), TYPED(ELEMENT), bytes, 0};
    int most = (int)(STAGE / bytes) / LANES * LANES;
    REAL *stage = take(&x.scratch, (size_t)((most < BLOCK ? most : BLOCK) * bytes));
    for (int first = 0; first < n_rows; first += most) {
        int stop = n_rows - first < most ? n_rows : first + most;
        for (int i = first; i < stop; i++)
            rows[i] = (char *)stage + (i - first) * bytes;
        TYPED(gradient_rows)(x, staged, &of, first, stop, n_classes);
        if (stream)
            TYPED(stream_all)((REAL *)(void *)out.rows[first], stage, (stop - first) * n_classes);
        else if (out.row_stride && out.row_stride == n_classes * out.class_stride)
            TYPED(write)(out.rows[first], out.class_stride, out.element, (stop - first) * n_classes, stage);
        else
            for (int i = first; i < stop; i++)
                TYPED(write)(out.rows[i], out.class_stride, out.element, n_classes, (const REAL *)(const void *)rows[i]);
    }
}
