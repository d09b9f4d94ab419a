"""Running an operator on the emulator with real data, and the float64 golden.

Letters: N images, C channels, H x W plane, H' x W' output plane. 16-bit tensors travel as uint16 bit patterns.
"""

import numpy as np

from ascend_kernels.emulator.library import Emulator, launch_shape

LIMITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def launch(emulator: Emulator, operator, dtype, shape, cores, inputs) -> tuple[list[np.ndarray], dict]:
    """Runs on real data; inputs are uint16 arrays. Outputs are uint16 (y, dx) and float32 (da, db)."""
    n, c, h, w, ho, wo = shape
    if operator == "neo_cell_grad":
        splits = emulator.report(operator, dtype, shape, cores)["tiling"]["splits"]
        outputs = [
            np.empty((n, c, h, w), np.uint16),
            np.empty((splits, c, ho, h), np.float32),
            np.empty((splits, c, w, wo), np.float32),
        ]
    else:
        outputs = [np.empty((n, c, ho, wo), np.uint16)]
    report = emulator.report(operator, dtype, shape, cores, [*inputs, *outputs])
    return outputs, report


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Rounds to 16 bits, nearest even; returns bit patterns."""
    if dtype == "float16":
        return np.ascontiguousarray(values.astype(np.float16)).view(np.uint16)
    bits = np.ascontiguousarray(values.astype(np.float32)).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def decode(bits: np.ndarray, dtype: str) -> np.ndarray:
    """Bit patterns to float64; float32 arrays (da, db) pass."""
    if bits.dtype == np.float32:
        return bits.astype(np.float64)
    if dtype == "float16":
        return bits.view(np.float16).astype(np.float64)
    with np.errstate(invalid="ignore"):  # signalling NaN
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def draw(shape, dtype: str, seed: int = 0, integers: bool = False) -> dict[str, np.ndarray]:
    """x (N,C,H,W), a (C,H',H), b (C,W,W'), dy (N,C,H',W') as bit patterns; integers are -2..2, exact in every sum."""
    n, c, h, w, ho, wo = shape
    rng = np.random.default_rng(seed)
    sizes = {"x": (n, c, h, w), "a": (c, ho, h), "b": (c, w, wo), "dy": (n, c, ho, wo)}
    scale = {"x": 1, "a": h**-0.5, "b": w**-0.5, "dy": 1}
    tensors = {}
    for name, size in sizes.items():
        # few non-zero weights keep integer sums within the 8 bits of a bfloat16 fraction
        keep = rng.random(size) < (3 / size[-1] if name in "ab" else 1)
        values = rng.integers(-1, 2, size) * keep if integers else rng.standard_normal(size) * scale[name]
        tensors[name] = encode(values, dtype)
    return tensors


def golden(operator: str, tensors: dict, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs in float64, each with the same products of absolute values: the scale of the error that is allowed."""
    x, a, b, dy = (decode(tensors[name], dtype) for name in ("x", "a", "b", "dy"))
    at, bt = a.swapaxes(1, 2), b.swapaxes(1, 2)
    if operator == "neo_cell_grad":

        def gradients(x, a, b, dy, at, bt):
            t2, t1 = dy @ bt, a @ x
            return at @ t2, (t2 @ x.swapaxes(2, 3)).sum(0), (t1.swapaxes(2, 3) @ dy).sum(0)

        return list(zip(gradients(x, a, b, dy, at, bt), gradients(*map(np.abs, (x, a, b, dy, at, bt))), strict=True))
    return [(a @ x @ b, np.abs(a) @ np.abs(x) @ np.abs(b))]


def kron(tensors: dict, dtype: str) -> np.ndarray:
    """K (C, H'*W', H*W) = kron(A, B^T) as bit patterns."""
    a, b = decode(tensors["a"], dtype), decode(tensors["b"], dtype)
    k = np.einsum("coi,cuv->covui", a, b).transpose(0, 1, 2, 4, 3)
    c, ho, wo, h, w = k.shape
    return encode(k.reshape(c, ho * wo, h * w), dtype)


def inputs_of(operator: str, tensors: dict, dtype: str) -> list[np.ndarray]:
    if operator == "neo_cell_kron":
        return [tensors["x"], kron(tensors, dtype)]
    return [tensors[name] for name in (("x", "a", "b", "dy") if operator == "neo_cell_grad" else ("x", "a", "b"))]


def solve(emulator: Emulator, operator: str, dtype: str, shape, cores: int, tensors: dict):
    """Runs an operator on drawn tensors; returns the decoded outputs (da, db summed over the splits) and the report."""
    outputs, report = launch(
        emulator, operator, dtype, launch_shape(operator, shape), cores, inputs_of(operator, tensors, dtype)
    )
    values = [decode(o, dtype) for o in outputs]
    if operator == "neo_cell_grad":
        values[1:] = [v.sum(0) for v in values[1:]]
    return values, report, outputs


def worst_error(values, expected) -> float:
    """Largest |error| / (|A||X||B|) over all outputs; NaN counts as infinite."""
    worst = 0.0
    for value, (truth, scale) in zip(values, expected, strict=True):
        error = np.abs(value.reshape(truth.shape) - truth) / np.maximum(scale, 1e-30)
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max()))
    return worst
