"""Where a network's time goes: every kind of layer at its real shapes, beside the whole network in the same rounds."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mindspore as ms
from mindspore import nn

from neonext_ms.analysis.profile import layer_costs
from neonext_ms.benchmark.graphs import CHAIN, random_tensor, runner
from neonext_ms.benchmark.kernel_alone import Peak
from neonext_ms.benchmark.machine import describe_machine
from neonext_ms.benchmark.timing import Contender, Progress, check_rounds, measure
from neonext_ms.models import create_model
from neonext_ms.models.layers import check_input_size
from neonext_ms.models.registry import model_spec
from neonext_ms.ops.complexity import patchwise_macs
from neonext_ms.ops.cpu.library import cpu_library
from neonext_ms.ops.fallback import Unavailable
from neonext_ms.ops.precision import matmul_precision


def benchmark_layers(model: str = "neonext_t", n: int = 8, image_size: int = 224, rounds: int = 9) -> dict:
    """Measure forward, and forward with backward, in graph mode on random inputs.

    A layer inside a block is one of a chain of CHAIN, each with its own weights; the others include the call
    from Python. What the network takes beyond the sum of its layers is the rest: layer scale, memory, colder caches.

    Args:
        model: name of a network.
        n: images.
        image_size: side of the images.
        rounds: interleaved rounds.

    Returns:
        machine: a description; model, n, image_size, matmul_precision; passes: for "forward" and "forward + backward"
        network_ms, rest_ms, peak_gflops (of a loop of multiply-adds in matmul_precision on all threads, median of the
        same rounds; None without compiled kernels) and layers, a list of kind, shape, count (layers of the network), ms
        (of one), share (of the network, all of them), gflops (10^9 operations a second of its products, two a
        multiply-accumulate; a NeoCell's blocks without zeros) and peak_share, None without compiled kernels.

    Raises:
        UserError: an unknown model, a size that it cannot take, fewer than 2 rounds.
    """
    check_rounds(rounds)
    progress = Progress(2)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    passes = {}
    try:
        for name, backward in (("forward", False), ("forward + backward", True)):
            progress.begin(f"{model}, {name}")
            passes[name] = _measure_pass(model, (n, image_size), backward, rounds, progress)
    finally:
        ms.set_context(mode=mode)
    return {
        "machine": describe_machine(),
        "model": model,
        "n": n,
        "image_size": image_size,
        "matmul_precision": matmul_precision(),
        "passes": passes,
    }


def _measure_pass(model: str, size: tuple[int, int], backward: bool, rounds: int, progress: Progress) -> dict:
    n, side = size
    network = create_model(model, seed=0)
    images = random_tensor((n, network.spec.in_chans, side, side))
    whole = runner(network, images, (n, network.num_classes) if backward else None, input_gradient=False)
    layers = list(_layers(model, network.num_classes, images, backward))
    contenders = [Contender("network", whole), *(layer.contender(backward) for layer in layers)]
    peak = None
    with contextlib.suppress(Unavailable):
        cpu_library()
        peak = Peak()
        contenders.append(Contender("peak", peak.run))
    results = measure(contenders, rounds, progress)
    peak_gflops = peak.median() if peak else None
    network_ms = results[0]["ms"]
    rows = []
    for layer, result in zip(layers, results[1:]):
        gflops = 2e-6 * n * layer.macs * (layer.products if backward else 1) / result["ms"]
        row = {"kind": layer.kind, "shape": _times(layer.x.shape[1:]), "count": layer.count, "ms": result["ms"]}
        row["share"] = layer.count * result["ms"] / network_ms
        of_peak = gflops / peak_gflops if peak_gflops and gflops else None
        rows.append({**row, "gflops": gflops or None, "peak_share": of_peak})
    rest = network_ms - sum(row["count"] * row["ms"] for row in rows)
    return {"network_ms": network_ms, "rest_ms": rest, "peak_gflops": peak_gflops, "layers": rows}


@dataclass(frozen=True)
class _Layer:
    """A kind of layer at one shape.

    Args:
        kind: its name.
        cell: `repeats` of them in a row.
        x: its input.
        out: shape of its output.
        macs: multiply-accumulates of one image, forward.
        count: layers of the network that are like it.
        repeats: in the cell.
        products: with backward, of its matrices: forward, for the weights, and for the input if that needs a gradient.
    """

    kind: str
    cell: nn.Cell
    x: ms.Tensor
    out: tuple[int, ...]
    macs: int = 0
    count: int = 1
    repeats: int = 1
    products: int = 3

    def contender(self, backward: bool) -> Contender:
        run = runner(self.cell, self.x, self.out if backward else None, self.products == 3)
        return Contender(self.kind, run, self.repeats)


def _layers(model: str, num_classes: int, images, backward: bool) -> Iterator[_Layer]:
    """Every kind of layer and every shape of it."""
    spec = model_spec(model)
    # Its blocks are the chains; nothing else of it depends on how many there are.
    network = create_model(model, seed=0, depths=(CHAIN,) * len(spec.dims))
    n, _, side, _ = images.shape
    planes = check_input_size(side, side, len(spec.dims))
    macs = {name: cost.macs_patchwise for name, cost in layer_costs(spec, side, side, num_classes).items()}
    x = images
    yield _Layer("stem", network.stem, x, (n, spec.dims[0], *planes[0]), macs["stem"], products=2)
    for i, (depth, dim) in enumerate(zip(spec.depths, spec.dims)):
        shape = (n, dim, *planes[i])
        if i:
            yield _Layer("down-sampling", network.downsamples[i - 1], x, shape, macs[f"downsamples.{i - 1}"])
        x = random_tensor(shape)
        blocks, block = network.stages[i], macs[f"stages.{i}.0"]
        if spec.gate:
            yield _Layer("BatchNorm, gated MLP with NeoCell, addition", _Chain(blocks), x, shape, block, depth, CHAIN)
            continue
        neocell = patchwise_macs(spec.stage_groups(i), *planes[i])
        yield _Layer("NeoCell", nn.SequentialCell([b.neocell for b in blocks]), x, shape, neocell, depth, CHAIN)
        yield _Layer("BatchNorm, MLP, addition", _Chain(blocks), x, shape, block - neocell, depth, CHAIN)
    yield _Layer("head", network.head, x, (n, num_classes), macs["head"])


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


class _Chain(nn.Cell):
    """Blocks in a row without their NeoCells, or with a gate whole blocks."""

    def __init__(self, blocks: nn.CellList):
        super().__init__()
        self.blocks = blocks

    def construct(self, x):
        for block in self.blocks:
            x = block.rest(x, x, None)
        return x
