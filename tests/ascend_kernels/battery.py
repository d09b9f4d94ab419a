"""A short examination, in float16, of one library of kernels."""

import numpy as np

from ascend_kernels.emulator.library import Emulator, launch_shape
from ascend_kernels.performance import CHIPS
from ascend_kernels.performance_mlp import predict_pointwise
from tests.ascend_kernels import emulated, pointwise, terms
from tests.ascend_kernels.emulated import LIMITS, decode, worst_error
from tests.ascend_kernels.pointwise import gelu
from tests.ascend_kernels.test_gelu import every_number, unit_in_the_last_place
from tests.ascend_kernels.test_gelu import run as run_gelu

# operator, shape (N, C, H, W, H', W'; of terms rank and width as well), cores: one fractal and several, rectangles,
# partial tiles, few channels
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
    ("neo_cell_terms", (9, 6, 14, 14, 14, 14, 2, 3), 2),
    ("neo_cell_terms", (3, 8, 28, 28, 17, 20, 3, 1), 3),
]
# operator, shape: dry runs at full size, against the bounds on traffic and predicted time
MODELS = [
    ("neo_cell", (128, 96, 56, 56, 56, 56)),
    ("neo_cell", (128, 384, 14, 14, 14, 14)),
    ("neo_cell_kron", (128, 768, 7, 7, 7, 7)),
    ("neo_cell_grad", (128, 384, 14, 14, 14, 14)),
]
# operator, shape (N, K, M, L), cores: several tiles of rows, strips of parts and of several images, a short last step
POINTWISE_RUNS = [
    ("pointwise", (3, 200, 150, 49), 2),
    ("pointwise", (1, 200, 20, 20), 1),
    ("pointwise_gelu", (5, 40, 75, 49), 2),
    ("pointwise_gelu_kept", (2, 96, 100, 300), 2),
    ("pointwise_residual", (5, 150, 40, 49), 2),
    ("pointwise_residual", (2, 150, 41, 300), 3),
    ("pointwise_input_grad", (3, 150, 200, 49), 2),
    ("pointwise_gelu_grad", (3, 150, 40, 144), 2),
    ("pointwise_weight_grad", (5, 300, 150, 49), 2),
    ("pointwise_weight_grad", (2, 40, 20, 300), 24),
    ("pointwise_weight_grad", (2, 256, 20, 49), 2),
    ("pointwise", (9, 100, 150, 100), 2),
    ("pointwise", (9, 100, 150, 100), 3),
    ("pointwise", (9, 700, 150, 100), 2),
    ("pointwise_mlp", (9, 40, 150, 49), 1),
    ("pointwise_mlp", (3, 150, 300, 200), 2),
]
# operator, shape, the bounds: device memory beyond what must move, and time beyond the busiest unit's own
POINTWISE_MODELS = [
    ("pointwise", (24, 96, 384, 784), 1.05, 1.4),
    ("pointwise_gelu_kept", (24, 96, 384, 784), 1.05, 1.15),
    ("pointwise_residual", (48, 1536, 384, 196), 1.05, 1.5),
    ("pointwise_gelu_grad", (24, 384, 96, 784), 1.05, 1.17),
    ("pointwise_mlp", (48, 96, 384, 784), 1.05, 1.25),
    ("pointwise_weight_grad", (48, 384, 1536, 196), 1.1, 1.4),
]


def floor_bytes(operator: str, shape, cores: int = 24) -> float:
    """Bytes that core 0 must move: 4 B (gradient: 6 B) an element, and the weights."""
    n, c, h, w, ho, wo = shape
    c = c // cores
    planes = n * c * (h * w * 2 * (2 if operator == "neo_cell_grad" else 1) + ho * wo * 2)
    weights = c * (h * w * ho * wo * 2 if operator == "neo_cell_kron" else (h * ho + w * wo) * 2)
    return planes + weights * (3 if operator == "neo_cell_grad" else 1)  # da and db leave in float32


def examine_run(emulator, operator, shape, cores) -> str:
    exact = "gelu" not in operator and "mlp" not in operator
    kind = pointwise if "pointwise" in operator else terms if operator == "neo_cell_terms" else emulated
    for integers in {False, exact}:
        tensors = kind.draw(shape, "float16", integers=integers)
        values, report, _ = kind.solve(emulator, operator, "float16", shape, cores, tensors)
        if problem := report["refusal"] or "; ".join(report["violations"][:1]):
            return problem
        expected, limit = kind.golden(operator, tensors, "float16"), 0 if integers else LIMITS["float16"]
        error = worst_error(values, expected)
        if error > limit:
            return f"{operator} {shape}: error {error:.3g} above {limit:.3g}"
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


def examine_pointwise_model(emulator, operator, shape, most_traffic, most_time) -> str:
    row = predict_pointwise(emulator, operator, shape, CHIPS["910B2"])
    if row["traffic"] > most_traffic:
        return f"{operator} {shape}: moves {row['traffic']:.2f} x the floor"
    return f"{operator} {shape}: predicted {row['ratio']:.2f} x the floor" if row["ratio"] > most_time else ""


def examine_gelu(emulator) -> str:
    bits = every_number("float16")
    (value,) = run_gelu(emulator, "pointwise_gelu", "float16", bits)
    truth = gelu(decode(bits, "float16"))
    worst = (np.abs(value - truth) / unit_in_the_last_place(truth, "float16")).max()
    return f"GELU: {worst:.1f} units in the last place" if worst > 2.5 else ""


def first_failure(library: str, parts) -> str:
    """Or "passed". `parts`: "neo_cell", "pointwise" or both."""
    emulator = Emulator(library)
    examinations = []
    if "neo_cell" in parts:
        examinations += [(examine_run, RUNS), (examine_model, MODELS)]
    if "pointwise" in parts:
        examinations += [(examine_run, POINTWISE_RUNS), (examine_pointwise_model, POINTWISE_MODELS)]
        examinations.append((examine_gelu, [()]))
    for examination, cases in examinations:
        for case in cases:
            try:
                problem = examination(emulator, *case)
            except RuntimeError as error:  # a dry run that broke a rule
                problem = str(error)
            if problem:
                return problem
    return "passed"


def examine(library: str, parts, answer):
    """Sends the first failure; in a process of its own, as a mutant may crash or hang."""
    with np.errstate(all="ignore"):
        answer.send(first_failure(library, parts))
