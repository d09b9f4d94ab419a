"""The emulated operators by the calling convention of MindSpore's ops.Custom(func_type="aot")."""

import ctypes

import numpy as np
import pytest

from tests.ascend_kernels.emulated import LIMITS, decode, draw, golden, kron, worst_error


def call(emulator, name: str, dtype: str, tensors: list[np.ndarray]) -> int:
    """int f(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream, void *extra)"""
    count = len(tensors)
    params = (ctypes.c_void_p * count)(*(t.ctypes.data for t in tensors))
    ranks = (ctypes.c_int * count)(*(t.ndim for t in tensors))
    sizes = [(ctypes.c_int64 * t.ndim)(*t.shape) for t in tensors]
    shapes = (ctypes.POINTER(ctypes.c_int64) * count)(*(ctypes.cast(s, ctypes.POINTER(ctypes.c_int64)) for s in sizes))
    dtypes = (ctypes.c_char_p * count)(*(b"float32" if t.dtype == np.float32 else dtype.encode() for t in tensors))
    return emulator.library[name](count, params, ranks, shapes, dtypes, None, None)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(3, 30, 14, 14, 14, 14), (4, 5, 28, 28, 14, 14)])
def test_forward_and_gradient(emulator, shape, dtype):
    n, c, h, w, ho, wo = shape
    t = draw(shape, dtype)
    y = np.zeros((n, c, ho, wo), np.uint16)
    assert call(emulator, "NeoCell", dtype, [t["x"], t["a"], t["b"], y]) == 0
    assert worst_error([decode(y, dtype)], golden("neo_cell", t, dtype)) <= LIMITS[dtype]

    splits = emulator.library.neo_cell_grad_splits(n, c)
    dx = np.zeros_like(t["x"])
    da, db = np.zeros((splits, c, ho, h), np.float32), np.zeros((splits, c, w, wo), np.float32)
    assert call(emulator, "NeoCellGrad", dtype, [t["x"], t["a"], t["b"], t["dy"], dx, da, db]) == 0
    assert worst_error([decode(dx, dtype), da.sum(0), db.sum(0)], golden("neo_cell_grad", t, dtype)) <= LIMITS[dtype]


@pytest.mark.parametrize("dtype", LIMITS)
def test_kronecker(emulator, dtype):
    n, c, h, w, ho, wo = shape = (20, 24, 7, 7, 4, 7)
    t = draw(shape, dtype)
    y = np.zeros((n, c, ho * wo), np.uint16)
    assert call(emulator, "NeoCellKron", dtype, [t["x"].reshape(n, c, h * w), kron(t, dtype), y]) == 0
    # kron(A, B^T) is rounded to 16 bits once more: that error comes on top of the kernel's
    assert worst_error([decode(y, dtype)], golden("neo_cell", t, dtype)) <= LIMITS[dtype]


def test_bad_calls_are_refused_in_one_line(emulator, capfd):
    t = draw((2, 24, 14, 14, 14, 14), "float16")
    y = np.zeros_like(t["x"])
    cases = [
        ("float32", [t["x"], t["a"], t["b"], y], "float16 or bfloat16, given float32"),
        ("float16", [t["x"], t["a"], t["b"]], "expects 4 tensors, given 3"),
        ("float16", [t["x"], t["a"][:3].copy(), t["b"], y], "as many matrices as x has channels"),
        ("float16", [t["x"], t["a"][..., :9].copy(), t["b"], y], "as many columns"),
        ("float16", [t["x"], t["a"], t["b"][:, :9].copy(), y], "as many rows"),
        ("float16", [t["x"][:, :, :1].copy(), t["a"][..., :1].copy(), t["b"], y], "one pixel wide"),
    ]
    for dtype, tensors, reason in cases:
        assert call(emulator, "NeoCell", dtype, tensors) != 0
        error = capfd.readouterr().err
        assert reason in error and error.count("\n") == 1
