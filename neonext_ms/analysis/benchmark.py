"""How fast things are here: the operator, a block, the network, its training step."""

import contextlib
import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from neonext_ms.analysis.timing import Contender, measure
from neonext_ms.analysis.torch_worker import TorchWorker
from neonext_ms.errors import UserError
from neonext_ms.models import create_model
from neonext_ms.models.layers import Block
from neonext_ms.ops import NeoCell, parse_spec
from neonext_ms.ops.cpu_library import Unavailable, cpu_library, cpu_vector_width

# Channels, plane, spec and shift of the stages of NeoNeXt-T at 224 (paper, section 4; 4+7 in the third stage as the
# released networks have it).
STAGES = ((96, 56, "4+7", 1), (192, 28, "4+7", 1), (384, 14, "4+7", 1), (768, 7, "7", 0))
WHAT = ("operator", "block", "network", "step")
AGAINST = ("dense", "patchwise", "depthwise", "torch")
CHAIN = 8  # cells in a row: one call from Python adds 0.3 ms, which is not the operator's


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
        machine: a description; cases: for each case its title and the results of `timing.measure`.

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
    return {**title, "results": measure(contenders, rounds)}


class _Gradients(nn.Cell):
    """Gradients of sum(network(x) * dy) by the input and all parameters."""

    def __init__(self, network):
        super().__init__()
        self.weighted = _Weighted(network)
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.gradient = ops.grad(self.weighted, 0, self.weights)
        self.set_train(True)

    def construct(self, x, dy):
        return self.gradient(x, dy)


class _Weighted(nn.Cell):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, x, dy):
        return ops.sum(self.network(x) * dy)


class _Copy(nn.Cell):
    """The tensor once through memory, by as many threads as the kernel takes."""

    def __init__(self):
        super().__init__()
        self.copy = ops.Custom(f"{cpu_library()}:neonext_copy", lambda x: x, lambda x: x, "aot")

    def construct(self, x):
        return self.copy(x)


def _random(shape) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _runner(network: nn.Cell, x: Tensor, backward: bool):
    """A callable that runs forward, or forward and backward. A graph on a CPU returns when it has ended."""

    def forward():
        network(x)

    if not backward:
        network.set_train(False)
        return forward
    dy = _random(network(x).shape)
    gradients = _Gradients(network)

    def run():
        gradients(x, dy)

    return run


def _chain(make, x: Tensor, backward: bool, repeats: int, name: str) -> Contender:
    network = nn.SequentialCell([make() for _ in range(repeats)])
    return Contender(name, _runner(network, x, backward), repeats)


def _operator(stage, n: int, backward: bool, against, torch, authors):
    c, plane, spec, shift = stage
    x = _random((n, c, plane, plane))
    groups = parse_spec(spec, c, shift)

    def cell(backend):
        return lambda: NeoCell(groups, backend=backend, seed=0)

    contenders = [_chain(cell("auto"), x, backward, CHAIN, "NeoCell")]
    with contextlib.suppress(Unavailable):
        contenders.append(Contender("kernel alone", _Kernel(NeoCell(groups, backend="auto", seed=0), x, backward).run))
        if not backward:
            contenders.append(_chain(_Copy, x, False, CHAIN, "copy"))
    if "dense" in against:
        contenders.append(_chain(cell("dense"), x, backward, 2, "dense"))
    if "patchwise" in against:
        contenders.append(_chain(cell("patchwise"), x, backward, 2, "patchwise"))
    if "depthwise" in against:

        def depthwise():
            return nn.Conv2d(c, c, 7, group=c, pad_mode="pad", padding=3)

        contenders.append(_chain(depthwise, x, backward, 1, "depthwise 7 x 7"))
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
    x = _random((n, c, plane, plane))

    def block(backend):
        return lambda: Block(parse_spec(spec, c, shift), False, 0, backend, "neo", np.random.default_rng(0))

    contenders = [_chain(block("auto"), x, backward, 1, "NeoNeXt block")]
    if "dense" in against:
        contenders.append(_chain(block("dense"), x, backward, 1, "dense"))
    if "torch" in against:
        key = f"block {stage} {backward}"
        torch.prepare(key, "block", tuple(x.shape), backward)
        contenders.append(Contender("torch ConvNeXt-shaped block", lambda: torch.run(key)))
    return _title("block", backward, f"{c} x {plane} x {plane}", n), contenders


def _network(model: str, shape, backward: bool, against, torch, authors):
    x = _random(shape)
    contenders = [Contender(model, _runner(create_model(model, seed=0), x, backward))]
    if "dense" in against:
        contenders.append(Contender("dense", _runner(create_model(model, seed=0, backend="dense"), x, backward)))
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


class _Kernel:
    """The compiled operator called without MindSpore in between."""

    def __init__(self, cell: NeoCell, x: Tensor, backward: bool):
        library = ctypes.CDLL(str(cpu_library()))
        self.functions = []
        blocks = [p.asnumpy() for pair in zip(cell.left, cell.right) for p in pair]
        layout = cell.fused.layout.asnumpy()
        x = x.asnumpy()
        self._add(library.neocell_forward, [x, layout, *blocks, np.empty_like(x)])
        if backward:
            dblocks = [np.empty_like(block) for block in blocks]
            dbias = np.empty(x.shape[1], np.float32)
            self._add(library.neocell_backward, [x, x.copy(), layout, *blocks, np.empty_like(x), *dblocks, dbias])

    def _add(self, function, arrays):
        count = len(arrays)
        shapes = [(ctypes.c_int64 * a.ndim)(*a.shape) for a in arrays]
        arguments = (
            count,
            (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays)),
            (ctypes.c_int * count)(*(a.ndim for a in arrays)),
            (ctypes.POINTER(ctypes.c_int64) * count)(*shapes),
            (ctypes.c_char_p * count)(*(a.dtype.name.encode() for a in arrays)),
            None,
            None,
        )
        self.functions.append((function, arguments, arrays))

    def run(self):
        for function, arguments, _ in self.functions:
            code = function(*arguments)
            if code:
                raise RuntimeError(f"the kernel returned {code}")
