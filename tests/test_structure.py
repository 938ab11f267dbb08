"""The order of the folders in src, and that each header of the C layer can be read and compiled by itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import xentc

SOURCES = Path(__file__).parents[1] / "src"

# Each may use itself and those before it.
ORDER = ["simd", "memory", "sums", "targets", "softmax", "losses", "dispatch", "runtime", "cython"]

HEADERS = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.glob("*/*.h"))
SETS = {
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "portable": ["-DPORTABLE"],
}
COMPILER = shutil.which("gcc") or shutil.which("cc")


def includes(path):
    """The files of the project that one includes, names or instantiates."""
    return re.findall(r'^\s*(?:#include|#define TEMPLATE|cdef extern from) "([^"]+)"', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_uses_only_those_before_it(folder):
    files = [path for path in (SOURCES / folder).iterdir() if path.suffix in (".h", ".c", ".pxd")]
    assert files or folder == "cython"
    for path in files:
        for name in includes(path):
            assert (SOURCES / name).exists(), f"{path.name} names {name} by another path than that from src"
            assert ORDER.index(name.split("/")[0]) <= ORDER.index(folder), f"{path.name} includes {name}"


def test_every_folder_has_its_place():
    assert sorted(path.name for path in SOURCES.iterdir() if path.is_dir()) == sorted(ORDER)


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", SETS)
def test_headers_stand_alone(name):
    machine = subprocess.run([COMPILER, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if name != "portable" and not machine.startswith("x86_64"):
        pytest.skip(f"the compiler is for {machine.strip()}")
    flags = ["-std=c11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", *SETS[name]]
    flags += [f"-I{SOURCES}", f"-DINSTRUCTION_SET={name}"]
    for header in HEADERS:
        alone = subprocess.run(
            [COMPILER, *flags, "-x", "c", "-"], input=f'#include "{header}"\n', capture_output=True, text=True, check=False
        )
        if header.endswith(".template.h") or header == "simd/instantiate.h":
            assert "#error" in alone.stderr, f"{header} says nothing of its parameters"
        else:
            assert alone.returncode == 0, f"{header}: {alone.stderr[:2000]}"


def test_public_names():
    assert set(xentc.__all__) <= set(dir(xentc))
