/* Runs the kernels of one instruction set on rows read from standard input and writes all results, for test_bits.py and
 * test_tiles.py: of float64, of float32 and of float16. Fails where they use more scratch memory than there is. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/kernels.h"
#include "simd/names.h"

extern const struct kernels PER_SET(kernels);

static const int shapes[][2] = {INPUTS};

enum { BEYOND = 1 << 16, UNTOUCHED = 0xa5 };

static void run(const struct kernels *kernels, enum element element, int n_rows, int n_classes)
{
    size_t size = element == F64 ? 8 : element == F32 ? 4 : 2, computed = element == F64 ? 8 : 4;
    size_t row_bytes = size * (size_t)n_classes, room = scratch_bytes(n_classes, computed);
    char *data = malloc(row_bytes * (size_t)n_rows), *out = malloc(row_bytes * (size_t)n_rows);
    char *scratch = aligned_alloc(LINE, room + BEYOND);
    if (!data || !out || !scratch || fread(data, row_bytes, (size_t)n_rows, stdin) != (size_t)n_rows)
        exit(1);
    memset(scratch, UNTOUCHED, room + BEYOND);
    for (int first = 0; first < n_rows; first += BLOCK) {
        int n = n_rows - first < BLOCK ? n_rows - first : BLOCK;
        const char *rows[BLOCK];
        char *results[BLOCK];
        double x_target[BLOCK], scale[BLOCK], ones[BLOCK], loss[BLOCK], off[BLOCK], hess[BLOCK], z[BLOCK],
            rest[BLOCK];
        double one = 1;
        int64_t zeros[BLOCK] = {0};
        for (int i = 0; i < n; i++) {
            rows[i] = data + (size_t)(first + i) * row_bytes;
            results[i] = out + (size_t)(first + i) * row_bytes;
            z[i] = 0.5;
            scale[i] = 1.0 / (1 + i);
            ones[i] = 1;
        }
        struct source x = {rows, (ptrdiff_t)size, element, (ptrdiff_t)row_bytes, NULL, scratch};
        struct sink out_rows = {results, (ptrdiff_t)size, element, (ptrdiff_t)row_bytes, first > 0};
        struct codes codes = {zeros, x_target, ones};
        struct class_target target = {x, NULL, NULL, NULL, 0, &one, 0, first > 0, 0.9, 0.01};
        struct clip clip = {1e-7, 1 - 1e-7};
        struct soft_sums sums;
        struct pairs pairs;
        pairs.cached_exp = first > 0 ? take(&x.scratch, exponentials_bytes(n_classes, computed)) : NULL;
        kernels->memory->gather(x, zeros, n, x_target);
        kernels->pair->rows(x, first > 0, n, n_classes, &pairs);
        kernels->cross_entropy->code_loss(&pairs, x_target, n, loss, rest);
        if (first == 0 && element != F64) {
            float single[BLOCK];
            kernels->cross_entropy->code_loss_single(&pairs, x_target, n, single);
            for (int i = 0; i < n; i++)
                loss[i] = single[i];
        }
        kernels->softmax->gradient(x, out_rows, NULL, &codes, n, n_classes, &pairs, (struct derivative){ones, scale});
        for (int i = 0; i < n; i++) {
            double values[3] = {pairs.m[i], pairs.sum[i] / pairs.e[i], loss[i]};
            for (int j = 0; j < 3; j++)
                if (values[j] != values[j])
                    values[j] = 0;                /* a NaN's bits are the loops' business */
            fwrite(values, sizeof values, 1, stdout);
            if (loss[i] == loss[i])
                fwrite(results[i], row_bytes, 1, stdout);
        }
        kernels->softmax->log_softmax(x, out_rows, n, n_classes, &pairs);
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY)
                fwrite(results[i], row_bytes, 1, stdout);
        kernels->cross_entropy->soft_loss(x, &target, 1, n, n_classes, &pairs, &sums);
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY && fabs(sums.loss[i]) < 1e300) {
                double values[3] = {sums.loss[i], sums.slope[i], sums.entropy[i]};
                fwrite(values, sizeof values, 1, stdout);
            }
        kernels->softmax->gradient(x, out_rows, &target, NULL, n, n_classes, &pairs, (struct derivative){ones, scale});
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY)
                fwrite(results[i], row_bytes, 1, stdout);
        kernels->focal->soft_loss(x, &target, 2.5, n, n_classes, &pairs, &sums);
        kernels->focal->derivatives(x, (struct sink){NULL, 0, F64, 0, 0}, out_rows, &target, n, n_classes, &pairs,
                                    (struct focal_derivative){2.5, sums.slope, sums.curvature, z, scale});
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY && fabs(sums.loss[i]) < 1e300) {
                double values[4] = {sums.loss[i], sums.slope[i], sums.curvature[i], sums.entropy[i]};
                fwrite(values, sizeof values, 1, stdout);
                fwrite(results[i], row_bytes, 1, stdout);
            }
        kernels->softmax->hessian(x, out_rows, n, n_classes, &pairs, (struct derivative){ones, scale});
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY)
                fwrite(results[i], row_bytes, 1, stdout);
        /* The same numbers as rows that lie side by side. */
        const char *columns[BLOCK];
        for (int i = 0; i < n; i++)
            columns[i] = data + (size_t)(first + i) * size;
        struct source across = {columns, (ptrdiff_t)size * n_rows, element, (ptrdiff_t)size, NULL, scratch};
        kernels->pair->rows(across, 0, n, n_classes, &pairs);
        for (int i = 0; i < n; i++)
            if (pairs.sum[i] / pairs.e[i] < INFINITY) {
                double values[2] = {pairs.m[i], pairs.sum[i] / pairs.e[i]};
                fwrite(values, sizeof values, 1, stdout);
            }
        for (int logs = 0; logs < 2; logs++)
            for (int coded = 0; coded < 2; coded++) {
                const struct class_target *given = coded ? NULL : &target;
                double off_one[BLOCK];
                struct range range = {0, 0, 0, 0};
                kernels->probability->range(x, n, n_classes, 1e-3, off_one, &range);
                struct probabilities of = {logs ? LOGARITHMS : PROBABILITIES, clip, off_one};
                kernels->probability->loss(x, given, zeros, of, n, n_classes, &sums);
                kernels->probability->gradient(x, out_rows, given, zeros, of, n, n_classes,
                                               (struct derivative){sums.slope, scale});
                for (int i = 0; i < n; i++)
                    if (sums.loss[i] == sums.loss[i]) {
                        fwrite(&sums.loss[i], sizeof sums.loss[i], 1, stdout);
                        fwrite(results[i], row_bytes, 1, stdout);
                    }
            }
        struct binary_target binary = {scale, ones, 0.9, 0.05};
        for (int focal = 0; focal < 2; focal++) {
            kernels->binary->sigmoid_loss(x_target, &binary, focal ? 1.5 : 0, n, loss, off, hess);
            for (int i = 0; i < n; i++)
                if (fabs(loss[i]) < 1e300) {
                    double values[3] = {loss[i], off[i], hess[i]};
                    fwrite(values, sizeof values, 1, stdout);
                }
        }
        for (int kind = 0; kind < 3; kind++) {
            const int two = kind == 1 && element != F64 && n_classes == 2;
            float logit[BLOCK], low[BLOCK], t[BLOCK], single[BLOCK];
            for (int i = 0; i < n; i++) {
                low[i] = 0;
                t[i] = (float)scale[i];
                logit[i] = (float)x_target[i];
            }
            if (two)
                kernels->logistic->of_two_classes(x, zeros, n, logit, low, t);
            kernels->logistic->loss(logit, kind == 1 ? low : NULL, t, kind == 2 ? &binary : NULL, n, single, off, hess);
            if (two)
                kernels->logistic->to_two_classes(off, scale, 0, n, out_rows);
            for (int i = 0; i < n; i++)
                if (fabsf(single[i]) < 1e30f) {
                    double values[3] = {single[i], off[i], hess[i]};
                    fwrite(values, sizeof values, 1, stdout);
                    if (two)
                        fwrite(results[i], row_bytes, 1, stdout);
                }
        }
        for (int narrow = 0; narrow < 2; narrow++) {
            kernels->binary->bernoulli_loss(scale, &binary, clip, narrow, n, loss, off);
            fwrite(loss, sizeof loss[0], (size_t)n, stdout);
            fwrite(off, sizeof off[0], (size_t)n, stdout);
        }
        kernels->probability->clipped_loss(scale, zeros, clip, n < 8 ? n : 8, off);
        fwrite(off, sizeof off[0], (size_t)(n < 8 ? n : 8), stdout);
    }
    for (size_t i = room; i < room + BEYOND; i++)
        if ((unsigned char)scratch[i] != UNTOUCHED)
            exit(3);
    free(scratch);
    free(data);
    free(out);
}

int main(void)
{
    for (int element = F64; element <= F16; element++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            run(&PER_SET(kernels), (enum element)element, shapes[i][0], shapes[i][1]);
    return 0;
}
