/* C layer: the kernels that read a row's classes as vectors, for one element type. Included by rows.c once per type, with
 * T (f64 or f32), C (its C type), V (its vector) and the constants below defined. */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define OP(name) JOIN(name, T)
#define LANES JOIN(LANES, T)

/* How exp(x_j) is scaled while a row is summed: everything is done with x - c, whose rounding to 2^n (1 + t) needs no
 * subtraction of the maximum, and 2^n is moved by `index` (vmath.h) so that m's lands in the middle of the exponents.
 *
 * Rows with |m| <= NEAR use c = 0 and one fixed index: a single pass, the maximum falls out of it. The other rows are done
 * again knowing m, with the index moved by m's own n. Up to |m| <= FAR c is still 0; beyond it c = m, which is exact for
 * every x_j near enough to m to count.
 */
struct OP(scaling) {
    C c[LANES], magic[LANES], lowest[LANES];
};

/* The running sum over classes. max_e is left out of the sum: a term enters when a larger one takes its place. */
struct OP(state) {
    V max_x, max_e;
    f64x8 sum[LANES / 8], low[LANES / 8];         /* float32 terms need no low part: float64 is wide enough */
};

INLINE void OP(start)(struct OP(state) *state)
{
    state->max_x = OP(set)(-INFINITY);
    state->max_e = OP(set)(0);
    for (int h = 0; h < LANES / 8; h++)
        state->sum[h] = state->low[h] = set_f64(0);
}

INLINE void OP(step)(struct OP(state) *state, V x, V c, V magic, V lowest, int centred)
{
    state->max_x = OP(max)(state->max_x, x);
    V e = OP(exp)(centred ? OP(sub)(x, c) : x, magic, lowest);
    V term = OP(min)(state->max_e, e);
    state->max_e = OP(max)(state->max_e, e);
    OP(accumulate)(state->sum, state->low, term);
}

/* Lanes are rows: `tile` holds the classes one after the other, LANES rows each. */
INLINE void OP(sum_few)(const C *tile, ptrdiff_t n_classes, const struct OP(scaling) *scaling, int centred,
                        struct OP(state) *state)
{
    V c = OP(load)(scaling->c), magic = OP(load)(scaling->magic), lowest = OP(load)(scaling->lowest);
    OP(start)(state);
    for (ptrdiff_t j = 0; j < n_classes; j++)
        OP(step)(state, OP(load)(tile + j * LANES), c, magic, lowest, centred);
}

/* Lanes are classes: `row` holds n_classes of one row; class j goes to lane j % LANES. */
INLINE void OP(sum_many)(const C *row, ptrdiff_t n_classes, const struct OP(scaling) *scaling, int i, int centred,
                         struct OP(state) *state)
{
    V c = OP(set)(scaling->c[i]), magic = OP(set)(scaling->magic[i]), lowest = OP(set)(scaling->lowest[i]);
    struct OP(state) local = *state;
    ptrdiff_t j = 0;
    for (; j + LANES <= n_classes; j += LANES)
        OP(step)(&local, OP(load)(row + j), c, magic, lowest, centred);
    if (j < n_classes)
        OP(step)(&local, OP(load_part)(row + j, (int)(n_classes - j), -INFINITY), c, magic, lowest, centred);
    *state = local;
}

/* Whether rows can be read where they lie. */
INLINE int OP(direct)(struct source x)
{
    return x.step == sizeof(C) && x.element == OP(ELEMENT);
}

/* n elements, `from` bytes apart, to places `to` elements apart. */
INLINE void OP(read)(const char *p, ptrdiff_t from, enum element element, ptrdiff_t n, C *out, ptrdiff_t to)
{
#define CASE(NAME, TYPE, CONVERT)                                                                                  \
    case NAME:                                                                                                     \
        for (ptrdiff_t j = 0; j < n; j++) {                                                                        \
            TYPE value;                                                                                            \
            memcpy(&value, p + j * from, sizeof value);                                                            \
            out[j * to] = CONVERT(value);                                                                          \
        }                                                                                                          \
        break;
    switch (element) {
        CASE(F64, double, (C))
        CASE(F32, float, (C))
        CASE(F16, uint16_t, (C)widen_f16)
        CASE(BF16, uint16_t, (C)widen_bf16)
        CASE(I8, int8_t, (C))
        CASE(I16, int16_t, (C))
        CASE(I32, int32_t, (C))
        CASE(I64, int64_t, (C))
        CASE(U8, uint8_t, (C))
        CASE(U16, uint16_t, (C))
        CASE(U32, uint32_t, (C))
        CASE(U64, uint64_t, (C))
    case ELEMENTS:
        break;
    }
#undef CASE
}

/* The classes [first, first + n) of a row as contiguous values: where they lie, or copied into `copy`. */
INLINE const C *OP(contiguous)(struct source x, int i, ptrdiff_t first, ptrdiff_t n, C *copy)
{
    const char *p = x.rows[i] + first * x.step;
    if (OP(direct)(x))
        return (const C *)(const void *)p;
    OP(read)(p, x.step, x.element, n, copy, 1);
    return copy;
}

/* Classes [first, first + n) of LANES rows into `tile`: class j of row i at tile[i * row_step + j * class_step]. Class by
 * class, so that rows which share their cache lines are read together, unless each row is contiguous. */
INLINE void OP(pack)(struct source group, ptrdiff_t first, ptrdiff_t n, C *tile, ptrdiff_t row_step, ptrdiff_t class_step)
{
    ptrdiff_t between = group.rows[1] - group.rows[0];
    int even = group.element == OP(ELEMENT) && group.step != sizeof(C);
    for (int i = 1; i < LANES; i++)
        even &= group.rows[i] - group.rows[i - 1] == between;
    if (!even)
        for (int i = 0; i < LANES; i++)
            OP(read)(group.rows[i] + first * group.step, group.step, group.element, n, tile + i * row_step, class_step);
    else
        for (ptrdiff_t j = 0; j < n; j++)
            for (int i = 0; i < LANES; i++)
                memcpy(tile + i * row_step + j * class_step, group.rows[0] + i * between + (first + j) * group.step, sizeof(C));
}

static void OP(sum_group_few)(struct source group, ptrdiff_t n_classes, const struct OP(scaling) *scaling,
                              int centred, double *m, struct wide *sum)
{
    C tile[FEW * LANES], max_x[LANES];
    OP(pack)(group, 0, n_classes, tile, 1, LANES);
    struct OP(state) state;
    if (centred)
        OP(sum_few)(tile, n_classes, scaling, 1, &state);
    else
        OP(sum_few)(tile, n_classes, scaling, 0, &state);
    OP(store)(max_x, state.max_x);
    for (int i = 0; i < LANES; i++)
        m[i] = max_x[i];
    for (int h = 0; h < LANES / 8; h++) {
        sum[h].high = state.sum[h];
        sum[h].low = state.low[h];
    }
}

static void OP(sum_group_many)(struct source group, ptrdiff_t n_classes, const struct OP(scaling) *scaling,
                               int centred, double *m, struct wide *sum)
{
    struct OP(state) states[LANES];
    for (int i = 0; i < LANES; i++)
        OP(start)(&states[i]);
    /* Contiguous rows are streamed one after the other; others are packed tile by tile. The lane of a class is the same. */
    int direct = OP(direct)(group);
    ptrdiff_t tile = direct ? n_classes : TILE;
    for (ptrdiff_t first = 0; first < n_classes; first += tile) {
        ptrdiff_t n = n_classes - first < tile ? n_classes - first : tile;
        C copy[LANES][TILE];
        if (!direct)
            OP(pack)(group, first, n, copy[0], TILE, 1);
        for (int i = 0; i < LANES; i++) {
            if (i && group.rows[i] == group.rows[0])
                states[i] = states[0];
            else {
                const C *row = direct ? (const C *)(const void *)group.rows[i] : copy[i];
                if (centred)
                    OP(sum_many)(row, n, scaling, i, 1, &states[i]);
                else
                    OP(sum_many)(row, n, scaling, i, 0, &states[i]);
            }
        }
    }
    /* Transposed, so that the lanes of all rows merge together: lane l of row i at [l][i]. */
    double max_x[LANES][LANES], max_e[LANES][LANES], high[LANES][LANES], low[LANES][LANES];
    for (int i = 0; i < LANES; i++) {
        C x[LANES], e[LANES];
        double s[LANES], s_low[LANES];
        OP(store)(x, states[i].max_x);
        OP(store)(e, states[i].max_e);
        for (int h = 0; h < LANES / 8; h++) {
            store_f64(s + 8 * h, states[i].sum[h]);
            store_f64(s_low + 8 * h, states[i].low[h]);
        }
        for (int l = 0; l < LANES; l++) {
            max_x[l][i] = x[l];
            max_e[l][i] = e[l];
            high[l][i] = s[l];
            low[l][i] = s_low[l];
        }
    }
    for (int h = 0; h < LANES; h += 8) {
        struct lane_sum lanes[LANES];
        for (int l = 0; l < LANES; l++)
            lanes[l] = (struct lane_sum){load_f64(max_x[l] + h), load_f64(max_e[l] + h),
                                         {load_f64(high[l] + h), load_f64(low[l] + h)}};
        for (int width = LANES / 2; width; width /= 2)
            for (int l = 0; l < width; l++)
                merge_lanes(&lanes[l], &lanes[l + width]);
        store_f64(m + h, lanes[0].max_x);
        sum[h / 8] = lanes[0].sum;
    }
}

/* c and the index of rows whose maxima are m: see struct scaling. */
INLINE f64x8 OP(centre)(f64x8 m)
{
    return choose_f64(less_f64(set_f64(OP(FAR)), abs_f64(m)), m, set_f64(0));
}

INLINE f64x8 OP(index)(f64x8 m)
{
    f64x8 n = nearest_exponent(sub_f64(m, OP(centre)(m)));
    n = choose_f64(less_f64(set_f64(OP(NEAR)), abs_f64(m)), n, set_f64(0));
    return sub_f64(set_f64(OP(EXPONENT_BIAS) + OP(MIDDLE)), n);
}

static void OP(pair)(struct source x, int n_rows, ptrdiff_t n_classes, struct pairs *pairs)
{
    for (int first = 0; first < n_rows; first += LANES) {
        /* The missing rows of the last group repeat its first. */
        const char *rows[LANES];
        struct source group = {rows, x.step, x.element};
        struct OP(scaling) scaling;
        double m[LANES];
        struct wide sum[LANES / 8];
        for (int i = 0; i < LANES; i++) {
            rows[i] = x.rows[first + i < n_rows ? first + i : first];
            scaling.c[i] = 0;
            scaling.magic[i] = OP(MAGIC) + (OP(EXPONENT_BIAS) + OP(MIDDLE));
            scaling.lowest[i] = (C)((OP(EXPONENT_BIAS) + OP(MIDDLE)) * -0x1.62e42fefa39efp-1);
        }
        int centred = 0;
        for (;;) {
            if (n_classes <= FEW)
                OP(sum_group_few)(group, n_classes, &scaling, centred, m, sum);
            else
                OP(sum_group_many)(group, n_classes, &scaling, centred, m, sum);
            int all_near = 1;
            for (int i = 0; i < LANES; i++)
                all_near &= fabs(m[i]) <= OP(NEAR);
            if (centred || all_near)
                break;
            centred = 1;
            for (int h = 0; h < LANES; h += 8) {
                double c[8], index[8], lowest[8];
                store_f64(c, OP(centre)(load_f64(m + h)));
                store_f64(index, OP(index)(load_f64(m + h)));
                store_f64(lowest, lowest_f64(load_f64(index)));
                for (int i = 0; i < 8; i++) {
                    scaling.c[h + i] = (C)c[i];
                    scaling.magic[h + i] = OP(MAGIC) + (C)index[i];
                    scaling.lowest[h + i] = (C)lowest[i];
                }
            }
        }
        for (int h = 0; h < LANES && first + h < n_rows; h += 8) {
            /* r = sum / exp(m - c), both scaled by the same power of two. */
            f64x8 maximum = load_f64(m + h), e_low, r_low;
            f64x8 index = add_f64(OP(index)(maximum), set_f64(EXPONENT_BIAS_f64 - OP(EXPONENT_BIAS)));
            f64x8 e = exp_wide(sub_f64(maximum, OP(centre)(maximum)), index, &e_low);
            f64x8 r = divide_wide(sum[h / 8], (struct wide){e, e_low}, &r_low);
            int n = at_most_8(n_rows - first - h);
            store_part_f64(pairs->m + first + h, n, maximum);
            store_part_f64(pairs->r + first + h, n, r);
            store_part_f64(pairs->r_low + first + h, n, r_low);
        }
    }
}

/* softmax_c * slope * scale = exp(x_c - c) * 2^index * fraction: the index takes the power of two of the scale over the sum,
 * so that neither factor can underflow where the product does not. */
INLINE void OP(softmax_rows)(const struct pairs *pairs, int n_rows, const double *slope, const double *scale, double *c,
                             double *index, double *fraction)
{
    for (int i = 0; i < n_rows; i += 8) {
        int n = at_most_8(n_rows - i);
        f64x8 m = load_part_f64(pairs->m + i, n, 0), centre = OP(centre)(m), e_low;
        f64x8 exponent = nearest_exponent(sub_f64(m, centre));
        struct wide e = {exp_wide(sub_f64(m, centre), sub_f64(set_f64(EXPONENT_BIAS_f64), exponent), &e_low), e_low};
        f64x8 inverse = softmax_scale(e, load_part_f64(pairs->r + i, n, 0), load_part_f64(pairs->r_low + i, n, 0));
        f64x8 share = mul_f64(mul_f64(load_part_f64(slope + i, n, 0), load_part_f64(scale + i, n, 0)), inverse), power;
        split_exponent(abs_f64(share), &power);
        power = max_f64(min_f64(power, set_f64(OP(MOST_POWER))), set_f64(-1000));
        f64x8 guarded = mul_f64(share, power_of_two(sub_f64(set_f64(0), power)));
        store_part_f64(fraction + i, n, mul_f64(guarded, power_of_two(set_f64(-OP(GUARD)))));
        store_part_f64(c + i, n, centre);
        store_part_f64(index + i, n, sub_f64(add_f64(power, set_f64(OP(EXPONENT_BIAS) + OP(GUARD))), exponent));
    }
}

static void OP(gradient)(struct source x, struct sink out, const struct class_target *target, int n_rows,
                         ptrdiff_t n_classes, const struct pairs *pairs, const double *slope, const double *scale)
{
    int in_place = out.step == sizeof(C) && out.element == OP(ELEMENT);
    double c[BLOCK], index[BLOCK], fraction[BLOCK];
    OP(softmax_rows)(pairs, n_rows, slope, scale, c, index, fraction);
    for (int i = 0; i < n_rows; i++) {
        V centre = OP(set)((C)c[i]), magic = OP(set)(OP(MAGIC) + (C)index[i]), factor = OP(set)((C)fraction[i]);
        V lowest = OP(set)((C)(index[i] * -0x1.62e42fefa39efp-1));
        for (ptrdiff_t first = 0; first < n_classes; first += TILE) {
            int n_tile = n_classes - first < TILE ? (int)(n_classes - first) : TILE;
            C x_copy[TILE], out_copy[TILE];
            double weights[TILE];
            const C *row = OP(contiguous)(x, i, first, n_tile, x_copy);
            C *result = in_place ? (C *)(void *)(out.rows[i] + first * out.step) : out_copy;
            if (target)
                target_weights(target, i, first, n_tile, weights, NULL);
            for (int j = 0; j < n_tile; j += LANES) {
                int n = n_tile - j < LANES ? n_tile - j : LANES;
                V logits = n == LANES ? OP(load)(row + j) : OP(load_part)(row + j, n, 0);
                V value = OP(mul)(OP(exp)(OP(sub)(logits, centre), magic, lowest), factor);
                if (target) {
                    C share[LANES];
                    for (int l = 0; l < n; l++)
                        share[l] = (C)(weights[j + l] * scale[i]);
                    value = OP(sub)(value, OP(load_part)(share, n, 0));
                }
                if (n == LANES)
                    OP(store)(result + j, value);
                else
                    OP(store_part)(result + j, n, value);
            }
            if (!in_place)
                for (int j = 0; j < n_tile; j++)
                    write_element(out.rows[i] + (first + j) * out.step, out.element, out_copy[j]);
        }
    }
}

#undef LANES
#undef OP
#undef JOIN
#undef JOIN_
