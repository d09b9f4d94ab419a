"""The performance model of the pointwise kernels, and of the blocks' MLPs made of them: a model, not a measurement.

Like performance.py, it runs core 0 dry on the emulator and replays its instructions; here an AI core is a cube core and
two vector cores, joined by the flags between them.

    python ascend_kernels/performance_mlp.py                          # MLPs of neonext_t at 224, 910B2, 128 images
    python ascend_kernels/performance_mlp.py --model b --size 384 --chip 910B4 --images 64 --json
    python ascend_kernels/performance_mlp.py --readme ascend_kernels/README.md   # all models, between its marks
"""

# ruff: noqa: T201  (a command: it prints)
import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ascend_kernels.emulator.library import Emulator, build_library  # noqa: E402
from ascend_kernels.performance import CHIPS, GM_BYTES, SIDES, Chip  # noqa: E402
from neonext_ms.markdown import replace_between_marks, table  # noqa: E402

CUBE_MACS = 4096  # a cycle
CUBE_SHARE = 0.7  # of that, which products reach on the whole: an estimate for comparisons
# model: width of the first stage, blocks of the four stages
MODELS = {"t": (96, (3, 3, 9, 3)), "s": (96, (3, 3, 27, 3)), "b": (128, (3, 3, 27, 3)), "l": (192, (3, 3, 27, 3))}
# part of an MLP: operator, and whether its K is the hidden width
WHOLE = {"mlp": ("pointwise_mlp", False)}
FORWARD = {"fc1": ("pointwise_gelu", False), "fc2": ("pointwise_residual", True)}
STEP = {
    "fc1": ("pointwise_gelu_kept", False),
    "fc2": ("pointwise_residual", True),
    "dz": ("pointwise_gelu_grad", True),
    "dw2": ("pointwise_weight_grad", True),
    "dx": ("pointwise_input_grad", False),
    "dw1": ("pointwise_weight_grad", False),
}


def must_move(operator: str, shape) -> int:
    """Bytes of device memory: every tensor once, dW and db in float32."""
    n, k, m, pixels = shape
    x, y, w = 2 * n * k * pixels, 2 * n * m * pixels, 2 * k * m
    if operator == "pointwise_mlp":
        return 3 * x + 2 * w + 2 * (k + m)
    if operator == "pointwise_weight_grad":
        return x + y + 2 * w + 4 * m
    gradient = operator in ("pointwise_input_grad", "pointwise_gelu_grad")
    more = {"pointwise_gelu_kept": y, "pointwise_residual": y, "pointwise_gelu_grad": x}.get(operator, 0)
    return x + y + w + more + (0 if gradient else 2 * m)


def predict_pointwise(emulator: Emulator, operator: str, shape, chip: Chip) -> dict:
    """One row: what core 0 moved beyond its share of `must_move`, its time, and what keeps it busy, in microseconds.

    Raises:
        RuntimeError: the operator does not run clean.
    """
    report = emulator.report(operator, "float16", shape, chip.cores)
    if report["refusal"] or report["violations"]:
        raise RuntimeError(report["refusal"] or report["violations"][0])
    n, k, m, pixels = shape
    cycles, share = report["cycles"], report["tiling"]["share"]
    moved = sum(report[part][key] for part in ("core", "core_vector") for key in ("gm_read", "gm_written"))
    floor = must_move(operator, shape) * share
    ideal = n * k * m * pixels * (2 if operator == "pointwise_mlp" else 1) / CUBE_MACS / chip.cores
    busy = {"HBM": floor / GM_BYTES, "cube": ideal, "vector": cycles["V"]}
    return {
        "operator": operator,
        "shape": shape,
        "traffic": moved / floor,
        "microseconds": cycles["total"] / chip.megahertz,
        "hbm": floor / GM_BYTES / chip.megahertz,
        "cube": ideal / chip.megahertz,
        "vector": cycles["V"] / chip.megahertz,
        "ratio": cycles["total"] / max(busy.values()),
        "bound": max(busy, key=busy.get),
    }


def mlp_table(emulator: Emulator, model: str, size: int, images: int, chip: Chip) -> list[dict]:
    """A row for every stage and part: `blocks` times its time is what it takes in a pass."""
    width, depths = MODELS[model]
    rows = []
    for stage, blocks in enumerate(depths):
        dim, pixels = width << stage, (SIDES[size] >> stage) ** 2
        shape, back = (images, dim, 4 * dim, pixels), (images, 4 * dim, dim, pixels)
        for mode, parts in (("forward", WHOLE if emulator.prefers_mlp(shape) else FORWARD), ("step", STEP)):
            for part, (operator, wide) in parts.items():
                row = predict_pointwise(emulator, operator, back if wide else shape, chip)
                rows.append({"stage": stage + 1, "mode": mode, "part": part, "blocks": blocks, **row})
    return rows


def totals(rows: list[dict]) -> dict:
    """Milliseconds of all blocks: forward, training step, and the cube's own time in the forward at its full rate and
    at the share that products reach.
    """
    found = {"forward": 0.0, "step": 0.0, "cube": 0.0}
    for row in rows:
        found[row["mode"]] += row["blocks"] * row["microseconds"] / 1e3
        found["cube"] += row["blocks"] * row["cube"] / 1e3 * (row["mode"] == "forward")
    return {**found, "cube_at_70_percent": found["cube"] / CUBE_SHARE}


def models_table(emulator: Emulator, size: int, images: int, chip: Chip) -> str:
    """`totals` of every model as a Markdown table."""
    lines = [["MLPs of", "forward", "step", "cube, 100 %", "cube, 70 %", "forward / cube, 70 %"]]
    for model in MODELS:
        found = totals(mlp_table(emulator, model, size, images, chip))
        ratio = found["forward"] / found["cube_at_70_percent"]
        lines.append([f"neonext_{model}", *(f"{value:.2f}" for value in found.values()), f"{ratio:.2f}"])
    return table(lines, right=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="t")
    parser.add_argument("--size", type=int, choices=SIDES, default=224)
    parser.add_argument("--chip", choices=CHIPS, default="910B2")
    parser.add_argument("--images", type=int, default=128, help="N of one device (default 128)")
    parser.add_argument("--json", action="store_true", help="print rows and totals as JSON")
    parser.add_argument("--readme", type=Path, help="write the totals of all models between this file's marks mlp")
    options = parser.parse_args()
    if options.images < 1:
        parser.error(f"--images must be at least 1, given {options.images}")
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(build_library(Path(folder)))
    if options.readme:
        text = models_table(emulator, options.size, options.images, CHIPS[options.chip])
        replace_between_marks(options.readme, "mlp", text)
        return
    rows = mlp_table(emulator, options.model, options.size, options.images, CHIPS[options.chip])
    if options.json:
        print(json.dumps({"rows": rows, "totals": totals(rows)}))
        return
    print(
        f"Model, not a measurement. neonext_{options.model} at {options.size}, {options.chip}, N = {options.images}, "
        "fp16; us."
    )
    print("stage mode    part blocks      us     HBM    cube  vector  ratio traffic  bound")
    for row in rows:
        times = "".join(f"{row[key]:8.1f}" for key in ("microseconds", "hbm", "cube", "vector"))
        print(
            f"{row['stage']:5} {row['mode']:8}{row['part']:4}{row['blocks']:7}{times}{row['ratio']:7.2f}"
            f"{row['traffic']:8.3f}  {row['bound']}"
        )
    print("MLPs of all blocks, ms: " + ", ".join(f"{name} {value:.2f}" for name, value in totals(rows).items()))


if __name__ == "__main__":
    main()
