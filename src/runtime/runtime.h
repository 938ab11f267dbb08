/* C layer: what the loops need from the processor and the process, and the only place that is not portable C. */
#ifndef XENTC_RUNTIME_RUNTIME_H
#define XENTC_RUNTIME_RUNTIME_H

#include <stdint.h>

/* Registers the fork handler; call once at import. */
void xentc_runtime_start(void);

/* Whether the processor has the instructions of the set and the system keeps its registers; no where it is another kind. */
int xentc_has_avx2(void);
int xentc_has_avx512(void);

/* In a forked child, where OpenMP's threads are gone and its next parallel region would wait for them for ever. */
int xentc_forked(void);

/* Before a thread's work: sets the floating-point control word to its default (nearest, no flushing of subnormals), for
 * another library may have changed it, and other threads inherit it. Returns the old one, which is put back after the work;
 * then also what was stored past the caches is there for other threads. */
uint64_t xentc_enter_kernels(void);
void xentc_leave_kernels(uint64_t control);

/* OpenMP's own limit (OMP_NUM_THREADS, threadpoolctl), or 1 without OpenMP; its version as yyyymm, or 0. */
int xentc_openmp_limit(void);
int xentc_openmp_version(void);

#endif
