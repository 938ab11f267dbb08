/* C layer: the gradient with respect to logits, class by class. */
#ifndef TYPE
#error "instantiated by simd/instantiate.h"
#endif

/* What the gradient of a row in all lanes, or of a row a lane, takes. */
struct TYPED(pulled) {
    struct TYPED(lane_factors) factors;
    int cached;                                   /* x are the exponentials */
    const double *weights;                        /* of rows in lanes, class by class, or NULL */
    const double *scales;
    struct row_target target;                     /* of a row, from class `begin` */
    struct target_form form;
    double scale;
    ptrdiff_t begin;
};

INLINE VECTOR TYPED(softmax_of)(VECTOR x, const struct TYPED(pulled) *of)
{
    return of->cached ? TYPED(mul)(x, of->factors.fraction) : TYPED(scaled_softmax)(x, &of->factors);
}

/* scale times the weights of rows in lanes are subtracted, if there are any. */
INLINE VECTOR TYPED(gradient_of)(const void *of, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct TYPED(pulled) *rows = of;
    VECTOR value = TYPED(softmax_of)(x, rows);
    double pull[LANES];
    (void)n_valid;
    if (!rows->weights)
        return value;
    for (int h = 0; h < LANES; h += 8)
        store_f64(pull + h, mul_f64(load_f64(rows->weights + j * LANES + h), load_f64(rows->scales + h)));
    return TYPED(sub)(value, TYPED(narrow)(pull));
}

/* scale times the weights of a row's classes are subtracted. */
INLINE VECTOR TYPED(gradient_less_target)(const void *of, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct TYPED(pulled) *row = of;
    double pull[LANES] = {0};
    f64x8 given;
    for (int h = 0; h < n_valid; h += 8)
        store_f64(pull + h, mul_f64(weights_of(&row->target, j - row->begin + h, at_most_8(n_valid - h), row->form, &given),
                                    set_f64(row->scale)));
    return TYPED(sub)(TYPED(softmax_of)(x, row), TYPED(narrow)(pull));
}

/* LANES rows of few classes together, into rows of neighbouring classes or neighbouring rows. exponentials: theirs, where
 * they are cached. */
INLINE void TYPED(gradient_rows_in_lanes)(struct source group, struct sink out, ptrdiff_t n_classes, const REAL *exponentials,
                                          struct TYPED(pulled) of, int cached)
{
    REAL *tile = take(&group.scratch, TYPED(tile_bytes)(n_classes));
    of.cached = cached;
    if (!cached)
        TYPED(pack_group)(group, n_classes, tile);
    TYPED(map_tile)(cached ? exponentials : tile, n_classes, TYPED(gradient_of), &of, tile);
    TYPED(unpack_tile)(tile, out, n_classes);
}

/* What the rows of a gradient have in common. */
struct TYPED(gradient_terms) {
    const struct class_target *target;
    const struct codes *codes;
    const struct pairs *pairs;
    struct derivative given;
    struct TYPED(softmax_factors) factors;
};

/* The gradient's entries of the codes y, whose slope s_y is a part of the row's slope s:
 *
 *     scale (s p_y - s_y) = scale ((s - s_y) p_y - s_y (1 - p_y))      1 - p_y = sum / total where y is the largest class
 *                         = scale (s p_y) - scale s_y                  elsewhere: p_y <= 1/2, and nothing cancels
 */
static void TYPED(entries_of_codes)(const struct TYPED(gradient_terms) *of, int first, int n_rows, REAL *entries)
{
    const struct codes *codes = of->codes;
    const struct pairs *pairs = of->pairs;
    for (; first < n_rows; first += LANES) {
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        struct TYPED(lane_factors) factors = TYPED(factors_of_rows)(&of->factors, first);
        VECTOR of_target = TYPED(scaled_softmax)(TYPED(narrow)(codes->x + first), &factors);
        double results[LANES];
        if (LANES > 8 && all <= 8)
            store_f64(results + LANES - 8, set_f64(0));
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 inverse = load_part_f64(of->factors.inverse + i, n, 0);
            f64x8 scales = load_part_f64(of->given.scale + i, n, 0), own = load_part_f64(codes->slope + i, n, 0);
            f64x8 more = sub_f64(load_part_f64(of->given.slope + i, n, 0), own);
            f64x8 of_e = mul_f64(more, mul_f64(load_part_f64(pairs->e + i, n, 1), inverse));
            f64x8 of_largest = fnma_f64(own, mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse), of_e);
            f64x8 of_other = fnma_f64(own, scales, WIDEN(of_target, h));
            i64x8 largest = equal_f64(load_part_f64(pairs->m + i, n, 0), load_part_f64(codes->x + i, n, 1));
            store_f64(results + 8 * h, choose_f64(largest, mul_f64(of_largest, scales), of_other));
        }
        TYPED(store)(entries + first, TYPED(narrow)(results));
    }
}

/* What the gradient of LANES rows that lie side by side takes: their codes and the entries of these. */
struct TYPED(coded) {
    struct TYPED(lane_factors) factors;
    VECTOR code, entry;
};

INLINE VECTOR TYPED(gradient_or_entry)(const void *of, ptrdiff_t j, int n_valid, VECTOR x)
{
    const struct TYPED(coded) *rows = of;
    (void)n_valid;
    VECTOR is_code = TYPED(set)((REAL)j);
    return TYPED(choose)(TYPED(equal)(rows->code, is_code), rows->entry, TYPED(scaled_softmax)(x, &rows->factors));
}

/* Of the first n_groups. */
static void TYPED(gradient_across)(struct source x, struct sink out, int n_groups, ptrdiff_t begin, ptrdiff_t end,
                                   const struct TYPED(gradient_terms) *of, const REAL *entries)
{
    struct TYPED(coded) groups[BLOCK / LANES];
    for (int g = 0; g < n_groups; g++) {
        double code[LANES];
        for (int i = 0; i < LANES; i++)
            code[i] = of->codes ? (double)of->codes->code[g * LANES + i] : -1;
        groups[g].factors = TYPED(factors_of_rows)(&of->factors, g * LANES);
        groups[g].code = TYPED(narrow)(code);
        groups[g].entry = of->codes ? TYPED(load)(entries + g * LANES) : TYPED(set)(0);
    }
    TYPED(map_across)(x, out, n_groups, begin, end, TYPED(gradient_or_entry), groups, sizeof *groups);
}

/* Of two classes, whose probabilities are e and the sum over the total: no exponential is needed again. */
static void TYPED(gradient_two)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                                int n_rows, const struct pairs *pairs, struct derivative given)
{
    for (int first = 0; first < n_rows; first += LANES) {
        const char *rows[LANES];
        REAL tile[2 * LANES];
        double entries[2][LANES], pull[2 * LANES], lowest[LANES];
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        TYPED(pack_group)(group_of(x, first, all, LANES, rows), 2, tile);
        if (target)
            TYPED(weights_of_rows_in_lanes)(target, first, all, 2, pull, lowest, x.scratch);
        else
            for (int h = 0; h < 2 * LANES; h += 8)
                store_f64(pull + h, set_f64(0));
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 low, total = total_of(pairs, i, n, &low), inverse = inverse_of(total, low);
            f64x8 m = load_part_f64(pairs->m + i, n, 0), slopes = load_part_f64(given.slope + i, n, 0);
            f64x8 of_m = mul_f64(load_part_f64(pairs->e + i, n, 0), inverse);
            f64x8 of_other = mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse),
                  scales = load_part_f64(given.scale + i, n, 0);
            i64x8 is_first = equal_f64(m, TYPED(load_wide)(tile + 8 * h));
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

/* The exponentials that the pair of row i was made of, where lanes are classes; NULL: they are to be made again. */
INLINE const REAL *TYPED(kept_exponentials)(const struct TYPED(gradient_terms) *of, int i, ptrdiff_t n_classes)
{
    if (TYPED(rows_in_lanes)(n_classes) || !of->pairs->is_cached[i / 8] || !of->factors.plain[i / LANES])
        return NULL;
    return TYPED(cached_exponentials)(of->pairs, i, 1, n_classes);
}

/* The classes [begin, end) of row i of the block, which is the first one in x and out: as many at a time as the target is at
 * hand. */
INLINE void TYPED(gradient_row)(struct source x, struct sink out, const struct TYPED(gradient_terms) *of, int i,
                                ptrdiff_t begin, ptrdiff_t end, int cached)
{
    enum { SINGLE = TYPED(ELEMENT) == F32 };
    struct TYPED(pulled) row = {
        .factors = TYPED(factors_of_row)(&of->factors, i), .cached = cached, .scale = of->given.scale[i]};
    if (!of->target) {
        TYPED(map_row)(x, out, 0, begin, end, TYPED(gradient_of), &row);
        return;
    }
    const ptrdiff_t tile = is_direct(of->target) ? end - begin : TILE;
    for (row.begin = begin; row.begin < end; row.begin += tile) {
        double t_copy[TILE];
        ptrdiff_t n = end - row.begin < tile ? end - row.begin : tile;
        row.target = part_of_target(of->target, i, row.begin, n, t_copy);
        if (row.target.plain && row.target.single == SINGLE) {
            row.form = (struct target_form){SINGLE, 1};
            TYPED(map_row)(x, out, 0, row.begin, row.begin + n, TYPED(gradient_less_target), &row);
        } else {
            row.form = (struct target_form){row.target.single, 0};
            TYPED(map_row)(x, out, 0, row.begin, row.begin + n, TYPED(gradient_less_target), &row);
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
    const REAL *entries;
};

static void TYPED(gradient_segment)(void *context, int s, char *scratch)
{
    const struct TYPED(segments_of_gradient) *segment = context;
    const struct TYPED(gradient_terms) *of = segment->terms;
    (void)scratch;
    struct source x = segment->x;
    struct sink out = segment->out;
    ptrdiff_t begin = s * segment->segments.length, end = begin + segment_size(&segment->segments, s);
    if (segment->n_across)
        TYPED(gradient_across)(x, out, segment->n_across / LANES, begin, end, of, segment->entries);
    for (int i = segment->first_row; i < segment->n_rows; i++) {
        const REAL *kept = TYPED(kept_exponentials)(of, i, segment->segments.n_classes);
        const char *row = (const char *)kept;
        struct source exponentials = {&row, sizeof(REAL), TYPED(ELEMENT), 0, NULL, NULL};
        EITHER(kept != NULL, TYPED(gradient_row), kept ? exponentials : group_of(x, i, 1, 1, NULL), sink_from(out, i), of, i,
               begin, end);
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
    double *weights = NULL, lowest[LANES];
    REAL entries[BLOCK];
    if (target && TYPED(rows_in_lanes)(n_classes))
        weights = take(&x.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
    if (codes)
        TYPED(entries_of_codes)(of, first, n_rows, entries);
    if (TYPED(goes_across)(x, out, target, n_classes))
        i = n_across = n_rows / LANES * LANES;
    else if (TYPED(rows_in_lanes)(n_classes) && TYPED(cached_exponentials)(pairs, 0, LANES, n_classes) &&
             TYPED(is_direct_sink)(out))
        for (; i + LANES <= n_rows; i += LANES) {
            struct TYPED(pulled) rows = {
                .factors = TYPED(factors_of_rows)(factors, i), .weights = weights, .scales = of->given.scale + i};
            int is_cached = pairs->is_cached[i / 8] && factors->plain[i / LANES];
            const REAL *exponentials = TYPED(cached_exponentials)(pairs, i, LANES, n_classes);
            if (target)
                TYPED(weights_of_rows_in_lanes)(target, i, LANES, n_classes, weights, lowest, x.scratch);
            EITHER(is_cached, TYPED(gradient_rows_in_lanes), group_of(x, i, LANES, LANES, NULL), sink_from(out, i), n_classes,
                   exponentials, rows);
        }
    struct TYPED(segments_of_gradient) segment = {{0}, x, out, of, n_across, i, n_rows, entries};
    if (n_across || i < n_rows)
        run_segments(x.pool, TYPED(gradient_segment), &segment.segments, n_classes, x.scratch);
    for (i = first + n_across; codes && i < n_rows; i++) {
        char *place = out.rows[i] + codes->code[i] * out.class_stride;
        if (out.element == TYPED(ELEMENT))
            memcpy(place, &entries[i], sizeof(REAL));
        else
            write_element(place, out.element, entries[i]);
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
    int stream = out.stream && TYPED(in_place)(out) && out.row_stride == bytes;
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
