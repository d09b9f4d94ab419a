"""The AscendC kernels on the emulator: building the library, running an operator, float64 goldens.

Letters: N images, C channels, H x W plane, H' x W' output plane. 16-bit tensors travel as uint16 bit patterns.
"""

import ctypes
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

KERNELS = Path(__file__).resolve().parents[2] / "ascend_kernels"
EMULATOR_SOURCES = ("machine", "instructions", "timeline", "host", "library")
OPERATORS = ("neo_cell", "neo_cell_kron", "neo_cell_grad")
LIMITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def compile_command(root: Path, source: Path, output: Path) -> list[str]:
    """The command that compiles one C++ file of the emulator; `root` is the folder with common/ and op_kernel/."""
    folders = [root / "emulator", root / "common", root / "op_kernel"]
    return ["g++", "-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-Wall", "-Wextra", "-Werror",
            "-Wno-unused-parameter", *(f"-I{folder}" for folder in folders), "-c", str(source), "-o", str(output)]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def build_objects(folder: Path) -> list[Path]:
    """Compiles the emulator without the kernels: the part that every mutant shares."""
    outputs = [folder / f"{name}.o" for name in EMULATOR_SOURCES]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda o: run(compile_command(KERNELS, KERNELS / "emulator" / f"{o.stem}.cpp", o)), outputs))
    return outputs


def link(objects: list[Path], kernels: Path, library: Path) -> Path:
    run(["g++", "-shared", *map(str, objects), str(kernels), "-o", str(library)])
    return library


def build_library(folder: Path) -> Path:
    """The emulator with the kernels, or the library that NEO_CELL_LIBRARY names (check.sh: CANN's own headers)."""
    if ready := os.environ.get("NEO_CELL_LIBRARY"):
        return Path(ready)
    objects = build_objects(folder)
    kernels = folder / "kernels.o"
    run(compile_command(KERNELS, KERNELS / "emulator" / "kernels.cpp", kernels))
    return link(objects, kernels, folder / "libneocell.so")


class Emulator:
    """A loaded library; `launch` runs one operator and returns its outputs and the report."""

    def __init__(self, library: Path):
        self.library = ctypes.CDLL(str(library))
        self.library.neo_cell_emulate.restype = ctypes.c_char_p

    def report(self, operator, dtype, shape, cores, tensors=None, chip=None) -> dict:
        """Calls the library; shape is (N, C, H, W, H', W'), tensors are arrays in the operator's order or None (dry)."""
        pointers = None
        if tensors is not None:
            pointers = (ctypes.c_void_p * len(tensors))(*(t.ctypes.data for t in tensors))
        parameters = None if chip is None else (ctypes.c_double * 4)(*chip)
        text = self.library.neo_cell_emulate(
            operator.encode(), int(dtype == "bfloat16"), (ctypes.c_uint32 * 6)(*shape), cores, pointers, parameters)
        return json.loads(text)

    def launch(self, operator, dtype, shape, cores, inputs) -> tuple[list[np.ndarray], dict]:
        """Runs on real data; inputs are uint16 arrays. Outputs are uint16 (y, dx) and float32 (da, db)."""
        n, c, h, w, ho, wo = shape
        if operator == "neo_cell_grad":
            splits = self.report(operator, dtype, shape, cores)["tiling"]["splits"]
            outputs = [np.empty((n, c, h, w), np.uint16), np.empty((splits, c, ho, h), np.float32),
                       np.empty((splits, c, w, wo), np.float32)]
        else:
            outputs = [np.empty((n, c, ho, wo), np.uint16)]
        report = self.report(operator, dtype, shape, cores, [*inputs, *outputs])
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


def launch_shape(operator: str, shape) -> tuple[int, ...]:
    """The shape as the operator's tiling sees it: the Kronecker kernel takes planes as rows."""
    n, c, h, w, ho, wo = shape
    return (n, c, 1, h * w, 1, ho * wo) if operator == "neo_cell_kron" else tuple(shape)


def solve(emulator: Emulator, operator: str, dtype: str, shape, cores: int, tensors: dict):
    """Runs an operator on drawn tensors; returns the decoded outputs (da, db summed over the splits) and the report."""
    outputs, report = emulator.launch(operator, dtype, launch_shape(operator, shape), cores, inputs_of(operator, tensors, dtype))
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
