"""The order of the folders in src, and that each header of the C layer can be read and compiled by itself."""

import re
import subprocess

import pytest
from depth import slow_but
from native import CROSS, SETS, SOURCES, command

import xentc

# Each may use itself and those before it.
ORDER = ["simd", "memory", "sums", "targets", "softmax", "losses", "runtime", "dispatch", "cython"]

EVERY_HEADER = sorted(path.relative_to(SOURCES).as_posix() for path in SOURCES.glob("*/*.h"))
TEMPLATES = [name for name in EVERY_HEADER if name.endswith(".template.h") or name == "simd/instantiate.h"]
HEADERS = [name for name in EVERY_HEADER if name not in TEMPLATES]


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


def read_alone(header, name, *flags):
    compiler = [*command(name, cross=name == "neon" and CROSS is not None), *flags, "-x", "c", "-"]
    return subprocess.run(compiler, input=f'#include "{header}"\n', capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", slow_but(["portable"], SETS))
def test_headers_stand_alone(name):
    for header in HEADERS:
        alone = read_alone(header, name, "-fsyntax-only", "-Wall", "-Wextra", "-Werror")
        assert alone.returncode == 0, f"{header}: {alone.stderr[:2000]}"


def test_templates_ask_for_their_parameters():
    for template in TEMPLATES:
        assert "#error" in read_alone(template, "portable", "-E").stderr, f"{template} says nothing of its parameters"


def test_public_names():
    assert set(xentc.__all__) <= set(dir(xentc))


def test_all_python_files_are_installed():
    package = SOURCES.parent / "xentc"
    installed = set(re.findall(r"'([\w./]+\.(?:pyi?|typed))'", (package / "meson.build").read_text()))
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".pyi", ".typed")]
    assert installed == {path.relative_to(package).as_posix() for path in files}
