"""C of the tests, compiled as src/meson.build compiles the kernels of an instruction set."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"
COMPILER = shutil.which("gcc") or shutil.which("cc")
CROSS = shutil.which("aarch64-linux-gnu-gcc")
FLAGS = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", f"-I{SOURCES}"]

SETS = {
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "neon": [],
    "portable": ["-DPORTABLE"],
}
MACHINES = {"avx512": "x86_64", "avx2": "x86_64", "neon": "aarch64", "portable": ""}


def command(name, *, cross=False):
    """The compiler and its flags for an instruction set; the test is skipped where there is none."""
    compiler = CROSS if cross else COMPILER
    if compiler is None:
        pytest.skip("needs a C compiler")
    machine = subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout.strip()
    if not machine.startswith(MACHINES[name]):
        pytest.skip(f"the compiler is for {machine}")
    return [compiler, *FLAGS, *SETS[name], f"-DINSTRUCTION_SET={name}"]


def build(output, name, *arguments, cross=False):
    """Compiles and links."""
    done = subprocess.run([*command(name, cross=cross), *map(str, arguments), "-o", str(output), "-lm"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return output


def build_driver(output, name, shapes, *flags, cross=False):
    """kernel_driver.c with all kernels, for inputs of these numbers of rows and of classes."""
    inputs = ",".join(f"{{{n},{k}}}" for n, k in shapes)
    kernels = [path for path in SOURCES.glob("*/*.c") if path.parent.name != "runtime" and path.name != "choose.c"]
    driver = SOURCES.parent / "tests" / "kernel_driver.c"
    return build(output, name, *flags, f"-DINPUTS={inputs}", driver, *kernels, cross=cross)
