"""The emulator's own rules: kernels that keep them run, kernels that break one are named (rules*.cpp)."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ascend_kernels.emulator.library import CORE, KERNELS, compile_command, link, run


@pytest.fixture(scope="module")
def kernels(emulator_objects, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    sources = sorted(Path(__file__).parent.glob("rules*.cpp"))
    rules = [folder / f"{source.stem}.o" for source in sources]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda s, o: run([*compile_command(KERNELS, s, o), "-O0"]), sources, rules))
    own = [o for o in emulator_objects if o.stem in CORE]
    library = ctypes.CDLL(str(link([*own, *rules], folder / "rules.so")))
    library.run_kernel.restype = library.list_kernels.restype = ctypes.c_char_p
    return library


def run_kernel(kernels, name, gm, half_gm) -> str:
    pointers = (ctypes.c_void_p(t.ctypes.data) for t in (gm, half_gm))
    return kernels.run_kernel(name.encode(), *pointers).decode()


def test_every_broken_rule_is_named(kernels):
    lines = kernels.list_kernels().decode().split("\n")
    messages = dict(zip(lines[0:-1:2], lines[1::2], strict=True))
    broken = {name: message for name, message in messages.items() if message}
    assert len(broken) >= 60
    for name, message in broken.items():
        said = run_kernel(kernels, name, np.ones(4096, np.float32), np.ones(4096, np.float16))
        assert message in said, f"{name}: {said}"


def test_vector_epilogue(kernels):
    gm = np.linspace(-4, 4, 4096, dtype=np.float32)
    x = gm[:2048].copy()
    assert run_kernel(kernels, "vector", gm, np.ones(4096, np.float16)) == ""
    np.testing.assert_allclose(gm[2048:], x / (1 + np.exp(-1.702 * x)), rtol=1e-5)


def test_vector_cast_and_partial_store(kernels):
    gm = np.zeros(4096, np.float32)
    assert run_kernel(kernels, "vector_cast", gm, np.ones(4096, np.float16)) == ""
    assert gm[:6].tolist() == [2.5] * 5 + [0]


def test_the_padding_of_a_row_is_not_a_number(kernels):
    gm = np.arange(4096, dtype=np.float32)
    assert run_kernel(kernels, "copy_padding", gm, np.ones(4096, np.float16)) == ""
    rows = gm[2048:2064].reshape(2, 8)
    assert rows[:, :3].tolist() == [[1, 2, 3], [4, 5, 6]] and np.isnan(rows[:, 3:]).all()


def test_cores_hand_over_through_the_workspace(kernels):
    half_gm = np.random.default_rng(0).integers(-3, 4, 4096).astype(np.float16)
    gm = np.zeros(4096, np.float32)
    assert run_kernel(kernels, "hand_over", gm, half_gm) == ""
    a = half_gm[:256].reshape(16, 16).astype(np.float64)
    assert np.array_equal(gm[:256].reshape(16, 16), a @ a.T)


def test_float16_rounds_as_numpy(kernels):
    """Normal, subnormal and halfway values; beyond 65504 the chip saturates."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(2048).astype(np.float32) * np.float32(2.0) ** rng.integers(-28, 15, 2048)
    values[:4] = [2048 + 1, 2048 + 3, 2.0**-25, 3 * 2.0**-25]  # ties
    gm = np.concatenate([values, np.zeros(2048)]).astype(np.float32)
    assert run_kernel(kernels, "round_trip", gm, np.ones(4096, np.float16)) == ""
    assert np.array_equal(gm[2048:], gm[:2048].clip(-65504, 65504).astype(np.float16).astype(np.float32))


def test_product(kernels):
    half_gm = np.random.default_rng(0).integers(-3, 4, 4096).astype(np.float16)
    gm = np.zeros(4096, np.float32)
    assert run_kernel(kernels, "product", gm, half_gm) == ""
    a = half_gm[:256].reshape(16, 16).astype(np.float64)
    assert np.array_equal(gm[:256].reshape(16, 16), a @ a.T)  # right fractals were not transposed
