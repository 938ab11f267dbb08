"""Prints what gcov counted in src: by folder and file, and the lines that were not reached. Used by tools/coverage.sh.

    python tools/coverage_of_c.py FILE        what gcov --json-format --stdout wrote

A line of a template, or of a header, counts where any of the units that it is compiled into reaches it. Cython's directives
name lines that are none, of its own code: blank ones, comments and such as lie behind the end of a file are left out.
"""

import itertools
import json
import sys
from collections import defaultdict
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src"


def main():
    counts = defaultdict(lambda: defaultdict(int))
    for unit in map(json.loads, Path(sys.argv[1]).read_text().splitlines()):
        for file in unit["files"]:
            path = Path(unit["current_working_directory"], file["file"]).resolve()
            if path.is_relative_to(SOURCES) and path.exists():
                text = path.read_text().splitlines()
                for line in file["lines"]:
                    number = line["line_number"]
                    if number <= len(text) and text[number - 1].strip() and not text[number - 1].lstrip().startswith("#"):
                        counts[path.relative_to(SOURCES)][number] += line["count"]
    for folder, files in itertools.groupby(sorted(counts), lambda path: path.parent):
        lines = {path: counts[path] for path in files}
        print(share(str(folder), itertools.chain.from_iterable(of.values() for of in lines.values())))
        for path, of in lines.items():
            print("  " + share(path.name, of.values()), *ranges(of))


def share(name, counts):
    reached = [count > 0 for count in counts]
    return f"{name:32} {len(reached):5} lines {100 * sum(reached) / len(reached):6.1f} %"


def ranges(counts):
    """Neighbouring lines that were not reached, blank ones and comments between them left out."""
    for reached, group in itertools.groupby(sorted(counts), lambda line: counts[line] > 0):
        if not reached:
            first, *others = group
            yield f"{first}-{others[-1]}" if others else str(first)


if __name__ == "__main__":
    main()
