"""The elementary functions of src/simd/vmath.h against extended precision, at the bounds that stand there."""

import mpmath as mp
import numpy as np
import pytest
from oracles import Wide

from xentc import _core

EXP, EXPM1, LOG, LOG1P, SHORT_LOG, EXP_FLOAT32, LOG_FLOAT32, LOG1P_FLOAT32 = range(8)
N = 200_000
RNG = np.random.default_rng(7)

CASES = [
    # function, arguments, exact, unit, bound in units of half an ulp of 1
    ("exp", EXP, RNG.uniform(-700, 700, N), np.exp, 2.0**-53, 1.5),
    ("exp near 0", EXP, RNG.uniform(-1, 1, N), np.exp, 2.0**-53, 1.5),
    ("expm1", EXPM1, -(10.0 ** RNG.uniform(-300, 2.8, N)), np.expm1, 2.0**-53, 1.6),
    ("expm1 near 0", EXPM1, RNG.uniform(-1, 0, N), np.expm1, 2.0**-53, 1.6),
    ("log", LOG, 10.0 ** RNG.uniform(-300, 300, N), np.log, 2.0**-53, 1.4),
    ("log near 1", LOG, 1 + RNG.uniform(-0.3, 0.5, N), np.log, 2.0**-53, 1.4),
    ("log1p", LOG1P, 10.0 ** RNG.uniform(-300, 6, N), np.log1p, 2.0**-53, 1.4),
    ("log1p below 0", LOG1P, -RNG.uniform(0, 1, N), np.log1p, 2.0**-53, 1.4),
    ("short log", SHORT_LOG, 10.0 ** RNG.uniform(-300, 300, N), np.log, 2.0**-53, 1.5),
    ("short log near 1", SHORT_LOG, 1 + RNG.uniform(-0.5, 1, N), np.log, 2.0**-53, 1.5),
    ("log of float32", LOG_FLOAT32, np.float32(10.0 ** RNG.uniform(-37, 38, N)).astype(float), np.log, 2.0**-24, 1.4),
    ("log of float32 near 1", LOG_FLOAT32, RNG.uniform(0.5, 2, N).astype(np.float32).astype(float), np.log, 2.0**-24, 1.4),
    ("exp of float32", EXP_FLOAT32, RNG.uniform(-87, 88, N).astype(np.float32).astype(float), np.exp, 2.0**-24, 1.7),
    ("log1p of float32", LOG1P_FLOAT32, np.float32(2.0 ** RNG.uniform(-126, 0, N)).astype(float), np.log1p, 2.0**-24, 1.9),
]


def evaluate(function, x):
    out = np.empty_like(x)
    _core.elementary(function, x, out)
    return out


@pytest.mark.parametrize(("function", "x", "exact", "unit", "bound"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_error(function, x, exact, unit, bound):
    with np.errstate(divide="ignore"):
        want = exact(x.astype(Wide))
    error = np.abs(evaluate(function, x).astype(Wide) - want) / np.maximum(np.abs(want), np.finfo(Wide).tiny) / unit
    assert error.max() <= bound


def test_the_extended_precision_oracle_agrees_with_mpmath():
    x = RNG.uniform(-700, 700, 200)
    for value, wide in zip(x, np.exp(x.astype(Wide)), strict=True):
        hi = float(wide)
        exact = mp.exp(mp.mpf(value))
        assert abs(mp.mpf(hi) + mp.mpf(float(wide - Wide(hi))) - exact) < exact * mp.mpf(2) ** -62


def test_special_values():
    nan = evaluate(EXP, np.array([np.nan, -np.inf, 0.0, -5000.0]))
    assert np.isnan(nan[0])
    assert nan[1:].tolist() == [0.0, 1.0, 0.0]
    assert evaluate(EXPM1, np.array([-np.inf, 0.0, -1e-320])).tolist() == [-1.0, 0.0, -1e-320]
    assert np.isnan(evaluate(LOG, np.array([np.nan]))).all()
    assert evaluate(LOG1P, np.array([0.0, 1e-320])).tolist() == [0.0, 1e-320]
