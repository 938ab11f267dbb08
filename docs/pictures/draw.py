"""Draw the figures of the pages: row_pair.svg, digits.svg and exact_sum.svg, beside this file.

    python docs/pictures/draw.py        needs xentc[test]; README.md shows digits.svg too
"""

from pathlib import Path

import matplotlib
import mpmath
import numpy as np
from matplotlib import pyplot
from scipy.special import log_softmax, logsumexp

import xentc

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "xentc", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})

HERE = Path(__file__).parent
# Okabe and Ito's colours, as in benchmarks/draw.py.
OURS, BLUE, GREEN, GREY = "#D55E00", "#0072B2", "#009E73", "#707070"


def save(figure, name):
    """On white, so that it can be read on a dark page too."""
    figure.savefig(HERE / name, metadata={"Date": None}, facecolor="white")


def row_pair():
    x = np.array([-0.4, 1.7, 0.9, -1.1, 0.6])
    terms = np.exp(x - x.max())
    figure, (bars, stack) = pyplot.subplots(1, 2, figsize=(8, 3), width_ratios=[3, 1], layout="constrained")
    largest = terms.argmax()
    colours = [GREY if c == largest else OURS for c in range(5)]
    bars.bar(range(5), terms, color=colours, width=0.7)
    for c, term in enumerate(terms):
        bars.text(c, term + 0.02, f"{term:.3f}" if c != largest else "1, left out", ha="center")
    names = [f"class {c}\nx = {v:g}" for c, v in enumerate(x)]
    bars.set(xticks=range(5), xticklabels=names, ylim=(0, 1.15), yticks=[0, 0.5, 1])
    bars.set_title(r"$e^{x_j - m}$, with $m$ the largest logit", loc="left")
    bottom = 0.0
    for c in np.argsort(terms)[:-1]:
        stack.bar(0, terms[c], bottom=bottom, color=OURS, edgecolor="white", width=0.5)
        bottom += terms[c]
    stack.set(xticks=[0], xticklabels=[f"r = {bottom:.3f}\n"], xlim=(-0.6, 0.6), ylim=(0, 1.15), yticks=[])
    stack.spines["left"].set_visible(False)
    stack.set_title("all others", loc="center")
    figure.supxlabel(r"loss of class $y$  =  $(m - x_y)\ +\ \log(1 + r)$: two terms $\geq$ 0, nothing cancels", fontsize=12)
    save(figure, "row_pair.svg")


def correct_digits(got, exact):
    error = abs(mpmath.mpf(float(got)) - exact) / exact
    return 17.0 if error == 0 else float(min(17, max(0, -mpmath.log10(error))))


def digits():
    """The worst of some rows of three classes whose losses are near each power of ten."""
    rng = np.random.default_rng(0)
    exponents = np.linspace(0, -30, 61)
    ways = {
        "xentc.cross_entropy(x, y)": (lambda x: xentc.cross_entropy(x[None], [0]), OURS, "o"),
        "-log_softmax(x)[y], SciPy": (lambda x: -log_softmax(x)[0], BLUE, "s"),
        "logsumexp(x) - x[y], SciPy": (lambda x: logsumexp(x) - x[0], GREEN, "^"),
    }
    worst = {name: [] for name in ways}
    with mpmath.workdps(80):
        for exponent in exponents:
            least = dict.fromkeys(ways, 17.0)
            for _ in range(40):
                top = rng.uniform(1, 5)
                x = np.array([top, *(top + np.log(10) * exponent - rng.uniform(0, 1, 2))])
                terms = [mpmath.exp(mpmath.mpf(v) - mpmath.mpf(x[0])) for v in x[1:]]
                exact = mpmath.log1p(sum(terms))
                for name, (function, *_) in ways.items():
                    least[name] = min(least[name], correct_digits(function(x), exact))
            for name, value in least.items():
                worst[name].append(value)
    figure, axes = pyplot.subplots(figsize=(8, 2.6), layout="constrained")
    for name, (_, colour, marker) in ways.items():
        axes.plot(10.0**exponents, worst[name], color=colour, marker=marker, markersize=4, label=name)
    axes.set(xscale="log", xlim=(3, 1e-31), ylim=(-0.5, 18), yticks=[0, 4, 8, 12, 16],
             xlabel="loss of a row that the model gets right, in float64")
    axes.set_title("Correct digits (the worst of 40 rows)", loc="left")
    axes.grid(axis="y", color="#dddddd")
    axes.legend(loc="center right", frameon=False)
    save(figure, "digits.svg")


def exact_sum():
    """Floats as bars of 53 bits at their places, above the cells of the sum."""
    losses = [3.7, 0.0021, 41.5, 4.2e-18]
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    low, high = -128, 32
    for i, loss in enumerate(losses):
        first = np.floor(np.log2(loss))
        axes.barh(i, -53, left=first + 1, height=0.55, color=OURS, alpha=0.85)
        axes.text(first + 2.5, i, f"loss {loss:g}", ha="right", va="center")
    sum_at = len(losses) + 0.6
    for cell in range(low, high, 32):
        axes.add_patch(pyplot.Rectangle((cell, sum_at - 0.4), 32, 0.8, facecolor="#dbe9f4", edgecolor=BLUE))
    axes.text(high + 2, sum_at, "exact sum", ha="right", va="center", weight="bold")
    axes.text(low - 2, sum_at, "...", va="center")
    rounded = len(losses) + 1.9
    top = np.floor(np.log2(sum(losses)))
    axes.barh(rounded, -53, left=top + 1, height=0.55, color=GREY)
    axes.text(top + 2.5, rounded, "rounded once", ha="right", va="center")
    axes.set(xlim=(high + 24, low - 12), ylim=(rounded + 0.6, -0.6), yticks=[], xticks=range(low, high + 1, 32))
    axes.xaxis.set_major_formatter(lambda x, _: f"$2^{{{x:g}}}$")
    axes.spines["left"].set_visible(False)
    axes.set_title("Each loss enters with all its 53 bits, at the place of its exponent", loc="left")
    save(figure, "exact_sum.svg")


if __name__ == "__main__":
    row_pair()
    digits()
    exact_sum()
