"""The compiled CPU path by itself: its own driver against double precision, under sanitizers and on every vector width.

The driver checks forward and all gradients of 376 cells (planes of 1 x 1 to 56 x 56 and 9 x 301, k 1 to 33, shifts,
rectangles, float32 and float16), of MLPs, pointwise layers, and GELU, and that 1, 2 and 3 threads give the same bits.
"""

import platform
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

KERNEL = ROOT / "ascend_kernels" / "cpu"
DEBUG = ["-Og", "-g1", "-march=native"]  # lines for a sanitizer's report; more takes the compiler twice as long
SANITIZERS = [*DEBUG, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def machine_flags():
    """What the processor can do, as Linux lists it."""
    words = Path("/proc/cpuinfo").read_text().split()
    return set(words)


def variants():
    """Compiler flags by the vector width they select, as far as this processor runs them."""
    found = {"sanitizers": SANITIZERS}
    if platform.machine() == "x86_64":
        found["plain"] = ["-O2", "-march=x86-64"]
        if {"avx2", "fma", "f16c"} <= machine_flags():
            found["avx2"] = ["-O2", "-mavx2", "-mfma", "-mf16c"]
    return found


def build_driver(folder, flags):
    driver = folder / "driver"
    sources = sorted(str(path) for path in [*KERNEL.glob("*.cpp"), *(KERNEL / "tests").glob("*.cpp")])
    warnings = ["-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
    command = ["g++", "-std=c++17", f"-I{KERNEL}", *warnings, "-pthread"]
    built = subprocess.run([*command, *flags, *sources, "-o", str(driver)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr
    return driver


def run(driver, command):
    done = subprocess.run([str(driver), command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants())
def test_driver_agrees_with_double_precision(variant, tmp_path):
    output = run(build_driver(tmp_path, variants()[variant]), "check")
    assert "376 cells" in output and "16 mlps" in output and "12 pointwise layers" in output
    if variant in ("plain", "avx2"):
        assert output.startswith(variant)


@pytest.mark.slow
def test_threads_do_not_race(tmp_path):
    run(build_driver(tmp_path, [*DEBUG, "-fsanitize=thread"]), "threads")
