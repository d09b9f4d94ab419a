"""The operator at the planes of the paper's network: beside its other formulations, convolutions and its own kernel."""

import contextlib
import itertools

from mindspore import nn, ops

from neonext_ms.benchmark.cases import TORCH, Case, Settings, torch_contenders, worker_contender
from neonext_ms.benchmark.graphs import CHAIN, chain, random_tensor
from neonext_ms.benchmark.kernel_alone import KernelChain
from neonext_ms.benchmark.timing import Contender
from neonext_ms.benchmark.worker import Worker
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.cpu.library import cpu_library
from neonext_ms.ops.fallback import Unavailable

WINDOWS = (7, 14)  # of WBMM's operator


def operator_case(
    stage: tuple[int, int, str, int], backward: bool, settings: Settings, workers: dict[str, Worker]
) -> Case:
    """NeoCell on one stage's planes; "copy" is the plane once through memory, "kernel alone" without MindSpore."""
    c, plane, spec, shift = stage
    groups = parse_spec(spec, c, shift)

    def cell(backend: str):
        return lambda: NeoCell(groups, backend=backend, seed=0)

    def contenders() -> list[Contender]:
        x = random_tensor(case.shape)
        found = [chain(cell("auto"), x, backward, CHAIN, "NeoCell")]
        with contextlib.suppress(Unavailable):
            cpu_library()
            kernels = KernelChain([cell("fused")() for _ in range(CHAIN)], x.asnumpy(), backward)
            found.append(Contender("kernel alone", kernels.run, CHAIN))
            if not backward:
                found.append(chain(_Copy, x, False, CHAIN, "copy"))
        if "dense" in settings.against:
            found.append(chain(cell("dense"), x, backward, 2, "dense"))
        if "patchwise" in settings.against:
            found.append(chain(cell("patchwise"), x, backward, 1, "patchwise"))
        if "depthwise" in settings.against:
            found.append(chain(lambda: _depthwise(c), x, backward, 1, "depthwise 7 x 7"))
        found += torch_contenders(workers, settings, case, "depthwise", "depthwise 7 x 7", CHAIN)
        if "wbmm" in settings.against:
            forms = [form for form in TORCH if form in settings.against] or ["torch"]
            for window, form in itertools.product((w for w in WINDOWS if plane % w == 0), forms):
                name = f"{form} WBMM {window} x {window}"
                found.append(worker_contender(workers["torch"], name, case, form, "wbmm", window, repeats=CHAIN))
        if settings.authors:
            details = (spec, c, shift)
            found.append(
                worker_contender(workers["torch"], "authors' PyTorch", case, "torch", "authors' cell", *details)
            )
        return found

    case = Case("operator", backward, (settings.batch_size, c, plane, plane), settings.rounds, contenders)
    return case


def _depthwise(c: int) -> nn.Cell:
    return nn.Conv2d(c, c, 7, group=c, pad_mode="pad", padding=3)


class _Copy(nn.Cell):
    """The tensor once through memory, by as many threads as the kernel takes."""

    def __init__(self):
        super().__init__()
        self.copy = ops.Custom(f"{cpu_library()}:neonext_copy", lambda x: x, lambda x: x, "aot")

    def construct(self, x):
        return self.copy(x)
