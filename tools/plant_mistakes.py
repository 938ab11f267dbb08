"""Plants one-line mistakes in a copy of src/, one at a time, and says which of them the tests do not see.

    python tools/plant_mistakes.py                     all of tools/mistakes.toml, an hour or two
    python tools/plant_mistakes.py NAME [NAME ...]     some
    python tools/plant_mistakes.py --check             only that each text is still there, once

A mistake is caught when a test fails, crashes or hangs. Each is built for one instruction set, hardly optimised, and runs
first the test files that it names and then all others, until the first failure. Run it where the tests run, with meson,
ninja and cython.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 900  # seconds a mistake: beyond, it has made something hang


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mistakes, by name; all where none is given")
    parser.add_argument("--check", action="store_true", help="build and run nothing")
    parser.add_argument("--set", default="avx2", help="the instruction set (%(default)s)")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", help="a folder of tests (this checkout's)")
    parser.add_argument("--named-only", action="store_true", help="run only the test files that a mistake names")
    options = parser.parse_args()
    mistakes = tomllib.loads((ROOT / "tools" / "mistakes.toml").read_text())["mistake"]
    if len({m["name"] for m in mistakes}) != len(mistakes):
        sys.exit("two mistakes have the same name")
    stale = [m["name"] for m in mistakes if not place_of(m)]
    if stale:
        sys.exit(f"not once in the file any more: {', '.join(stale)}")
    unknown = set(options.names) - {m["name"] for m in mistakes}
    if unknown:
        parser.error(f"no mistake is named {', '.join(unknown)}")
    if options.check:
        files = {place_of(m) for m in mistakes}
        print(f"{len(mistakes)} mistakes in {len(files)} files, each in its place")
        return
    chosen = [m for m in mistakes if not options.names or m["name"] in options.names]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        bench.build()
        if bench.failure([]):
            sys.exit(f"the tests fail without any mistake:\n{bench.output[-3000:]}")
        survivors = [m for m in chosen if not bench.catches(m)]
    surprising = [m for m in survivors if "survives" not in m]
    print(f"\n{len(chosen)} planted, {len(chosen) - len(survivors)} caught, {len(survivors)} survived")
    for m in survivors:
        print(f"  {m['name']}: {m.get('survives', 'NOT EXPECTED: ' + m['why'])}")
    sys.exit(bool(surprising))


def place_of(mistake, root=ROOT):
    """The one file of that name that has the text once, relative to the checkout."""
    found = [path for path in (root / "src").glob(f"*/{mistake['file']}") if path.read_text().count(mistake["find"]) == 1]
    return found[0].relative_to(root) if len(found) == 1 else None


class Bench:
    """A copy of the checkout with a build of its own, in an environment that sees our packages but no other xentc."""

    def __init__(self, folder, options):
        self.options, self.output = options, ""
        self.copy, self.built, self.environment = folder / "copy", folder / "build", folder / "environment"
        shutil.copytree(ROOT, self.copy, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
        if options.tests != ROOT / "tests":
            shutil.rmtree(self.copy / "tests")
            shutil.copytree(options.tests, self.copy / "tests")
        # The ids of tests that fail without a mistake are left out, where the tests are older than the source.
        self.deselected = []
        self.run([sys.executable, "-m", "venv", "--without-pip", self.environment])
        (self.packages,) = self.environment.glob("lib/python*/site-packages")
        (self.packages / "outer.pth").write_text("\n".join(filter(None, sys.path[1:])))
        flags = [f"-Dinstruction_sets={options.set}", "-Doptimization=1", "-Dc_args=-Dalways_inline=unused"]
        self.run([sys.executable, "-m", "mesonbuild.mesonmain", "setup", self.built, self.copy, *flags])

    def run(self, command, **options):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
        self.output = done.stdout + done.stderr
        return done.returncode

    def build(self):
        """Whether it compiles."""
        if self.run(["ninja", "-C", self.built]):
            return False
        package = self.packages / "xentc"
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(self.copy / "xentc", package)
        for path in (self.built / "src").glob("_core*.so"):
            shutil.copy(path, package)
        return True

    def failure(self, first):
        """The test that fails, or what else went wrong; None if nothing does."""
        pytest = [self.environment / "bin" / "python", "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        named = [f"tests/{name}" for name in first if (self.copy / "tests" / name).exists()]
        others = [] if self.options.named_only and named else ["tests"]
        environment = {**os.environ, "XENTC_ISA": self.options.set}
        for files in filter(None, (named, others)):
            try:
                code = self.run(
                    [*pytest, *files, *(f"--deselect={name}" for name in self.deselected)],
                    cwd=self.copy, env=environment, timeout=LIMIT,
                )
            except subprocess.TimeoutExpired:
                return "hangs"
            if code < 0 or "Fatal Python error" in self.output:
                return "crashes"
            if code:
                failed = [line for line in self.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
                return failed[0].split(" - ")[0].partition(" ")[2] if failed else "an error"
        return None

    def catches(self, mistake):
        start, place = time.monotonic(), self.copy / place_of(mistake, self.copy)
        text = place.read_text()
        place.write_text(text.replace(mistake["find"], mistake["replace"]))
        by = self.failure(mistake.get("tests", [])) if self.build() else "the compiler"
        place.write_text(text)
        print(f"{mistake['name']:45}  {time.monotonic() - start:4.0f} s  {by or 'SURVIVES'}", flush=True)
        return by is not None


if __name__ == "__main__":
    main()
