"""GELU and its derivative in the epilogues, at every finite 16-bit number."""

import numpy as np
import pytest

from tests.ascend_kernels.emulated import LIMITS, decode, encode
from tests.ascend_kernels.pointwise import gelu, gelu_slope, solve

CHANNELS, PIXELS = 16, 4096
SHAPE = (1, CHANNELS, CHANNELS, PIXELS)
FRACTION_BITS = {"float16": 10, "bfloat16": 7}
SMALLEST = {"float16": 2.0**-14, "bfloat16": 2.0**-126}  # normal numbers


def every_number(dtype) -> np.ndarray:
    """All bit patterns with one instead of each infinity and NaN, as a tensor x."""
    bits = np.arange(65536, dtype=np.uint16)
    bits[~np.isfinite(decode(bits, dtype))] = encode(np.ones(1), dtype)[0]
    return bits.reshape(1, CHANNELS, PIXELS)


def run(emulator, operator, dtype, x, z=None):
    """The operator behind the product with an identity matrix, without bias."""
    tensors = {"x": x, "dy": x, "w": encode(np.eye(CHANNELS), dtype), "b": encode(np.zeros(CHANNELS), dtype), "z": z}
    values, report, _ = solve(emulator, operator, dtype, SHAPE, 24, tensors)
    assert report["violations"] == []
    return values


def unit_in_the_last_place(values, dtype) -> np.ndarray:
    exponent = np.floor(np.log2(np.maximum(np.abs(values), SMALLEST[dtype])))
    return 2.0 ** (exponent - FRACTION_BITS[dtype])


@pytest.mark.parametrize("operator", ["pointwise_gelu", "pointwise_gelu_kept"])
@pytest.mark.parametrize("dtype", FRACTION_BITS)
def test_gelu_is_within_two_units_in_the_last_place(emulator, operator, dtype):
    bits = every_number(dtype)
    x = decode(bits, dtype)
    truth = decode(encode(gelu(x), dtype), dtype)
    value, *kept = run(emulator, operator, dtype, bits)
    error = np.abs(value - truth) / unit_in_the_last_place(truth, dtype)
    assert error.max() <= 2, x.flat[error.argmax()]
    assert all(np.array_equal(z, x) for z in kept)


@pytest.mark.parametrize("dtype", FRACTION_BITS)
def test_slope_of_gelu(emulator, dtype):
    """Half a unit for the rounding, and a quarter of the operator's limit for the polynomial."""
    bits = every_number(dtype)
    (value,) = run(emulator, "pointwise_gelu_grad", dtype, encode(np.ones(bits.shape), dtype), bits)
    truth = gelu_slope(decode(bits, dtype).clip(-30, 30))  # 0 and 1 beyond
    allowed = LIMITS[dtype] / 4 + unit_in_the_last_place(truth, dtype) / 2
    assert (np.abs(value - truth) / allowed).max() <= 1
