"""How fast things are here: the operator, a block, the network, its training step."""

import contextlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from neonext_ms.benchmark.graphs import CHAIN, chain, random_tensor, runner
from neonext_ms.benchmark.kernel_alone import KernelChain
from neonext_ms.benchmark.timing import Contender, measure
from neonext_ms.benchmark.torch_worker import TorchWorker
from neonext_ms.errors import UserError
from neonext_ms.models import create_model
from neonext_ms.models.layers import Block
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.cpu.library import Unavailable, cpu_library, cpu_vector_width

# Channels, plane, spec and shift of the stages of NeoNeXt-T at 224 (paper, section 4; 4+7 in the third stage as the
# released networks have it).
STAGES = ((96, 56, "4+7", 1), (192, 28, "4+7", 1), (384, 14, "4+7", 1), (768, 7, "7", 0))
WHAT = ("operator", "block", "network", "step")
AGAINST = ("dense", "patchwise", "depthwise", "torch")


def benchmark(
    what: Sequence[str],
    against: Sequence[str],
    *,
    rounds: int = 15,
    batch_size: int = 16,
    model: str = "neonext_t",
    model_batch_size: int = 8,
    image_size: int = 224,
    stages=STAGES,
    authors: Path | None = None,
) -> dict:
    """Measure, in graph mode, on random inputs.

    Args:
        what: any of WHAT.
        against: any of AGAINST, each where it applies.
        rounds: interleaved rounds; the networks take a third of them.
        batch_size: images of the operator and the block.
        model, model_batch_size, image_size: of network and step.
        stages: (channels, plane, spec, shift) of the operator's and the block's cases.
        authors: clone of the authors' repository, whose PyTorch code then runs as one more contender.

    Returns:
        machine: a description; cases: for each case its title and the results of `timing.measure`; for the operator
        also ratios, such as "patchwise / dense", how many times the time of dense patchwise takes.

    Raises:
        UserError: an unknown name, fewer than 2 rounds, torch asked for but not installed, no clone at authors.
    """
    for given, known, option in ((what, WHAT, "what"), (against, AGAINST, "against")):
        for name in given:
            if name not in known:
                raise UserError(f"unknown {option} {name!r}: use any of {', '.join(known)}")
    if rounds < 2:
        raise UserError(f"a median needs at least 2 rounds, got {rounds}")
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    cases = []
    threads = os.cpu_count()
    try:
        needed = "torch" in against or authors
        with TorchWorker(threads, authors) if needed else contextlib.nullcontext() as torch:
            for backward in (False, True):
                for stage in stages:
                    if "operator" in what:
                        cases.append(_case(_operator(stage, batch_size, backward, against, torch, authors), rounds))
                    if "block" in what:
                        cases.append(_case(_block(stage, batch_size, backward, against, torch), rounds))
            for name, backward in (("network", False), ("step", True)):
                if name in what:
                    shape = (model_batch_size, 3, image_size, image_size)
                    case = _network(model, shape, backward, against, torch, authors)
                    cases.append(_case(case, max(2, rounds // 3)))
            machine = describe_machine(torch)
    finally:
        ms.set_context(mode=mode)
    return {"machine": machine, "cases": cases}


def describe_machine(torch=None) -> dict:
    """Processor, cores, load, versions."""
    names = [
        line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    try:
        vectors = cpu_vector_width()
    except Unavailable as unavailable:
        vectors = f"no compiled kernel: {unavailable}"
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "vectors": vectors,
        "mindspore": ms.__version__,
        "torch": torch.version if torch else None,
    }


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


def _case(case, rounds: int) -> dict:
    title, contenders = case
    case = {**title, "results": measure(contenders, rounds)}
    return {**case, "ratios": _ratios(case["results"])} if title["what"] == "operator" else case


def _ratios(results) -> dict[str, float]:
    """How the formulations compare, a ratio of medians each, as far as they were measured."""
    times = {r["name"]: r["ms"] for r in results}
    pairs = (("patchwise", "dense"), ("dense", "NeoCell"), ("patchwise", "NeoCell"), ("kernel alone", "NeoCell"))
    return {f"{a} / {b}": times[a] / times[b] for a, b in pairs if a in times and b in times}


class _Copy(nn.Cell):
    """The tensor once through memory, by as many threads as the kernel takes."""

    def __init__(self):
        super().__init__()
        self.copy = ops.Custom(f"{cpu_library()}:neonext_copy", lambda x: x, lambda x: x, "aot")

    def construct(self, x):
        return self.copy(x)


def _operator(stage, n: int, backward: bool, against, torch, authors):
    c, plane, spec, shift = stage
    x = random_tensor((n, c, plane, plane))
    groups = parse_spec(spec, c, shift)

    def cell(backend):
        return lambda: NeoCell(groups, backend=backend, seed=0)

    contenders = [chain(cell("auto"), x, backward, CHAIN, "NeoCell")]
    with contextlib.suppress(Unavailable):
        cpu_library()
        kernels = KernelChain([cell("fused")() for _ in range(CHAIN)], x.asnumpy(), backward)
        contenders.append(Contender("kernel alone", kernels.run, CHAIN))
        if not backward:
            contenders.append(chain(_Copy, x, False, CHAIN, "copy"))
    if "dense" in against:
        contenders.append(chain(cell("dense"), x, backward, 2, "dense"))
    if "patchwise" in against:
        contenders.append(chain(cell("patchwise"), x, backward, 1, "patchwise"))
    if "depthwise" in against:

        def depthwise():
            return nn.Conv2d(c, c, 7, group=c, pad_mode="pad", padding=3)

        contenders.append(chain(depthwise, x, backward, 1, "depthwise 7 x 7"))
    if "torch" in against:
        key = f"depthwise {stage} {backward}"
        torch.prepare(key, "depthwise", tuple(x.shape), backward)
        contenders.append(Contender("torch depthwise 7 x 7", lambda: torch.run(key), CHAIN))
    if authors:
        theirs = f"authors' cell {stage} {backward}"
        torch.prepare(theirs, "authors' cell", tuple(x.shape), backward, spec, shift)
        contenders.append(Contender("authors' PyTorch", lambda: torch.run(theirs)))
    return _title("operator", backward, f"{c} x {plane} x {plane}", n), contenders


def _block(stage, n: int, backward: bool, against, torch):
    c, plane, spec, shift = stage
    x = random_tensor((n, c, plane, plane))

    def block(backend):
        return lambda: Block(parse_spec(spec, c, shift), False, 0, backend, "neo", np.random.default_rng(0))

    contenders = [chain(block("auto"), x, backward, 1, "NeoNeXt block")]
    if "dense" in against:
        contenders.append(chain(block("dense"), x, backward, 1, "dense"))
    if "torch" in against:
        key = f"block {stage} {backward}"
        torch.prepare(key, "block", tuple(x.shape), backward)
        contenders.append(Contender("torch ConvNeXt-shaped block", lambda: torch.run(key)))
    return _title("block", backward, f"{c} x {plane} x {plane}", n), contenders


def _network(model: str, shape, backward: bool, against, torch, authors):
    x = random_tensor(shape)

    def network(backend):
        made = create_model(model, seed=0, backend=backend)
        return runner(made, x, (shape[0], made.num_classes) if backward else None, input_gradient=False)

    contenders = [Contender(model, network("auto"))]
    if "dense" in against:
        contenders.append(Contender("dense", network("dense")))
    if "torch" in against:
        key = f"network {backward}"
        torch.prepare(key, "network", shape, backward)
        contenders.append(Contender("torch ConvNeXt-T-shaped network", lambda: torch.run(key)))
    if authors:
        theirs = f"authors' network {backward}"
        torch.prepare(theirs, "authors' network", shape, backward, model)
        contenders.append(Contender("authors' PyTorch", lambda: torch.run(theirs)))
    return _title("network", backward, f"3 x {shape[2]} x {shape[3]}", shape[0]), contenders


def _title(what: str, backward: bool, shape: str, n: int) -> dict:
    return {"what": what, "pass": "forward + backward" if backward else "forward", "shape": shape, "n": n}
