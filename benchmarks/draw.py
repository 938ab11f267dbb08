"""Draw the figures that compare.py recorded in benchmarks/results, a file for each instruction set: the table in
docs/performance.md, pictures of all cells, benchmarks/speed_avx2.svg and so on, and of the cells in the table
benchmarks/speed_main.svg, which README.md shows.

    python benchmarks/draw.py            the table and speed_main.svg mostly from the first set in SETS
    python benchmarks/draw.py --check    fails where the page has another table, and writes nothing
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
SETS = {"avx2": "AVX2", "avx512": "AVX-512"}
BEGIN, END = "<!-- begin: written by benchmarks/draw.py -->\n", "<!-- end: written by benchmarks/draw.py -->\n"

# How each implementation is called, and drawn: colour (Okabe and Ito's, for all eyes) and marker.
LOOKS = {
    "xentc": ("xentc", "#D55E00", "o"),
    "sklearn": ("scikit-learn", "#0072B2", "s"),
    "torch": ("PyTorch", "#009E73", "^"),
    "jax": ("JAX", "#CC79A7", "D"),
    "scipy": ("SciPy", "#707070", "x"),
}
IN_TABLE = """
log_loss 100x3 float64
log_loss 1Mx2 float64
log_loss 1Mx10 float64
log_loss 1Mx10 float64 str-labels
log_loss 1Mx10 float64 object-labels
cross_entropy 100x3 float64
cross_entropy 1Mx10 float32
cross_entropy 20kx1000 float32
cross_entropy 20kx1000 float64
cross_entropy 4096x32000 float32
gradient 1Mx10 float32
gradient 20kx1000 float32
gradient 2048x32000 float32
linear 2048x512x32000 float32
linear_gradient 2048x512x32000 float32
linear_gradient 200kx50x10 float32
binary 10M float32
binary_gradient 10M float32
softmax 20kx1000 float32
""".strip().splitlines()


def circumstances(results):
    machine, count = results["machine"], results["threads"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"{machine}, {results['instruction_set']}, {count} thread{'s' * (count != 1)}", versions


def table(records):
    """Milliseconds of the first record, and of all of them what xentc is beside the fastest other one."""
    first = records[0]
    ratios = " | ".join(f"fastest other / xentc, {SETS[results['instruction_set']]}" for results in records)
    lines = [
        "| ms | floor | " + " | ".join(name for name, _, _ in LOOKS.values()) + f" | {ratios} |",
        "|---" * (len(LOOKS) + 2 + len(records)) + "|",
    ]
    for cell in in_table(first):
        times = first["milliseconds"][cell]
        task, *rest = cell.split()
        cells = [f"`{task}` {' '.join(rest)}"] + [digits(times[name]) if name in times else "" for name in ("floor", *LOOKS)]
        cells += [ratio(results["milliseconds"].get(cell, {})) for results in records]
        lines.append("| " + " | ".join(cells) + " |")
    parts = ["\n".join(lines)]
    for results in records:
        machine, versions = circumstances(results)
        parts.append(f"{machine}; {versions}; recorded {results['date']}.")
    return "\n\n".join(parts) + "\n"


def in_table(results):
    return [cell for cell in IN_TABLE if cell in results["milliseconds"]]


def ratio(times):
    others = [ms for name, ms in times.items() if name not in ("xentc", "floor")]
    return digits(min(others) / times["xentc"]) if others else ""


def digits(number):
    """Three significant digits at most, and no exponent."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def page_with(text, begin=BEGIN, end=END):
    """The page as it is, and with the text between these two lines."""
    old = PAGE.read_text()
    before, _, rest = old.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no lines {begin}and {end}")
    return old, before + begin + text + end + after


def plotter():
    """matplotlib's pyplot, for files that are the same each time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "xentc", "font.size": 9})
    from matplotlib import pyplot

    return pyplot


def picture(results, chosen, path):
    pyplot = plotter()
    # Where even the floor takes no time, a call costs what it costs to call: that is in the table.
    cells = [cell for cell in chosen if results["milliseconds"][cell]["floor"] > 0.05]
    figure, axes = pyplot.subplots(figsize=(9, 2 + 0.25 * len(cells)), layout="constrained", facecolor="white")
    y, ticks, points, last = 0, {}, {name: [] for name in LOOKS}, None
    for cell in cells:
        task, _, rest = cell.partition(" ")
        if task != last:
            y, last = y + 1.4, task
            axes.text(-0.007, y, task, transform=axes.get_yaxis_transform(), ha="right", va="center", weight="bold")
        y += 1
        ticks[y] = rest
        times = results["milliseconds"][cell]
        ratios = {name: times[name] / times["floor"] for name in LOOKS if name in times}
        axes.plot([1, max(ratios.values())], [y, y], color="#dddddd", linewidth=0.8, zorder=1)
        for name, ratio in ratios.items():
            points[name].append((ratio, y))
    for name, (label, colour, marker) in reversed(LOOKS.items()):  # ours on top
        axes.scatter(*zip(*points[name], strict=True), s=30, c=colour, marker=marker, label=label, zorder=2)
    axes.axvline(1, color="black", linewidth=1, label="floor")
    axes.set(xscale="log", ylim=(y + 0.8, 0.6), yticks=list(ticks), yticklabels=ticks.values())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    machine, versions = circumstances(results)
    axes.set_xlabel("time over the floor: reading the inputs once and writing the outputs once, with as many threads")
    figure.supxlabel(versions, fontsize=8)
    figure.suptitle(f"How many times as long as memory takes\n{machine}", fontsize=11)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.4, 1), ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    records = [json.loads(path.read_text()) for name in SETS if (path := HERE / "results" / f"{name}.json").exists()]
    old, new = page_with(table(records))
    if arguments.check:
        sys.exit(f"{PAGE} has another table than benchmarks/results: run benchmarks/draw.py" if old != new else 0)
    PAGE.write_text(new)
    for results in records:
        picture(results, results["milliseconds"], HERE / f"speed_{results['instruction_set']}.svg")
    picture(records[0], in_table(records[0]), HERE / "speed_main.svg")


if __name__ == "__main__":
    main()
