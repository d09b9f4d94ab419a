"""The performance model of the NeoCell kernels: a model, not a measurement; nothing here ran on an NPU.

Runs core 0 of each kernel dry on the emulator (every instruction counted and checked, no data) and replays its
instructions: pipes in order, waits after their flags, one GM bus a core. Bytes and cycles of cube, MTE1 and FIX are
counts; clocks and bandwidths are those of CANN's platform files; what issuing an instruction costs and how long a load
takes are estimates (emulator/timeline.h).

    python ascend_kernels/performance.py                  # stages of T, B and L at 224 and 384, 910B2
    python ascend_kernels/performance.py --chip 910B4 --images 32 --json
    python ascend_kernels/performance.py --switch          # where the Kronecker kernel starts to pay
"""

# ruff: noqa: T201  (a command: it prints)
import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ascend_kernels.emulator.library import Emulator, build_library, launch_shape  # noqa: E402
from neonext_ms.benchmark.ascend_model import CHIPS, Chip  # noqa: E402

GM_BYTES = 32  # of HBM, a cycle and core, on all of them
BATCH_MATMUL_CYCLES = 40.0  # estimate: issue and synchronisation of one small product inside BatchMatMul
MODELS = {"T/S": 96, "B": 128, "L": 192}
SIDES = {224: 56, 384: 96}


def stage_shapes(images: int) -> list[tuple[str, tuple[int, ...]]]:
    """Every stage: label and (N, C, H, W, H', W')."""
    return [
        (f"{model} {size} stage {stage + 1}", (images, dim << stage, *(side >> stage,) * 4))
        for size, side in SIDES.items()
        for model, dim in MODELS.items()
        for stage in range(4)
    ]


def floor_bytes(operator: str, shape) -> int:
    """Bytes of X and Y (gradient: X, dY and dX), each moved once: 4 B (6 B) an element."""
    n, c, h, w, ho, wo = shape
    return n * c * (2 * h * w * (2 if operator == "neo_cell_grad" else 1) + 2 * ho * wo)


def batch_matmul_cycles(shape, chip: Chip, gradient: bool) -> float:
    """Cycles a core for the same result by BatchMatMul: two launches forward, four more products backward.

    Each product reads its operands from HBM and writes its result, and is one small matmul a plane.
    """
    n, c, h, w, ho, wo = shape
    planes = -(-n * c // chip.cores)
    x, t, y = 2 * h * w, 2 * ho * w, 2 * ho * wo
    if gradient:  # T2 = dY B^T, dX = A^T T2, dA = T2 X^T, T1 = A X, dB = T1^T dY; dA and dB summed over n afterwards
        sums = 2 * 2 * (ho * h + w * wo)
        moved, products = (y + t) + (t + x) + (t + x) + (x + t) + (t + y) + sums, 5
    else:
        moved, products = (x + t) + (t + y), 2
    return planes * max(moved / GM_BYTES, products * BATCH_MATMUL_CYCLES)


def bound(cycles: dict) -> str:
    """The resource that is busy longest."""
    names = {"gm": "HBM", "M": "cube", "MTE1": "MTE1", "FIX": "FIX", "issue": "issue"}
    return names[max(names, key=lambda name: cycles[name])]


def predict(emulator: Emulator, operator: str, shape, chip: Chip, dtype: str = "float16") -> dict:
    """One row of the table: counts a plane of core 0 and the predicted time of the launch."""
    report = emulator.report(operator, dtype, launch_shape(operator, shape), chip.cores)
    if report["refusal"]:
        return {"operator": operator, "shape": shape, "refusal": report["refusal"]}
    if report["violations"]:
        raise RuntimeError(f"{operator} {shape}: {report['violations'][0]}")
    n, c = shape[:2]
    core, cycles, tiling = report["core"], report["cycles"], report["tiling"]
    share = -(-c // tiling["channel_cores"]) * -(-n // tiling["image_cores"])  # planes of core 0
    gradient = operator == "neo_cell_grad"
    floor = floor_bytes(operator, shape) / GM_BYTES / chip.cores
    elements = share * shape[2] * shape[3]
    return {
        "operator": operator,
        "shape": shape,
        "refusal": "",
        "tiling": tiling,
        "bytes_per_element": (core["gm_read"] + core["gm_written"]) / elements,
        "hbm": cycles["gm"] / share,
        "cube": core["cube_cycles"] / share,
        "mte1": core["l0_cycles"] / share,
        "fix": core["fix_cycles"] / share,
        "instructions": core["instructions"] / share,
        "flags": core["flags"] / share,
        "hbm_cycles_per_instruction": floor * chip.cores / (n * c) / (core["instructions"] / share),
        "microseconds": cycles["total"] / chip.megahertz,
        "floor_microseconds": floor / chip.megahertz,
        "ratio": cycles["total"] / floor,
        "bound": bound(cycles),
        "batch_matmul_microseconds": batch_matmul_cycles(shape, chip, gradient) / chip.megahertz,
    }


def forward_operator(emulator: Emulator, shape) -> str:
    return "neo_cell_kron" if emulator.prefers_kron(shape) else "neo_cell"


def table(emulator: Emulator, chip: Chip, images: int) -> list[dict]:
    rows = []
    for label, shape in stage_shapes(images):
        for operator in (forward_operator(emulator, shape), "neo_cell_grad"):
            rows.append({"label": label, **predict(emulator, operator, shape, chip)})
    return rows


def switch_points(emulator: Emulator, chip: Chip) -> list[dict]:
    """For 7 x 7 planes: the time of both forward kernels against the number of images."""
    rows = []
    for images in (8, 16, 24, 32, 40, 48, 64, 96, 128, 256):
        shape = (images, 768, 7, 7, 7, 7)
        times = {op: predict(emulator, op, shape, chip)["microseconds"] for op in ("neo_cell", "neo_cell_kron")}
        rows.append({"images": images, **times, "chosen": forward_operator(emulator, shape)})
    return rows


COLUMNS = (
    ("bytes_per_element", "B/elem", ".2f"),
    ("hbm", "HBM", ".1f"),
    ("cube", "cube", ".1f"),
    ("mte1", "MTE1", ".1f"),
    ("fix", "FIX", ".1f"),
    ("instructions", "instr", ".2f"),
    ("hbm_cycles_per_instruction", "HBM/instr", ".1f"),
    ("microseconds", "us", ".1f"),
    ("floor_microseconds", "floor us", ".1f"),
    ("ratio", "ratio", ".2f"),
    ("batch_matmul_microseconds", "2xBMM us", ".0f"),
)


def show(rows: list[dict], name: str, chip: Chip, images: int) -> None:
    print(
        f"Model, not a measurement. {name}: {chip.cores} cores, {chip.megahertz} MHz; N = {images}, fp16; "
        "cycles a plane."
    )
    print(f"{'':18}{'operator':15}" + "".join(f"{title:>10}" for _, title, _ in COLUMNS) + "  bound")
    for row in rows:
        if row["refusal"]:
            print(f"{row['label']:18}{row['operator']:15}refused: {row['refusal']}")
            continue
        values = "".join(f"{format(row[key], style):>10}" for key, _, style in COLUMNS)
        print(f"{row['label']:18}{row['operator']:15}{values}  {row['bound']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", choices=[*CHIPS, "all"], default="910B2")
    parser.add_argument("--images", type=int, default=128, help="N of one device (default 128)")
    parser.add_argument("--switch", action="store_true", help="compare both forward kernels on 7 x 7 planes")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    if options.images < 1:
        parser.error(f"--images must be at least 1, given {options.images}")
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(build_library(Path(folder)))
    results = {}
    for name in CHIPS if options.chip == "all" else [options.chip]:
        chip = CHIPS[name]
        rows = switch_points(emulator, chip) if options.switch else table(emulator, chip, options.images)
        results[name] = rows
        if options.json:
            continue
        if options.switch:
            print(f"Model, not a measurement. {name}, 768 x 7 x 7, forward, us by number of images:")
            for row in rows:
                print(
                    f"{row['images']:5}  neo_cell {row['neo_cell']:6.1f}  neo_cell_kron {row['neo_cell_kron']:6.1f}"
                    f"  tiling takes {row['chosen']}"
                )
        else:
            show(rows, name, chip, options.images)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
