"""The compiled CPU path by itself: its own driver against double precision, under sanitizers and on every vector width.

The driver checks forward and all gradients of 388 cells (planes of 1 x 1 to 56 x 56 and 9 x 301, k 1 to 33, shifts,
rectangles, float32 and float16), of MLPs and pointwise layers, with and without a gate (products in float32, and in
bfloat16 with at most twice the error of rounding alone), GELU, BatchNorm, and updates of weights, and that 1, 2 and 3
threads give the same bits.
"""

import os
import platform
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

KERNEL = ROOT / "ascend_kernels" / "cpu"
# Checks that look into the kernels, so that they have their variants.
VECTORS = [KERNEL / "tests" / f"check_{name}.cpp" for name in ("mlp", "gelu", "interruptions")]
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
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= machine_flags():
            found["avx512"] = ["-O2", "-march=x86-64-v4"]
    return found


def compiler(*arguments):
    warnings = ["-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
    command = ["g++", "-std=c++17", f"-I{KERNEL}", f"-I{KERNEL / 'tests'}", *warnings, "-pthread", *arguments]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    """The driver's own objects, which have no variants."""
    folder = tmp_path_factory.mktemp("checks")
    sources = [source for source in (KERNEL / "tests").glob("*.cpp") if source not in VECTORS]
    for source in sources:
        compiler("-O1", "-c", source, "-o", folder / f"{source.stem}.o")
    return [folder / f"{source.stem}.o" for source in sources]


@pytest.fixture
def build_driver(checks, tmp_path):
    """Of kernels with some flags; they stand first, so that of inline functions their copies are taken."""

    def build(flags):
        compiler(*flags, *sorted(KERNEL.glob("*.cpp")), *VECTORS, *checks, "-o", tmp_path / "driver")
        return tmp_path / "driver"

    return build


def run(driver, command, **variables):
    done = subprocess.run([str(driver), command], capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants())
def test_driver_agrees_with_double_precision(variant, build_driver):
    driver = build_driver(variants()[variant])
    output = run(driver, "check")
    assert_complete(output)
    run(driver, "interruptions")
    if variant != "sanitizers":
        assert output.startswith(f"{variant}, bfloat16: rounded\n")


def assert_complete(output):
    assert (
        "388 cells" in output
        and "40 mlps" in output
        and "28 pointwise layers" in output
        and "28 gated layers" in output
        and "updates, largest error" in output
        and "30 batch norms" in output
    )


@pytest.mark.slow
@pytest.mark.skipif("avx512_bf16" not in machine_flags(), reason="a machine with AMX has these instructions, too")
def test_tiles_of_an_emulated_amx_and_a_system_that_refuses_them(build_driver):
    driver = build_driver(["-O1", "-march=native", "-DNEONEXT_EMULATED_AMX"])
    for output, name in (
        (run(driver, "check"), "amx"),
        (run(driver, "check", EMULATED_AMX_REFUSED="1"), "avx512_bf16"),
    ):
        assert_complete(output)
        assert output.startswith(f"avx512, bfloat16: {name}\n")
    run(driver, "threads")


@pytest.mark.slow
def test_threads_do_not_race(build_driver):
    run(build_driver([*DEBUG, "-fsanitize=thread"]), "threads")
