"""A short examination of one library of kernels, in a process of its own: a mutant may crash or hang.

Usage: python -m tests.ascend_kernels.battery LIBRARY. Prints the first failure, or "passed".
"""

import sys

import numpy as np

from ascend_kernels.emulator.library import Emulator, launch_shape
from tests.ascend_kernels.emulated import LIMITS, draw, golden, solve, worst_error

# operator, shape (N, C, H, W, H', W'), cores: one fractal and several, rectangles, partial tiles, few channels
RUNS = [
    ("neo_cell", (5, 6, 28, 28, 28, 28), 2),
    ("neo_cell", (35, 11, 14, 14, 14, 14), 2),
    ("neo_cell", (3, 7, 17, 23, 9, 40), 3),
    ("neo_cell", (8, 3, 56, 56, 28, 28), 2),
    ("neo_cell", (2, 3, 96, 96, 48, 48), 1),
    ("neo_cell", (9, 2, 14, 14, 14, 14), 7),
    ("neo_cell_kron", (37, 6, 7, 7, 7, 7), 2),
    ("neo_cell_kron", (520, 3, 7, 7, 5, 4), 2),
    ("neo_cell_grad", (11, 30, 14, 14, 7, 7), 2),
    ("neo_cell_grad", (5, 26, 7, 7, 7, 7), 24),
    ("neo_cell_grad", (6, 25, 28, 28, 14, 14), 2),
    ("neo_cell_grad", (7, 5, 20, 24, 24, 17), 24),
]
# operator, shape: dry runs at full size, against the bounds on traffic and predicted time
MODELS = [
    ("neo_cell", (128, 96, 56, 56, 56, 56)),
    ("neo_cell", (128, 384, 14, 14, 14, 14)),
    ("neo_cell_kron", (128, 768, 7, 7, 7, 7)),
    ("neo_cell_grad", (128, 384, 14, 14, 14, 14)),
]


def floor_bytes(operator: str, shape, cores: int = 24) -> float:
    """Bytes that core 0 must move: 4 B (gradient: 6 B) an element, and the weights."""
    n, c, h, w, ho, wo = shape
    c = c // cores
    planes = n * c * (h * w * 2 * (2 if operator == "neo_cell_grad" else 1) + ho * wo * 2)
    weights = c * (h * w * ho * wo * 2 if operator == "neo_cell_kron" else (h * ho + w * wo) * 2)
    return planes + weights * (3 if operator == "neo_cell_grad" else 1)  # da and db leave in float32


def examine_run(emulator, operator, shape, cores) -> str:
    for dtype, integers in (("float16", False), ("float16", True), ("bfloat16", False)):
        tensors = draw(shape, dtype, integers=integers)
        values, report, _ = solve(emulator, operator, dtype, shape, cores, tensors)
        if problem := report["refusal"] or "; ".join(report["violations"][:1]):
            return problem
        error, limit = worst_error(values, golden(operator, tensors, dtype)), 0 if integers else LIMITS[dtype]
        if error > limit:
            return f"{operator} {shape} {dtype}: error {error:.3g} above {limit:.3g}"
    return ""


def examine_model(emulator, operator, shape) -> str:
    report = emulator.report(operator, "float16", launch_shape(operator, shape), 24)
    if problem := report["refusal"] or "; ".join(report["violations"][:1]):
        return problem
    floor, core = floor_bytes(operator, shape), report["core"]
    traffic, time = (core["gm_read"] + core["gm_written"]) / floor, report["cycles"]["total"] * 32 / floor
    if traffic > 1.05:
        return f"{operator} {shape}: moves {traffic:.2f} x the floor"
    return f"{operator} {shape}: predicted {time:.2f} x the floor" if time > 1.08 else ""


def examine(library: str) -> str:
    emulator = Emulator(library)
    for run in RUNS:
        if problem := examine_run(emulator, *run):
            return problem
    for model in MODELS:
        if problem := examine_model(emulator, *model):
            return problem
    return ""


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        print(examine(sys.argv[1]) or "passed")
