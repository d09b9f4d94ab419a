"""Running a pointwise operator on the emulator with real data, and the float64 golden.

A shape is (N, K, M, L): images, channels in, channels out (of an MLP: hidden ones), pixels. 16-bit tensors travel as
uint16 bit patterns.
"""

import math

import numpy as np

from ascend_kernels.emulator.library import Emulator
from tests.ascend_kernels.emulated import decode, encode

# operator: inputs, outputs
OPERATORS = {
    "pointwise": ("x w b", "y"),
    "pointwise_gelu": ("x w b", "y"),
    "pointwise_gelu_kept": ("x w b", "y z"),
    "pointwise_residual": ("x w b r s", "y"),
    "pointwise_input_grad": ("dy w", "dx"),
    "pointwise_gelu_grad": ("dy w z", "dz"),
    "pointwise_weight_grad": ("dy x", "dw db"),
    "pointwise_mlp": ("x w b v c t s", "u"),
}

_erfc = np.vectorize(math.erfc, otypes=[float])


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * _erfc(-x / math.sqrt(2))


def gelu_slope(x: np.ndarray) -> np.ndarray:
    return 0.5 * _erfc(-x / math.sqrt(2)) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def draw(shape, dtype: str, integers: bool = False) -> dict[str, np.ndarray]:
    """All tensors that an operator may take; s (N,) is float32. Integers are -1..1, and exact in every sum.

    u = t + s (v GELU(w x + b) + c) is the MLP.
    """
    n, k, m, pixels = shape
    rng = np.random.default_rng(0)
    like_x, like_y = (n, k, pixels), (n, m, pixels)
    sizes = {"x": like_x, "w": (m, k), "b": (m,), "r": like_y, "dy": like_y, "z": like_x}
    sizes |= {"v": (k, m), "c": (k,), "t": like_x}
    tensors = {}
    for name, size in sizes.items():
        values = rng.standard_normal(size) * {"w": k**-0.5, "v": m**-0.5}.get(name, 1)
        if integers:  # few non-zero weights keep sums within the 8 bits of a bfloat16 fraction
            values = rng.integers(-1, 2, size) * (rng.random(size) < (30 / k if name == "w" else 1))
        tensors[name] = encode(values, dtype)
    tensors["s"] = (rng.integers(0, 3, n) if integers else rng.random(n) * 2).astype(np.float32)
    return tensors


def golden(operator: str, tensors: dict, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs in float64, each with the scale of the error that is allowed: the products of absolute values."""
    t = {name: tensor if name == "s" else decode(tensor, dtype) for name, tensor in tensors.items()}

    def affine(t):
        return t["w"] @ t["x"] + t["b"][:, None]

    def both(f):
        return f(t), f({name: np.abs(tensor) for name, tensor in t.items()})

    z, scale = both(affine)
    if operator == "pointwise":
        return [(z, scale)]
    if operator.startswith("pointwise_gelu") and operator != "pointwise_gelu_grad":
        return [(gelu(z), scale), (z, scale)][: len(OPERATORS[operator][1].split())]
    if operator == "pointwise_residual":
        return [both(lambda t: t["r"] + t["s"][:, None, None] * affine(t))]
    if operator == "pointwise_mlp":
        hidden = {"x": gelu(z), "w": t["v"], "b": t["c"]}
        absolute = {"x": scale, "w": np.abs(t["v"]), "b": np.abs(t["c"])}
        s = t["s"][:, None, None]
        return [(t["t"] + s * affine(hidden), np.abs(t["t"]) + s * affine(absolute))]
    if operator == "pointwise_weight_grad":
        return [both(lambda t: np.einsum("nml,nkl->mk", t["dy"], t["x"])), both(lambda t: t["dy"].sum((0, 2)))]
    da, scale = both(lambda t: t["w"].T @ t["dy"])
    return [(da * gelu_slope(t["z"]), scale) if operator == "pointwise_gelu_grad" else (da, scale)]


def solve(emulator: Emulator, operator: str, dtype: str, shape, cores: int, tensors: dict):
    """Runs an operator on drawn tensors; returns decoded outputs (dw, db summed over parts), report, raw outputs."""
    n, k, m, pixels = shape
    sizes = {"y": (n, m, pixels), "z": (n, m, pixels), "dx": (n, k, pixels), "dz": (n, k, pixels)}
    sizes["u"] = (n, k, pixels)
    inputs, outputs = (names.split() for names in OPERATORS[operator])
    raw = [np.empty(sizes[name], np.uint16) for name in outputs if name in sizes]
    if operator == "pointwise_weight_grad":
        splits = int(emulator.report(operator, dtype, shape, cores)["tiling"]["splits"])
        raw = [np.empty((splits, m, k), np.float32), np.empty((splits, m), np.float32)]
    report = emulator.report(operator, dtype, shape, cores, [*(tensors[name] for name in inputs), *raw])
    values = [decode(tensor, dtype) for tensor in raw]
    if operator == "pointwise_weight_grad":
        values = [value.sum(0) for value in values]
    return values, report, raw
