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
TESTS = KERNEL / "tests"
# What has no variants: most of the driver's checks do not look into the kernels, and nor do these parts of them.
COMMON = ["driver", "check_neo_cell", "check_mlp", "check_gated", "check_update", "check_batch_norm", "check_threads"]
WITHOUT_VECTORS = ["parallel", "plan"]
# All parts of a driver; the first ones' copies of inline functions are taken.
PRODUCTS = ["mlp", "pointwise", "pack", "machine"]
VECTORS = [*PRODUCTS, "neo_cell", "batch_norm", "update", "arguments"]
CHECKS = ["check_gelu", "check_interruptions"]
DRIVER = [*VECTORS, *CHECKS, *WITHOUT_VECTORS, *COMMON]
THREADS = ["neo_cell", "arguments", *WITHOUT_VECTORS, "check_threads", "threads"]
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
def objects(tmp_path_factory):
    """Compiles parts of the driver with some flags, each once for all tests."""
    folder, numbers = tmp_path_factory.mktemp("objects"), {}

    def compile_all(parts, flags):
        found = []
        for part in parts:
            used = ["-O1"] if part in (*COMMON, "threads") else flags
            output = folder / f"{numbers.setdefault(tuple(used), len(numbers))}-{part}.o"
            if not output.exists():
                source = f"{part}.cpp"
                compiler(*used, "-c", (KERNEL if (KERNEL / source).exists() else TESTS) / source, "-o", output)
            found.append(output)
        return found

    return compile_all


@pytest.fixture
def link(tmp_path):
    def link_driver(objects, *flags):
        compiler(*flags, *objects, "-o", tmp_path / "driver")
        return tmp_path / "driver"

    return link_driver


def run(driver, *command, **variables):
    done = subprocess.run([driver, *command], capture_output=True, text=True, env={**os.environ, **variables})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_driver_has_all_parts():
    sources = {path.stem for path in [*KERNEL.glob("*.cpp"), *TESTS.glob("*.cpp")]}
    assert sources == {*DRIVER, *THREADS}


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants())
def test_driver_agrees_with_double_precision(variant, objects, link):
    flags = variants()[variant]
    if variant == "sanitizers":
        driver = link(objects(DRIVER, flags), *flags)
    else:
        driver = link([*objects([*VECTORS, *CHECKS], flags), *objects([*WITHOUT_VECTORS, *COMMON], ["-O1"])])
    output = run(driver, "check")
    assert_complete(output)
    run(driver, "interruptions")
    if variant != "sanitizers":
        assert output.startswith(f"{variant}, bfloat16: rounded\n")


def assert_complete(output):
    assert_products_complete(output)
    assert "388 cells" in output and "updates, largest error" in output and "30 batch norms" in output


def assert_products_complete(output):
    assert "40 mlps" in output and "28 pointwise layers" in output and "28 gated layers" in output


@pytest.mark.slow
@pytest.mark.skipif("avx512_bf16" not in machine_flags(), reason="a machine with AMX has these instructions, too")
def test_tiles_of_an_emulated_amx_and_a_system_that_refuses_them(objects, link):
    """Products alone: in nothing else is AMX used."""
    products = objects(PRODUCTS, ["-O1", "-march=native", "-DNEONEXT_EMULATED_AMX"])
    others = [part for part in [*VECTORS, *CHECKS] if part not in PRODUCTS]
    driver = link([*products, *objects(others, variants()["avx512"]), *objects([*WITHOUT_VECTORS, *COMMON], ["-O1"])])
    for output, name in (
        (run(driver, "products"), "amx"),
        (run(driver, "products", EMULATED_AMX_REFUSED="1"), "avx512_bf16"),
    ):
        assert_products_complete(output)
        assert output.startswith(f"avx512, bfloat16: {name}\n")


@pytest.mark.slow
def test_threads_do_not_race(objects, link):
    flags = [*DEBUG, "-fsanitize=thread"]
    run(link(objects(THREADS, flags), *flags))
