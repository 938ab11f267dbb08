/* C layer: runtime.h for POSIX on x86-64 and AArch64. */

#include "runtime/runtime.h"

#include <pthread.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

static int forked;

static void mark_child(void)
{
    forked = 1;
}

void xentc_runtime_start(void)
{
    static int started;
    if (!started)
        started = pthread_atfork(NULL, NULL, mark_child) == 0;
}

int xentc_forked(void)
{
    return forked;
}

#if defined(__x86_64__)
uint64_t xentc_enter_kernels(void)
{
    unsigned control = _mm_getcsr();
    if (control != 0x1f80)                        /* all exceptions masked, nearest, neither FTZ nor DAZ */
        _mm_setcsr(0x1f80);
    return control;
}

void xentc_leave_kernels(uint64_t control)
{
    _mm_sfence();
    /* The sticky exception flags that the loops raised are not the caller's: they are put back too. */
    _mm_setcsr((unsigned)control);
}
#elif defined(__aarch64__)
uint64_t xentc_enter_kernels(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    if (control)
        __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return control;
}

void xentc_leave_kernels(uint64_t control)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}
#else
#error "xentc knows the floating-point control word of x86-64 and AArch64 only"
#endif

int xentc_openmp_limit(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

int xentc_openmp_version(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}
