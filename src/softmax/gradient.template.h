/* C layer: the gradient with respect to logits, class by class. */
#ifndef T
#error "instantiated by simd/instantiate.h"
#endif

/* LANES rows of few classes together, into rows of neighbouring classes or neighbouring rows. kept: their exponentials, or NULL;
 * weights, where not NULL: as of weights_few. */
INLINE void OP(gradient_few)(struct source group, struct sink out, ptrdiff_t n_classes, const C *kept,
                             const struct OP(factors) *factors, const double *weights, const double *scale)
{
    C *tile = take(&group.scratch, OP(tile_bytes)(n_classes));
    if (!kept)
        OP(pack_few)(group, n_classes, tile);
    for (ptrdiff_t j = 0; j < n_classes; j++) {
        V value = kept ? OP(mul)(OP(load)(kept + j * LANES), factors->fraction)
                       : OP(share)(OP(load)(tile + j * LANES), factors);
        if (weights) {
            double pull[LANES];
            for (int h = 0; h < LANES; h += 8)
                store_f64(pull + h, mul_f64(load_f64(weights + j * LANES + h), load_f64(scale + h)));
            value = OP(sub)(value, OP(narrow)(pull));
        }
        OP(store)(tile + j * LANES, value);
    }
    OP(unpack_tile)(tile, out, n_classes);
}

/* scale times the weights of n <= LANES classes from j. */
INLINE V OP(pull_of)(const struct row_target *target, ptrdiff_t j, int n, int single, int plain, double scale)
{
    double pull[LANES] = {0};
    f64x8 given;
    for (int h = 0; h < n; h += 8)
        store_f64(pull + h, mul_f64(weights_of(target, j + h, at_most_8(n - h), single, plain, &given), set_f64(scale)));
    return OP(narrow)(pull);
}

/* n classes of one row; the target, where not NULL, is subtracted. */
INLINE void OP(gradient_part)(const C *row, ptrdiff_t n, const struct OP(factors) *factors, const struct row_target *target,
                              int single, int plain, double scale, int stream, C *result)
{
    for (ptrdiff_t j = 0; j < n;) {
        int part = OP(next_part)(result + j, n - j, stream);
        V x = part == LANES ? OP(load)(row + j) : OP(load_part)(row + j, part, 0), value = OP(share)(x, factors);
        if (target && part == LANES)
            value = OP(sub)(value, OP(pull_of)(target, j, LANES, single, plain, scale));
        else if (target)
            value = OP(sub)(value, OP(pull_of)(target, j, part, single, plain, scale));
        OP(put)(result + j, part, value, stream);
        j += part;
    }
}

/* The gradient's entries of the codes. What the target is short of 1 is the sum's share where it is the largest class; where it
 * is not, its probability is at most 1/2, and nothing cancels. */
static void OP(entries_of_codes)(const struct codes *codes, int first, int n_rows, const struct pairs *pairs,
                                 const struct OP(shares) *shares, const double *slope, const double *scale, double *entries)
{
    for (; first < n_rows; first += LANES) {
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        struct OP(factors) factors = OP(factors_of_rows)(shares, first);
        V of_target = OP(share)(OP(narrow)(codes->x + first), &factors);
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 inverse = load_part_f64(shares->inverse + i, n, 0);
            f64x8 scales = load_part_f64(scale + i, n, 0), own = load_part_f64(codes->slope + i, n, 0);
            f64x8 more = sub_f64(load_part_f64(slope + i, n, 0), own);
            f64x8 of_e = mul_f64(more, mul_f64(load_part_f64(pairs->e + i, n, 1), inverse));
            f64x8 of_largest = fnma_f64(own, mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse), of_e);
            f64x8 of_other = fnma_f64(own, scales, WIDEN(of_target, h));
            i64x8 largest = equal_f64(load_part_f64(pairs->m + i, n, 0), load_part_f64(codes->x + i, n, 1));
            store_part_f64(entries + i, n, choose_f64(largest, mul_f64(of_largest, scales), of_other));
        }
    }
}

/* Groups of LANES rows from the first, where rows lie side by side, in the result too: one class of all of them at a time, with
 * its entries, where there are codes. Not past the caches: parts of many lines would be. */
static void OP(gradient_across)(struct source x, struct sink out, int n_groups, ptrdiff_t begin, ptrdiff_t stop,
                                const struct OP(shares) *shares, const struct codes *codes, const double *entries)
{
    struct OP(factors) factors[BLOCK / LANES];
    double code[BLOCK];
    V codes_of[BLOCK / LANES], entry[BLOCK / LANES];
    for (int i = 0; i < n_groups * LANES; i++)
        code[i] = codes ? (double)codes->code[i] : -1;
    for (int g = 0; g < n_groups; g++) {
        factors[g] = OP(factors_of_rows)(shares, g * LANES);
        codes_of[g] = OP(narrow)(code + g * LANES);
        entry[g] = codes ? OP(narrow)(entries + g * LANES) : OP(set)(0);
    }
    for (ptrdiff_t j = begin; j < stop; j++) {
        const C *p = (const C *)(const void *)(x.rows[0] + j * x.step);
        C *result = (C *)(void *)(out.rows[0] + j * out.step);
        V c = OP(set)((C)j);
        for (int g = 0; g < n_groups; g++, p += LANES, result += LANES) {
            __builtin_prefetch((const char *)p + AHEAD_ACROSS * x.step);
            __builtin_prefetch((char *)result + AHEAD_ACROSS * out.step, 1);
            OP(store)(result, OP(choose)(OP(equal)(codes_of[g], c), entry[g], OP(share)(OP(load)(p), &factors[g])));
        }
    }
}

/* Of two classes, whose probabilities are e and the sum over the total: no exponential is needed again. */
static void OP(gradient_two)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                             int n_rows, const struct pairs *pairs, const double *slope, const double *scale)
{
    for (int first = 0; first < n_rows; first += LANES) {
        struct source group = x;
        const char *rows[LANES];
        C tile[2 * LANES];
        double entries[2][LANES], pull[2 * LANES] = {0}, lowest[LANES];
        int all = n_rows - first < LANES ? n_rows - first : LANES;
        group.rows += first;
        if (all < LANES)
            OP(fill_group)(&group, all, LANES, rows);
        OP(pack_few)(group, 2, tile);
        if (target)
            OP(weights_few)(target, first, all, 2, pull, lowest, x.scratch);
        for (int h = 0; 8 * h < all; h++) {
            int i = first + 8 * h, n = at_most_8(n_rows - i);
            f64x8 low, total = total_of(pairs, i, n, &low), inverse = inverse_of(total, low);
            f64x8 m = load_part_f64(pairs->m + i, n, 0), slopes = load_part_f64(slope + i, n, 0);
            f64x8 of_m = mul_f64(load_part_f64(pairs->e + i, n, 0), inverse);
            f64x8 of_other = mul_f64(load_part_f64(pairs->sum + i, n, 0), inverse), scales = load_part_f64(scale + i, n, 0);
            i64x8 is_first = equal_f64(m, WIDEN(OP(load)(tile), h));
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
        V columns[2] = {OP(narrow)(entries[0]), OP(narrow)(entries[1])};
        if (out.between && out.between == 2 * out.step) {
            OP(unpairs)(columns, tile);
            OP(write)(out.rows[first], out.step, out.element, 2 * all, tile);
            continue;
        }
        for (int c = 0; c < 2; c++) {
            C results[LANES];
            OP(store)(results, columns[c]);
            if (out.between == sizeof(C) && out.element == OP(ELEMENT)) {
                memcpy(out.rows[first] + c * out.step, results, (size_t)all * sizeof(C));
                continue;
            }
            for (int i = 0; i < all; i++)
                write_element(out.rows[first + i] + c * out.step, out.element, results[i]);
        }
    }
}

/* A segment of each row at a time: n_across rows that lie side by side, and those from first_row. */
struct OP(segments_of_gradient) {
    struct segments segments;
    struct source x;
    struct sink out;
    const struct class_target *target;
    const struct codes *codes;
    int n_across, first_row, n_rows;
    const double *scale, *entries;
    const struct OP(shares) *shares;
};

static void OP(gradient_segment)(void *context, int s, char *scratch)
{
    const struct OP(segments_of_gradient) *of = context;
    (void)scratch;
    struct source x = of->x;
    struct sink out = of->out;
    ptrdiff_t begin = s * of->segments.length, end = begin + segment_size(&of->segments, s);
    int in_place = out.step == sizeof(C) && out.element == OP(ELEMENT), whole = in_place && OP(direct)(x);
    int stream = in_place && out.stream;
    const ptrdiff_t tile = whole && of->target && is_direct(of->target) ? end - begin : TILE;
    if (of->n_across)
        OP(gradient_across)(x, out, of->n_across / LANES, begin, end, of->shares, of->codes, of->entries);
    for (int i = of->first_row; i < of->n_rows; i++) {
        struct OP(factors) factors = OP(factors_of_row)(of->shares, i);
        const C *logits = (const C *)(const void *)(x.rows[i] + begin * x.step);
        C *results = (C *)(void *)(out.rows[i] + begin * out.step);
        if (whole && !of->target && out.stream)
            OP(gradient_part)(logits, end - begin, &factors, NULL, 0, 0, 0, 1, results);
        else if (whole && !of->target)
            OP(gradient_part)(logits, end - begin, &factors, NULL, 0, 0, 0, 0, results);
        else
            for (ptrdiff_t first = begin; first < end; first += tile) {
                ptrdiff_t n = end - first < tile ? end - first : tile;
                C x_copy[TILE], out_copy[TILE];
                double t_copy[TILE];
                const C *row = OP(contiguous)(x, i, first, n, x_copy);
                C *result = in_place ? (C *)(void *)(out.rows[i] + first * out.step) : out_copy;
                struct row_target part;
                if (of->target)
                    part = part_of_target(of->target, i, first, n, t_copy);
                if (!of->target)
                    OP(gradient_part)(row, n, &factors, NULL, 0, 0, 0, 0, result);
                else if (part.plain && part.single == (OP(ELEMENT) == F32))
                    OP(gradient_part)(row, n, &factors, &part, OP(ELEMENT) == F32, 1, of->scale[i], stream, result);
                else
                    OP(gradient_part)(row, n, &factors, &part, part.single, 0, of->scale[i], stream, result);
                if (!in_place)
                    OP(write)(out.rows[i] + first * out.step, out.step, out.element, n, out_copy);
            }
    }
}

/* The rows from `first`, which LANES divides. */
static void OP(gradient_rows)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                              int first, int n_rows, ptrdiff_t n_classes, const struct pairs *pairs,
                              const struct OP(shares) *shares, const double *slope, const double *scale)
{
    int i = first, n_across = 0;
    double *weights = NULL, lowest[LANES], entries[BLOCK];
    if (target && n_classes <= OP(FEW))
        weights = take(&x.scratch, (size_t)(n_classes * LANES) * sizeof *weights);
    if (codes)
        OP(entries_of_codes)(codes, first, n_rows, pairs, shares, slope, scale, entries);
    if (OP(goes_across)(x, out, target, n_classes))
        i = n_across = n_rows / LANES * LANES;
    else if (OP(keeps)(pairs, n_classes) && OP(is_direct_sink)(out))
        for (; i + LANES <= n_rows; i += LANES) {
            struct source group = x;
            struct sink group_out = out;
            group.rows += i;
            group_out.rows += i;
            struct OP(factors) factors = OP(factors_of_rows)(shares, i);
            int kept = pairs->is_kept[i / 8] && shares->plain[i / 8] && shares->plain[i / 8 + LANES / 8 - 1];
            const C *exponentials = (const C *)(const void *)pairs->kept + i * n_classes;
            if (target)
                OP(weights_few)(target, i, LANES, n_classes, weights, lowest, x.scratch);
            OP(gradient_few)(group, group_out, n_classes, kept ? exponentials : NULL, &factors, weights, scale + i);
        }
    struct OP(segments_of_gradient) of = {{0}, x, out, target, codes, n_across, i, n_rows, scale, entries, shares};
    if (n_across || i < n_rows)
        run_segments(x.team, OP(gradient_segment), &of.segments, n_classes, x.scratch);
    for (i = first + n_across; codes && i < n_rows; i++) {
        char *place = out.rows[i] + codes->code[i] * out.step;
        C entry = (C)entries[i];
        if (out.element == OP(ELEMENT))
            memcpy(place, &entry, sizeof entry);
        else
            write_element(place, out.element, entry);
    }
}

static void OP(gradient)(struct source x, struct sink out, const struct class_target *target, const struct codes *codes,
                         int n_rows, ptrdiff_t n_classes, const struct pairs *pairs, const double *slope, const double *scale)
{
    const ptrdiff_t bytes = n_classes * (ptrdiff_t)sizeof(C);
    struct OP(shares) shares;
    if (n_classes == 2) {
        OP(gradient_two)(x, out, target, codes, n_rows, pairs, slope, scale);
        return;
    }
    OP(softmax_rows)(pairs, n_rows, slope, scale, &shares);
    /* Short rows are made in a stage, some at a time, where they are to go past the caches or are not written as they are. */
    int stream = out.stream && out.step == sizeof(C) && out.element == OP(ELEMENT) && out.between == bytes;
    if (n_classes > most_classes(STAGED, sizeof(C)) || (OP(is_direct_sink)(out) && !stream)) {
        OP(gradient_rows)(x, out, target, codes, 0, n_rows, n_classes, pairs, &shares, slope, scale);
        return;
    }
    char *rows[BLOCK];
    struct sink staged = {rows, sizeof(C), OP(ELEMENT), bytes, 0};
    int most = (int)(STAGE / bytes) / LANES * LANES;
    C *stage = take(&x.scratch, (size_t)((most < BLOCK ? most : BLOCK) * bytes));
    for (int first = 0; first < n_rows; first += most) {
        int stop = n_rows - first < most ? n_rows : first + most;
        for (int i = first; i < stop; i++)
            rows[i] = (char *)stage + (i - first) * bytes;
        OP(gradient_rows)(x, staged, target, codes, first, stop, n_classes, pairs, &shares, slope, scale);
        if (stream)
            OP(stream_all)((C *)(void *)out.rows[first], stage, (stop - first) * n_classes);
        else if (out.between && out.between == n_classes * out.step)
            OP(write)(out.rows[first], out.step, out.element, (stop - first) * n_classes, stage);
        else
            for (int i = first; i < stop; i++)
                OP(write)(out.rows[i], out.step, out.element, n_classes, (const C *)(const void *)rows[i]);
    }
}
