#!/usr/bin/env bash
# The lines that the tests reach: of xentc by coverage.py, of src by gcov, in C and in Cython, for one instruction set.
#
#     tools/coverage.sh [SET [PYTEST_ARGUMENT...]]        no SET: avx2; no arguments: all tests but the slow ones
#
# Run it where the tests run, with pytest-cov and gcc; the build is made in a temporary folder. Other Python processes that
# tests start count in src, but not in xentc.
set -euo pipefail
cd "$(dirname "$0")/.."

set=${1:-avx2}
shift $(($# > 0))
[ $# -gt 0 ] || set -- -m "not slow"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# A fresh environment that finds our packages, but not an editable xentc among them: path files of others are not read.
python -m venv --without-pip "$folder/venv"
python -P -c 'import sys; print(*filter(None, sys.path), sep="\n")' \
    > "$(echo "$folder"/venv/lib/python*/site-packages)/outer.pth"
# Functions that are inlined whole would have no lines; line directives make those of Cython its own.
CYTHON="cython --line-directives" python -m pip --python "$folder/venv/bin/python" install --quiet --no-deps \
    --no-build-isolation . -Cbuild-dir="$folder/build" -Csetup-args=-Dinstruction_sets="$set" \
    -Csetup-args=-Db_coverage=true -Csetup-args=-Doptimization=1 -Csetup-args=-Dc_args=-Dalways_inline=unused
printf '[run]\nsource_pkgs = xentc\n' > "$folder/coveragerc"
COVERAGE_FILE="$folder/coverage" XENTC_ISA=$set "$folder/venv/bin/python" -P -m pytest -q -n auto -p no:cacheprovider \
    --cov --cov-config="$folder/coveragerc" --cov-report=term-missing "$@" || echo "--- not all tests pass"
find "$folder/build" -name '*.gcda' -execdir gcov --json-format --stdout {} + > "$folder/lines.json"
python -P tools/coverage_of_c.py "$folder/lines.json"
