"""Derives the polynomial coefficients and split constants of src/simd/vmath.h.

    python tools/derive_constants.py

Every polynomial is the minimax fit of its function on its reduced range, found by the Remez exchange in 60-digit
arithmetic, with a weight that makes the error relative to the value that the polynomial ends up in. The printed error
is that of the rounded coefficients. Needs mpmath.
"""

import struct

import mpmath as mp

mp.mp.dps = 60
LN2 = mp.log(2)


def to_f32(x):
    return mp.mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def to_f64(x):
    return mp.mpf(float(x))


def remez(f, weight, degree, a, b):
    """Coefficients of the polynomial p that minimises max |f - p| * weight on [a, b], lowest order first."""
    n = degree + 2
    # An even count of Chebyshev points: none lies at the middle, where a weight may vanish.
    grid = [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / 800) for i in range(800)]
    points = [grid[(799 * i) // (n - 1)] for i in range(n)]
    for _ in range(12):
        system, right = mp.matrix(n, n), mp.matrix(n, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                system[i, j] = x**j
            system[i, degree + 1] = (-1) ** i / weight(x)
            right[i] = f(x)
        solution = mp.lu_solve(system, right)
        coefficients = [solution[j] for j in range(degree + 1)]
        values = [(f(x) - mp.polyval(coefficients[::-1], x)) * weight(x) for x in grid]
        extrema, start = [], 0
        for i in range(1, len(grid) + 1):
            if i == len(grid) or mp.sign(values[i]) != mp.sign(values[start]):
                extrema.append(max(range(start, i), key=lambda j: abs(values[j])))
                start = i
        if len(extrema) < n:
            break
        while len(extrema) > n:
            extrema.pop(0 if abs(values[extrema[0]]) < abs(values[extrema[-1]]) else -1)
        points = [grid[i] for i in extrema]
    return coefficients


def rounded(f, weight, degree, a, b, rounding):
    """The minimax coefficients rounded to the working type, and the largest weighted error that they leave."""
    fixed = [rounding(c) for c in remez(f, weight, degree, a, b)]
    grid = [a + (b - a) * mp.mpf(2 * i + 1) / 4000 for i in range(2000)]
    return fixed, max(abs(f(x) - mp.polyval(fixed[::-1], x)) * weight(x) for x in grid)


def rounded_in_turn(f, weight, degree, a, b, rounding):
    """The same, but each coefficient is rounded before those of higher order are fitted, which make up for it."""
    fixed = []
    for order in range(degree + 1):

        def rest(x, fixed=tuple(fixed)):
            return (f(x) - mp.polyval(list(fixed[::-1]), x)) / x ** len(fixed) if fixed else f(x)

        def weight_of_rest(x, order=order):
            return weight(x) * x**order

        fixed.append(rounding(remez(rest, weight_of_rest, degree - order, a, b)[0]))
    grid = [a + (b - a) * mp.mpf(2 * i + 1) / 4000 for i in range(2000)]
    return fixed, max(abs(f(x) - mp.polyval(fixed[::-1], x)) * weight(x) for x in grid)


def show(title, fixed, worst, suffix=""):
    print(f"{title}: error 2^{float(mp.log(worst, 2)):.2f}")
    for value in fixed:
        print(f"    {float(value).hex()}{suffix}")


def exp_tail(x):
    """(exp(x) - 1 - x) / x^2"""
    if abs(x) < mp.mpf("1e-9"):
        return mp.mpf(1) / 2 + x / 6
    return (mp.expm1(x) - x) / x**2


def log_tail(t):
    """(2 atanh(y / 2) / y - 1) / t with t = y^2"""
    if t < mp.mpf("1e-12"):
        return mp.mpf(1) / 12 + t / 80
    y = mp.sqrt(t)
    return (2 * mp.atanh(y / 2) / y - 1) / t


def log1p_tail(r):
    """(log1p(r) - r) / r^2"""
    return (mp.log1p(r) - r) / r**2 if abs(r) > mp.mpf("1e-9") else r / 3 - mp.mpf(1) / 2


def split(value, bits, rounding):
    """value as a part of the given number of bits and the rest in the working type."""
    scale = mp.mpf(2) ** (bits - 1 - mp.floor(mp.log(value, 2)))
    high = mp.floor(value * scale) / scale
    return float(high), float(rounding(value - high))


def main():
    half = LN2 / 2 * mp.mpf("1.0005")
    for name, degree, rounding in (("exp float32", 4, to_f32), ("exp float64", 9, to_f64)):
        fixed, worst = rounded(exp_tail, lambda x: x**2 / mp.exp(x), degree, -half, half, rounding)
        show(name, fixed, worst, "f" if rounding is to_f32 else "")
    # The exponent from a difference of bits leaves quotients up to 2^(1/2 + 0.0861); y = 2 (f - 1) / (f + 1).
    f = mp.mpf(2) ** mp.mpf("0.5862")
    for name, degree in (("log", 7), ("log for float32", 3)):
        fixed, worst = rounded(log_tail, lambda t: t, degree, mp.mpf(0), (2 * (f - 1) / (f + 1)) ** 2, to_f64)
        show(name, fixed, worst)
    fixed, worst = rounded_in_turn(log1p_tail, lambda r: r**2 / mp.log1p(r), 8, mp.mpf(0), mp.mpf(1), to_f32)
    show("log1p float32", fixed, worst, "f")
    low, high = mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1
    fixed, worst = rounded(log1p_tail, lambda g: g**2 / abs(mp.log1p(g)), 8, low, high, to_f32)
    show("log float32", fixed, worst, "f")
    print("ln2 float64, 41 bits and the rest:", *(v.hex() for v in split(LN2, 41, to_f64)))
    print("ln2 float32, 15 bits and the rest:", *(v.hex() for v in split(LN2, 15, to_f32)))


if __name__ == "__main__":
    main()
