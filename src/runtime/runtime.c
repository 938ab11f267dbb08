/* C layer: runtime.h for Linux, macOS and Windows, on x86-64 and AArch64. */

#include "runtime/runtime.h"

#ifndef _WIN32
#include <pthread.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __x86_64__
#include <cpuid.h>
#include <xmmintrin.h>
#endif

static int forked;

#ifdef _WIN32
void xentc_runtime_start(void)
{
}                                                 /* nothing forks */
#else
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
#endif

int xentc_forked(void)
{
    return forked;
}

#if defined(__x86_64__)
enum { AVX_REGISTERS = 0x06, AVX512_REGISTERS = 0xe6 };     /* of XCR0: xmm and ymm; with masks and both parts of zmm */

/* The bits of ecx of CPUID's leaf 1, of ebx of leaf 7, and of XCR0. Not __builtin_cpu_supports: clang-cl links nothing that
 * has it. */
static int has(unsigned leaf_1, unsigned leaf_7, unsigned registers)
{
    unsigned a, b, c, d, kept, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || ~c & (leaf_1 | bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    return !(~kept & registers) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && !(~b & leaf_7);
}

int xentc_has_avx2(void)
{
    return has(bit_AVX | bit_FMA | bit_F16C, bit_AVX2, AVX_REGISTERS);
}

int xentc_has_avx512(void)
{
#ifdef __APPLE__
    const unsigned registers = AVX_REGISTERS;     /* the others are kept from their first use on */
#else
    const unsigned registers = AVX512_REGISTERS;
#endif
    return has(bit_AVX | bit_FMA | bit_F16C, bit_AVX2 | bit_AVX512F | bit_AVX512VL | bit_AVX512DQ | bit_AVX512BW, registers);
}

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
int xentc_has_avx2(void)
{
    return 0;
}

int xentc_has_avx512(void)
{
    return 0;
}

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
