#!/usr/bin/env bash
# The tests with AddressSanitizer and UndefinedBehaviorSanitizer (gcc's), one instruction set after the other.
#
#     tools/sanitize.sh [SET...] [-- PYTEST_ARGUMENT...]        no SET: all that this processor can run
#
# Run it where the tests run; builds are made in temporary folders.
set -euo pipefail
cd "$(dirname "$0")/.."

sets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    sets+=("$1")
    shift
done
shift $(($# > 0))
if [ ${#sets[@]} = 0 ]; then
    mapfile -t sets < <(python -P -c "import xentc; print(*xentc._core.build_info()['instruction_sets']['usable'], sep='\n')")
fi

# What needs a small stack, which checked code does not fit in, or an allocator that fails, which checked code does not survive.
deselected=(small_stack)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for set in "${sets[@]}"; do
    # A fresh environment that finds our packages, but not an editable xentc among them: path files of others are not read.
    python -m venv --without-pip "$folder/$set"
    python -P -c 'import sys; print(*filter(None, sys.path), sep="\n")' > "$(echo "$folder/$set"/lib/python*/site-packages)/outer.pth"
    # Kernels that are inlined whole would take gcc a quarter of an hour.
    python -m pip --python "$folder/$set/bin/python" install --quiet --no-deps --no-build-isolation . \
        -Csetup-args=-Dinstruction_sets="$set" -Csetup-args=-Db_sanitize=address,undefined -Csetup-args=-Db_lundef=false \
        -Csetup-args=-Doptimization=1 -Csetup-args=-Ddebug=true -Csetup-args=-Dc_args=-Dalways_inline=unused
    echo "--- $set, $SECONDS s"
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=halt_on_error=1:detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        "$folder/$set/bin/python" -P -m pytest -p no:cacheprovider -k "not (${deselected[*]})" "$@"
    echo "--- $set is clean, $SECONDS s"
done
