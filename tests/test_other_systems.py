"""Every C file, as far as it can be compiled here for systems and by compilers that the other tests do not run on."""

import shutil
import subprocess
from pathlib import Path

import pytest
from native import FLAGS, SETS, SOURCES

MUSL = Path("/usr/include/x86_64-linux-musl")  # headers of standard C and POSIX, in the place of Apple's
APPLE = ["-nostdlibinc", "-isystem", str(MUSL)]
X86 = ["avx512", "avx2", "portable"]
ARM = ["neon", "portable"]
COMPILERS = {
    "clang": (["clang"], X86),
    "macOS, x86-64": (["clang", "--target=x86_64-apple-darwin", *APPLE], X86),
    "macOS, AArch64": (["clang", "--target=arm64-apple-darwin", *APPLE], ARM),
    "Windows, gcc": (["x86_64-w64-mingw32-gcc"], X86),
    "Windows, clang": (["clang", "--target=x86_64-w64-mingw32"], X86),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILERS)
def test_every_file(name):
    command, sets = COMPILERS[name]
    if shutil.which(command[0]) is None or (str(MUSL) in command and not MUSL.exists()):
        pytest.skip(f"needs {command[0]}" + " and the headers of musl" * (str(MUSL) in command))
    for instruction_set in sets:
        for path in SOURCES.glob("*/*.c"):
            done = subprocess.run(
                [*command, *FLAGS, *SETS[instruction_set], f"-DINSTRUCTION_SET={instruction_set}", "-fsyntax-only", "-Wall",
                 "-Wextra", "-Werror", str(path)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[:2000]
