"""What the project's AscendC operators take on an NPU, by the emulator's counters and time model."""

import math
import sys
import tempfile
from functools import cache
from pathlib import Path

from neonext_ms.benchmark.ascend_model import Chip
from neonext_ms.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
_PREFIX = "Custom_aclnn"


class OperatorTimes:
    """Seconds of the project's kernels in a dry run; each shape is emulated once, without data, for a number of cores.

    Raises:
        UserError: this is no checkout of the project, or the emulator does not compile (it needs g++).
    """

    def __init__(self):
        if not (ROOT / "ascend_kernels" / "emulator").is_dir():
            raise UserError("the emulator needs a checkout of the project: it is not part of what is installed")
        if str(ROOT) not in sys.path:
            sys.path.insert(0, str(ROOT))
        from ascend_kernels.emulator.library import Emulator, build_library

        with tempfile.TemporaryDirectory(prefix="neonext-") as folder:
            try:
                self.emulator = Emulator(build_library(Path(folder)))
            except (OSError, RuntimeError) as error:
                raise UserError(f"the emulator does not compile: {str(error).splitlines()[-1]}") from error
        self.cycles = cache(self._cycles)

    def __call__(self, kernel: dict, chip: Chip) -> float | None:
        """Of a kernel {name, inputs, ...}; None if it is not the project's."""
        if not kernel["name"].startswith(_PREFIX):
            return None
        name = kernel["name"].removeprefix(_PREFIX).partition("_")[0]
        dtype, shapes = kernel["inputs"][0][0].lower(), [shape for _, shape in kernel["inputs"]]
        return self.cycles(_snake(name), dtype, _launch_shape(name, shapes), chip.cores) / (chip.megahertz * 1e6)

    def _cycles(self, operator: str, dtype: str, shape: tuple[int, ...], cores: int) -> float:
        report = self.emulator.report(operator, dtype, shape, cores)
        if problem := report["refusal"] or "; ".join(report["violations"][:1]):
            raise RuntimeError(f"{operator} {shape}: {problem}")
        return report["cycles"]["total"]


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _launch_shape(name: str, shapes: list[list[int]]) -> tuple[int, ...]:
    """As the emulator takes it: (N, C, H, W, H', W'), or (N, K, M, pixels) for pointwise operators."""
    first, second = shapes[:2]
    if name == "NeoCellKron":
        return (*first[:2], 1, first[2], 1, second[1])
    if name.startswith("NeoCell"):
        return (*first, second[1], shapes[2][2])
    k, m = (second[1], first[1]) if name == "PointwiseWeightGrad" else (second[1], second[0])
    return first[0], k, m, math.prod(first[2:])
