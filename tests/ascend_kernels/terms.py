"""NeoCell of several terms on the emulator. A shape is (N, C, H, W, H', W', rank, width of the groups)."""

import numpy as np

from tests.ascend_kernels.emulated import decode, encode


def draw(shape, dtype: str, seed: int = 0, integers: bool = False) -> dict[str, np.ndarray]:
    """x (N,C,H,W), a (R,G,C,H',H), b (R,G,C,W,W') as bit patterns; integers are small and few, exact in every sum."""
    n, c, h, w, ho, wo, *terms = shape
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, size in {"x": (n, c, h, w), "a": (*terms, c, ho, h), "b": (*terms, c, w, wo)}.items():
        keep = rng.random(size) < (2 / size[-1] if name in "ab" else 1)
        scale = 1 if name == "x" else size[-1] ** -0.5
        values = rng.integers(-1, 2, size) * keep if integers else rng.standard_normal(size) * scale
        tensors[name] = encode(values, dtype)
    return tensors


def golden(operator: str, tensors: dict, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """y in float64, and the same sum of absolute values."""
    x, a, b = (decode(tensors[name], dtype) for name in ("x", "a", "b"))
    rank, width, channels = a.shape[:3]
    y, scale = 0.0, 0.0
    for o in np.ndindex(rank, width):
        source = [c // width * width + (c % width + o[1]) % width for c in range(channels)]
        y = y + a[o] @ x[:, source] @ b[o]
        scale = scale + np.abs(a[o]) @ np.abs(x[:, source]) @ np.abs(b[o])
    return [(y, scale)]


def solve(emulator, operator: str, dtype: str, shape, cores: int, tensors: dict):
    """Runs the operator; returns the decoded output, the report and the bits."""
    n, c, _, _, ho, wo, *_ = shape
    y = np.empty((n, c, ho, wo), np.uint16)
    report = emulator.report(operator, dtype, shape, cores, [tensors["x"], tensors["a"], tensors["b"], y])
    return [decode(y, dtype)], report, [y]
