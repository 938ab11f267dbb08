"""Every loss with every keyword at every number of classes up to 270, and around all sizes at which kernels change shape.

A turn is one input: a number of classes and of rows, and a dtype. With it each loss is called for each kind of target, with
each keyword alone and with all of them; layouts, reductions and the number of derivatives rotate. The lengths of the cycles
share no factor with each other or with the lanes. What is compared with are the formulas of plain.py: 270 million results.
"""

import functools
import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import mpmath as mp
import numpy as np
import plain
import pytest
import scipy.sparse
from depth import slow_but

from xentc import (
    _core,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    kl_divergence,
    log_loss,
    log_loss_per_sample,
    nll_loss,
    perplexity,
    special,
)

WIDE, *NARROW = DTYPES = [np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]
LAYOUTS = ["C", "padded", "F", "axis 0", "stepped"]
REDUCTIONS = ["none", "mean", "sum", "mean", "none", "sum", "mean"]
DERIVATIVES = [2, 1, 0, 1, 2, 0, 2, 1, 2, 0, 1]
CODES = [np.dtype(kind) for kind in ("i8", "u1", "i4", "u4", "i2", "i1", "u2")]
SIGNS = [1, 1, -1]  # of weights

# Beyond 2^20: only codes of sixteen rows side by side have a limit, 2^24 classes, and take a gigabyte.
BOUNDARIES = sorted({b for itemsize in (8, 4) for b in _core.kernel_shapes(itemsize)["classes"] if b <= 1 << 20})
AROUND = [384, 512, 768, 1024, 4096, *(n * 16384 for n in (2, 6, 10, 12)), *BOUNDARIES]
CLASSES = sorted({*range(1, 271), *(b + d for b in AROUND for d in (-1, 0, 1) if b + d)})
# Where time is short: few from one shape to the next, with every remainder by 16; none that takes seconds.
QUICK = {k for k in CLASSES if k <= 17 or k % 29 == 0 or 270 < k < 2**20 - 1 or {k - 1, k, k + 1} & {*AROUND} - {2**20}}
MANY = 30_000  # classes: what takes long, so it is called with all keywords together only
EPS64, EPS32 = (float(np.finfo(dtype).eps) for dtype in (np.float64, np.float32))
LEAST32 = float(np.finfo(np.float32).smallest_subnormal)
CALLS = [0, 2]  # so many, and so far from each other in the cycles
FEW = 2  # rows of binary losses
ROWS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 127, 128, 129, 25]


class Loss(NamedTuple):
    call: Callable[..., Any]
    of: str
    targets: list[str]
    keywords: list[str]
    derivatives: int = 1


EVERY = ["codes", "soft", "sparse"]
CLASS_KEYWORDS = ["sample_weight", "class_weight", "ignore_index"]
BINARY_KEYWORDS = ["sample_weight", "pos_weight", "label_smoothing"]
LOSSES = [
    Loss(cross_entropy, "logits", EVERY, [*CLASS_KEYWORDS, "label_smoothing", "z_loss", "focal_gamma"], 2),
    Loss(kl_divergence, "logits", ["soft", "sparse"], ["sample_weight"]),
    Loss(perplexity, "logits", EVERY, ["sample_weight", "ignore_index"], 0),
    Loss(categorical_cross_entropy, "proba", EVERY, [*CLASS_KEYWORDS, "label_smoothing", "eps", "normalize_rows"]),
    Loss(nll_loss, "logs", EVERY, CLASS_KEYWORDS),
    Loss(binary_cross_entropy_with_logits, "logits", ["soft"], [*BINARY_KEYWORDS, "focal_gamma"], 2),
    Loss(binary_cross_entropy, "proba", ["soft"], [*BINARY_KEYWORDS, "eps"]),
]


def selections(keywords):
    """None of them, each, and all."""
    return dict.fromkeys([(), *((name,) for name in keywords), tuple(keywords)])


CASES = [
    (loss, kind, names) for loss in LOSSES for kind in loss.targets
    for names in selections([name for name in loss.keywords if name != "ignore_index" or kind == "codes"])
]


ALL_TOGETHER = [case for case in CASES if len(case[2]) > 1]


def turns(k):
    """The numbers of the turns: one of float64 and one narrower; more of so few classes that kernels are made for them."""
    first = 2 * CLASSES.index(k)
    return range(first, first + (6 if k <= 3 else 2))


def weights(rng, *shape):
    return rng.uniform(0.5, 2, shape) * rng.choice(SIGNS, shape)


def pick(rows, codes):
    return np.take_along_axis(rows, codes.astype(int)[:, None], 1)[:, 0]


def lay(a, layout):
    """Rows in a layout, with values around them that must not be read."""
    if layout == "C":
        return np.ascontiguousarray(a)
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "axis 0":
        return np.ascontiguousarray(a.T)
    n, k = a.shape
    around = np.full((n, 2 * k + 3), np.nan, a.dtype)
    inside = around[:, 1 : k + 1] if layout == "padded" else around[:, 1 : 2 * k + 1 : 2]
    inside[...] = a
    return inside


class Turn:
    """One input, and what is compared with it."""

    def __init__(self, k, number):
        self.k, self.number, self.rng = k, number, np.random.default_rng([k, number])
        self.dtype = WIDE if number % 2 else NARROW[number // 2 % 3]
        block = (1 << 17) // (8 if self.dtype == WIDE else 4) // k  # the rows that loops take at a time
        rows = ROWS if k <= 64 else [*ROWS[:9] * 2, block, block + 1] if k < 1000 else [1, 2, block + 1] if k < MANY else [1]
        self.n, self.compared, self.wrong = int(self.rng.choice(rows)), 0, []
        self.laid = functools.cache(lambda name, layout: lay(self.x[name], layout))

    def cases(self):
        """With a reduction, and the calls: a layout, and how many derivatives are asked for."""
        cases = CASES if self.k < MANY else ALL_TOGETHER[self.number // 2 % 3 :: 3] if self.k > 8 * MANY else ALL_TOGETHER
        for i, (loss, kind, names) in enumerate(cases, self.number):
            calls = [(LAYOUTS[(i + more) % 5], min(loss.derivatives, DERIVATIVES[(i + more) % 11])) for more in CALLS]
            if kind == "sparse":  # has its classes last
                calls = [(layout.replace("axis 0", "F"), derivatives) for layout, derivatives in calls]
            yield loss, kind, names, REDUCTIONS[i % 7], calls

    def run(self):
        for loss, kind, names, reduction, calls in self.cases():
            what, want, call = (self.binary if "pos_weight" in loss.keywords else self.rows)(loss, kind, names, reduction)
            for layout, derivatives in calls:
                options = {"return_hess": True} if derivatives == 2 else {"return_grad": True} if derivatives else {}
                got = call(layout, **options)
                self.check_results(f"{what}, {reduction}", layout, got if derivatives else (got,), want)
        self.special()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # probabilities of narrow types need not sum to one
            self.log_loss()
        return self

    # ---- The inputs, made as they are needed.

    @functools.cached_property
    def x(self):
        """Arrays of all kinds, in their dtype."""
        shape = self.n, self.k
        logits = self.rng.uniform(-2, 2, shape) * self.rng.choice([1, 1, 1, 20], (self.n, 1))
        proba = self.rng.uniform(0.05, 0.95, shape)
        x = {"logits": logits, "logs": -np.abs(logits), "softmax": plain.softmax(logits).p, "proba": proba,
             "amounts": 3 * proba}
        t = self.rng.uniform(0.05, 1, shape) * (self.rng.random(shape) < 0.7)
        targets = {"soft": 2 * t / self.k, "binary": t}
        return {name: a.astype(self.dtype) for name, a in x.items()} | {
            name: a.astype(self.rng.choice(DTYPES)) for name, a in targets.items()}

    @functools.cached_property
    def plain(self):
        return {name: a.astype(float) for name, a in self.x.items()}

    @functools.cached_property
    def softmax(self):
        return plain.softmax(self.plain["logits"])

    @functools.cached_property
    def codes(self):
        fitting = [dtype for dtype in CODES if np.iinfo(dtype).max > self.k]
        return self.rng.integers(0, self.k, self.n).astype(self.rng.choice(fitting))

    @functools.cached_property
    def ignored(self):
        return self.rng.random(self.n) < 0.3

    @functools.cached_property
    def sparse(self):
        return scipy.sparse.csr_array(self.plain["soft"])

    @functools.cached_property
    def options(self):
        """What the keywords are given."""
        codes = self.codes.dtype
        return {
            "class_weight": weights(self.rng, self.k), "sample_weight": weights(self.rng, self.n), "label_smoothing": 0.3,
            "ignore_index": -1 if codes.kind == "i" else np.iinfo(codes).max, "z_loss": 0.01,
            "focal_gamma": float(self.rng.choice([2, 0.7, 3])), "eps": 0.1, "normalize_rows": True,
        }

    # ---- The comparisons.

    def check(self, what, got, want, bound):
        got = np.asarray(got).astype(float)
        bound = bound + (4 * LEAST32 if self.dtype != WIDE else 0)
        with np.errstate(invalid="ignore"):
            good = (got == want) | (np.abs(got - want) <= bound) | (np.isnan(got) & np.isnan(want))
        self.compared += good.size
        if not good.all():
            at = np.unravel_index(np.argmin(good), good.shape)
            got, want, bound = (np.broadcast_to(a, good.shape)[at] for a in (got, want, bound))
            self.wrong.append(
                f"{what}, {self.dtype}, {self.n} rows: {good.size - good.sum()} of {good.size} wrong; the first, at "
                f"{[*map(int, at)]}, is {got}, not {want} ({abs(got - want) / bound:.3g} times the bound)"
            )

    def check_results(self, what, layout, got, want):
        for name, array, (value, bound) in zip(("loss", "grad", "hess"), got, want, strict=False):
            array = np.asarray(array).T if layout == "axis 0" else np.asarray(array)
            self.check(f"{what} {name}, {layout}", array, value.reshape(array.shape), bound.reshape(array.shape))

    def bounded(self, rows, spread=0.0):
        """Sizes become bounds: of float64, for the formulas too, which round the exponents; and of float32."""
        unit = np.broadcast_to(self.unit(spread), (len(rows.loss[0]), 1))
        loss, *others = rows
        return plain.Rows((loss[0], loss[1] * np.ravel(unit)), *(pair and (pair[0], pair[1] * unit) for pair in others))

    def unit(self, spread=0.0, narrow=True):
        """The error that a term of 1 may have, where exponents of this spread were rounded."""
        return 4 * EPS32 if narrow and self.dtype != WIDE else 6 * EPS64 * (1 + spread)

    def rows(self, loss, kind, names, reduction):
        options, weight, codes = {name: self.options[name] for name in names}, np.ones(self.n), self.codes
        weight = options.get("sample_weight", weight)
        if "ignore_index" in names:
            codes = np.where(self.ignored, options["ignore_index"], codes).astype(codes.dtype)
            weight = weight * ~self.ignored
        of = "amounts" if "normalize_rows" in names else loss.of
        if "eps" in names and of == "amounts":
            options["eps"] /= self.k
        t = self.codes.astype(int) if kind == "codes" else self.plain["soft"]
        a, share = plain.target_weights(t, self.k, options.get("class_weight"), options.get("label_smoothing", 0.0))
        if loss.of == "logits":
            z, gamma = options.get("z_loss", 0.0) * share, options.get("focal_gamma", 0.0)
            rows = plain.cross_entropy(self.softmax, a, z, gamma, loss.call is kl_divergence)
            rows = self.bounded(rows, self.softmax.spread)
        elif loss.of == "logs":
            rows = self.bounded(plain.nll_loss(self.plain[of], a))
        else:
            rows = self.bounded(plain.categorical_cross_entropy(self.plain[of], a, self.limits(options), of == "amounts"))
        want = plain.reduced(rows, weight, share * weight, "mean" if loss.call is perplexity else reduction)
        if loss.call is perplexity:
            with np.errstate(over="ignore"):
                power = np.exp(want.loss[0])
                want = [(power, power * (np.expm1(want.loss[1]) + 4 * EPS64))]
        else:
            options["reduction"] = reduction

        def call(layout, **derivatives):
            target = codes if kind == "codes" else self.sparse if kind == "sparse" else self.laid("soft", layout)
            axis = {"axis": 0} if layout == "axis 0" else {}
            return loss.call(self.laid(of, layout), target, **options, **axis, **derivatives)

        return f"{loss.call.__name__} of {kind} with {', '.join(names) or 'no keyword'}", want, call

    def limits(self, options):
        """The bounds of eps are of the probabilities' type."""
        eps = options.get("eps", 0.0)
        return tuple(np.array([eps, 1 - eps]).astype(self.dtype).astype(float))

    @functools.cached_property
    def two_classes(self):
        """The logits of the first rows, each as that of the second of two classes."""
        x = self.plain["logits"][:FEW].ravel()
        return plain.softmax(np.stack([np.zeros(x.shape), x], axis=1))

    @functools.cached_property
    def binary_options(self):
        shape = min(self.n, FEW), self.k
        return self.options | {"sample_weight": weights(self.rng, *shape), "pos_weight": weights(self.rng, *shape)}

    def binary(self, loss, kind, names, reduction):
        options = {name: self.binary_options[name] for name in names}
        e, t = options.get("label_smoothing", 0.0), self.plain["binary"][:FEW].ravel()
        a = np.stack([(1 - e) * (1 - t) + e / 2, (1 - e) * t + e / 2], axis=1)
        a[:, 1] *= np.ravel(options.get("pos_weight", 1.0))
        weight = np.ravel(options.get("sample_weight", np.ones(t.shape)))
        if loss.of == "logits":
            s = self.two_classes
            losses, *others = self.bounded(plain.cross_entropy(s, a, focal_gamma=options.get("focal_gamma", 0.0)), s.spread)
            rows = plain.Rows(losses, *((value[:, 1:], bound[:, 1:]) for value, bound in others))
        else:
            p = self.plain["proba"][:FEW].ravel()
            rows = self.bounded(plain.binary_cross_entropy(p, a, self.limits(options)))

        def call(layout, **derivatives):
            arrays = {"x": self.laid(loss.of, layout), "target": self.laid("binary", layout)}
            if layout == "axis 0":
                arrays = {name: a[:, :FEW] for name, a in arrays.items()} | {
                    name: a.T for name, a in options.items() if isinstance(a, np.ndarray)}
            else:
                arrays = {name: a[:FEW] for name, a in arrays.items()}
            x, target = arrays.pop("x"), arrays.pop("target")
            return loss.call(x, target, reduction=reduction, **options | arrays, **derivatives)

        what = f"{loss.call.__name__} with {', '.join(names) or 'no keyword'}"
        return what, plain.reduced(rows, weight, weight, reduction), call

    def special(self):
        s = self.softmax
        unit = self.unit(s.spread)
        wants = (special.softmax, s.p, s.p), (special.log_softmax, -s.cost, s.cost), (special.logsumexp, *s.lse)
        for (function, want, size), layout in itertools.product(wants, LAYOUTS if self.k < MANY else ["C"]):
            axis = 0 if layout == "axis 0" else 1
            got = function(self.laid("logits", layout), axis=axis)
            got = np.expand_dims(got, axis) if function is special.logsumexp else got
            self.check_results(f"{function.__name__}", layout, [got], [(want, np.broadcast_to(size * unit, want.shape))])

    def log_loss(self):
        """Of labels, of the probability or logit of the second of two, and of sets of labels; weighted and not."""
        eps, weight = float(ml_dtypes.finfo(self.dtype).eps), self.options["sample_weight"]
        p = self.plain["softmax"].clip(*self.limits({"eps": eps}))
        first = plain.softmax(np.stack([np.zeros(self.n), self.plain["logits"][:, 0]], axis=1)).cost
        first_p = np.stack([-np.log1p(-p[:, 0]), -np.log(p[:, 0])], axis=1)
        several = self.rng.integers(0, 2, (self.n, self.k))
        for i, (of, costs, of_first) in enumerate([
            ("logits", self.softmax.cost, first), ("softmax", -np.log(p), first_p)
        ], self.number):
            layout = LAYOUTS[i % len(LAYOUTS)].replace("axis 0", "F")
            x, of_two = self.laid(of, layout), self.codes % 2
            calls = [("one column", of_two, x[:, :1] if i % 2 else x[:, 0], [0, 1], pick(of_first, of_two))]
            if self.k > 1:
                calls += [("labels", self.codes, x, np.arange(self.k), pick(costs, self.codes)),
                          ("sets of labels", several, x, None, (several * costs).sum(axis=1))]
            for kind, y, proba, labels, loss in calls:
                options, what = {"labels": labels, "from_logits": of == "logits"}, f"log_loss of {kind} from {of}, {layout}"
                bound = loss * (self.unit(self.softmax.spread[:, 0]) if of == "logits" else self.unit(narrow=False))
                self.check(what, log_loss_per_sample(y, proba, **options), loss, bound)
                given, weighed = (weight, weight) if self.number // 2 % 2 else (None, np.ones(self.n))
                for normalize, reduction in ((True, "mean"), (False, "sum")):
                    got = log_loss(y, proba, sample_weight=given, normalize=normalize, **options)
                    want = plain.reduced(plain.Rows((loss, bound), None), weighed, weighed, reduction).loss
                    self.check(f"{what}, {reduction}", got, *want)


@pytest.mark.parametrize("k", slow_but(QUICK, CLASSES))
def test_sweep(k):
    done = [Turn(k, number).run() for number in turns(k)]
    print(f"{sum(turn.compared for turn in done)} comparisons")  # shown by pytest -rP
    wrong = [line for turn in done for line in turn.wrong]
    assert not wrong, "\n".join([f"{len(wrong)} results are wrong:", *wrong[:20]])


def test_every_keyword_meets_every_dtype_and_layout_in_every_shape():
    keywords = {name for loss in LOSSES for name in loss.keywords}
    for below, most in itertools.pairwise([0, *BOUNDARIES]):
        met = set()
        for turn in (Turn(k, number) for k in CLASSES if below < k <= most for number in turns(k)):
            for _, _, names, _, calls in turn.cases():
                met |= {(name, what) for name in names for what in (str(turn.dtype), *(layout for layout, _ in calls))}
        assert met == set(itertools.product(keywords, [*map(str, DTYPES), *LAYOUTS])), f"up to {most} classes"


@pytest.mark.parametrize("focal_gamma", [0.0, 2.0, 0.7])
@pytest.mark.parametrize("k", [2, 5])
def test_the_plain_formulas(k, focal_gamma):
    """In mpmath, which finds the derivatives itself."""
    rng = np.random.default_rng(5)
    x, a, p = rng.uniform(-2, 2, (1, k)), weights(rng, 1, k), rng.uniform(0.05, 0.95, (1, k))
    least, most = limits = 0.1, 0.9

    def clipped(value):
        return min(max(value, least), most)

    def of_logits(*x):
        lse = mp.log(mp.fsum(map(mp.exp, x)))
        terms = (c * (1 - mp.exp(v - lse)) ** focal_gamma * (lse - v) for c, v in zip(a[0], x, strict=True))
        return mp.fsum(terms) + 0.01 * lse**2

    def of_proba(*p):
        return mp.fsum(-c * mp.log(clipped(v)) for c, v in zip(a[0], p, strict=True))

    def of_amounts(*p):
        return of_proba(*(v / mp.fsum(p) for v in p))

    def of_two(p):
        return -a[0, 1] * mp.log(clipped(p)) - a[0, 0] * mp.log(1 - clipped(p))

    for function, at, rows in [
        (of_logits, x[0], plain.cross_entropy(plain.softmax(x), a, 0.01, focal_gamma)),
        (of_proba, p[0], plain.categorical_cross_entropy(p, a, limits)),
        (of_amounts, p[0], plain.categorical_cross_entropy(p, a, limits, normalize_rows=True)),
        *((of_two, [v], plain.binary_cross_entropy(np.array([v]), a[:, :2], limits)) for v in p[0]),
    ]:
        at = tuple(map(mp.mpf, map(float, at)))
        with mp.workprec(200):
            exact = [[function(*at)], *([mp.diff(function, at, tuple(order * (i == j) for i in range(len(at))))
                                         for j in range(len(at))] for order in (1, 2))]
        for (value, size), want in zip((pair for pair in rows if pair), exact, strict=False):
            assert (np.abs(value.ravel() - np.array(want, float)) <= 10 * EPS64 * size.ravel()).all()
