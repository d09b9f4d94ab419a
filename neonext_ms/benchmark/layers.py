"""Where a network's time goes: every kind of layer at its real shapes, beside the whole network in the same rounds."""

import contextlib
from collections.abc import Sequence

import mindspore as ms
from mindspore import nn

from neonext_ms.analysis.profile import layer_costs
from neonext_ms.benchmark.compute import describe_machine
from neonext_ms.benchmark.graphs import CHAIN, random_tensor, runner
from neonext_ms.benchmark.kernel_alone import Peak
from neonext_ms.benchmark.table import machine_line, markdown_table
from neonext_ms.benchmark.timing import Contender, measure
from neonext_ms.errors import UserError
from neonext_ms.models import create_model
from neonext_ms.models.layers import check_input_size
from neonext_ms.ops.complexity import patchwise_macs
from neonext_ms.ops.cpu.library import Unavailable, cpu_library


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
        machine: a description; model, n, image_size; passes: for "forward" and "forward + backward" network_ms,
        rest_ms, peak_gflops (of a loop of multiply-adds on all threads, median of the same rounds; None without
        compiled kernels) and layers, a list of kind, shape, count (layers of the network), ms (of one), share (of the
        network, all of them) and, for matrix products, gflops (10^9 operations a second, two a multiply-accumulate; a
        NeoCell's blocks without zeros) and peak_share, None for others.

    Raises:
        UserError: an unknown model, a size that it cannot take, fewer than 2 rounds.
    """
    if rounds < 2:
        raise UserError(f"a median needs at least 2 rounds, got {rounds}")
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        passes = {
            name: _measure_pass(model, n, image_size, backward, rounds)
            for name, backward in (("forward", False), ("forward + backward", True))
        }
    finally:
        ms.set_context(mode=mode)
    return {
        "machine": describe_machine(),
        "model": model,
        "n": n,
        "image_size": image_size,
        "passes": passes,
    }


def _measure_pass(model: str, n: int, image_size: int, backward: bool, rounds: int) -> dict:
    network = create_model(model, seed=0)
    images = random_tensor((n, network.spec.in_channels, image_size, image_size))
    whole = runner(network, images, (n, network.num_classes) if backward else None, input_gradient=False)
    layers = list(_layers(model, network.spec, network.num_classes, images, backward))
    contenders = [Contender("network", whole), *(contender for _, contender in layers)]
    peak = None
    with contextlib.suppress(Unavailable):
        cpu_library()
        peak = Peak()
        contenders.append(Contender("peak", peak.run))
    results = measure(contenders, rounds)
    peak_gflops = peak.median() if peak else None
    network_ms = results[0]["ms"]
    rows = []
    for (layer, _), result in zip(layers, results[1:]):
        gflops = 2e-6 * layer.pop("macs") / result["ms"]
        row = {**layer, "ms": result["ms"], "share": layer["count"] * result["ms"] / network_ms}
        of_peak = gflops / peak_gflops if peak_gflops and gflops else None
        rows.append({**row, "gflops": gflops or None, "peak_share": of_peak})
    rest = network_ms - sum(row["count"] * row["ms"] for row in rows)
    return {"network_ms": network_ms, "rest_ms": rest, "peak_gflops": peak_gflops, "layers": rows}


def _layers(model: str, spec, num_classes: int, images, backward: bool):
    """Yield (kind, shape, count and macs of all images, Contender) for every kind of layer and every shape of it.

    Backward takes twice the multiply-accumulates of forward, once for the weights and once for the input; the stem's
    input needs no gradient.
    """
    # Its blocks are the chains; nothing else of it depends on how many there are.
    network = create_model(model, seed=0, depths=(CHAIN,) * len(spec.dims))
    n, _, side, _ = images.shape
    planes = check_input_size(side, side, len(spec.dims))
    costs = layer_costs(spec, side, side, num_classes)

    def layer(kind, cell, x, out, macs, count=1, repeats=1, products=3):
        run = runner(cell, x, out if backward else None, input_gradient=products == 3)
        title = {"kind": kind, "shape": _times(x.shape[1:]), "count": count}
        return {**title, "macs": n * macs * (products if backward else 1)}, Contender(kind, run, repeats)

    x = images
    yield layer("stem", network.stem, x, (n, spec.dims[0], *planes[0]), costs["stem"].macs_patchwise, products=2)
    for i, (depth, dim) in enumerate(zip(spec.depths, spec.dims)):
        shape = (n, dim, *planes[i])
        if i:
            macs = costs[f"downsamples.{i - 1}"].macs_patchwise
            yield layer("down-sampling", network.downsamples[i - 1], x, shape, macs)
        x = random_tensor(shape)
        neocell = patchwise_macs(spec.stage_groups(i), *planes[i])
        mlp = costs[f"stages.{i}.0"].macs_patchwise - neocell
        blocks = network.stages[i]
        for kind, cells, macs in (
            ("NeoCell", [block.neocell for block in blocks], neocell),
            ("BatchNorm", [block.norm for block in blocks], 0),
            ("MLP", [_MLP(block) for block in blocks], mlp),
        ):
            yield layer(kind, nn.SequentialCell(cells), x, shape, macs, depth, CHAIN)
        # Its gradient is an addition as well, of the branch's to the trunk's: with backward a layer is two of them.
        additions = nn.SequentialCell([_Addition(x) for _ in range(2 * CHAIN if backward else CHAIN)])
        title = {"kind": "addition", "shape": _times(shape[1:]), "count": depth, "macs": 0}
        yield title, Contender("addition", runner(additions, x), CHAIN)
    macs = costs["head"].macs_patchwise
    yield layer("head", network.head, x, (n, num_classes), macs)


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


class _MLP(nn.Cell):
    """The pointwise layers of a block and what is between them, as the block runs them."""

    def __init__(self, block):
        super().__init__()
        self.fc1, self.act, self.fc2, self.fused = block.fc1, block.act, block.fc2, block.fused_mlp

    def construct(self, x):
        if self.fused is not None and self.fused.serves(x):
            return self.fused(x, *self.fc1.parameters_as(x), *self.fc2.parameters_as(x))
        return self.fc2(self.act(self.fc1(x)))


class _Addition(nn.Cell):
    """x + branch."""

    def __init__(self, branch):
        super().__init__()
        self.branch = ms.Parameter(branch, requires_grad=False)

    def construct(self, x):
        return x + self.branch


def layers_table(result: dict) -> str:
    """A row a layer, with its time, its share of the network's and its speed, forward and forward + backward."""
    passes = list(result["passes"].values())
    rows = [("layer", "number", *(head for name in result["passes"] for head in (f"{name}, ms", *_HEADS)))]
    for pair in zip(*(timed["layers"] for timed in passes)):
        cells = [cell for layer in pair for cell in _cells(layer)]
        rows.append((f"{pair[0]['kind']} {pair[0]['shape']}", str(pair[0]["count"]), *cells))
    for kind in dict.fromkeys(layer["kind"] for layer in passes[0]["layers"]):
        sums = [_sum([layer for layer in timed["layers"] if layer["kind"] == kind]) for timed in passes]
        if sums[0]["shapes"] > 1:
            rows.append((f"all {kind}", str(sums[0]["count"]), *(cell for own in sums for cell in _cells(own))))
    whole = [(timed["rest_ms"], timed["network_ms"]) for timed in passes]
    rows.append(
        ("rest", "", *(cell for rest, total in whole for cell in (f"{rest:.2f}", _percent(rest / total), "", "")))
    )
    rows.append((result["model"], "1", *(cell for _, total in whole for cell in (f"{total:.2f}", _percent(1), "", ""))))
    size = result["image_size"]
    peaks = " and ".join(f"{timed['peak_gflops']:.0f}" for timed in passes if timed["peak_gflops"])
    notes = (
        f"{result['model']}, {result['n']} images of {size} x {size}, float32, medians of interleaved rounds. "
        f"ms: of one layer, in blocks as one of {CHAIN} in a row, elsewhere with the call from Python; "
        "all: their sum. Share: of all such layers. Rest: what the network takes beyond its layers.",
        f"Peak: {peaks} GFLOP/s, a loop of multiply-adds on all threads in the same rounds." if peaks else "",
        machine_line(result["machine"]),
    )
    return "\n\n".join((markdown_table(rows), "\n".join(note for note in notes if note)))


_HEADS = ("share", "GFLOP/s", "of peak")


def _sum(layers: Sequence[dict]) -> dict:
    """All layers of a kind as one."""
    total = sum(layer["count"] * layer["ms"] for layer in layers)
    gflops = sum(layer["count"] * layer["ms"] * (layer["gflops"] or 0) for layer in layers) / total
    known = all(layer["peak_share"] for layer in layers)
    return {
        "shapes": len(layers),
        "count": sum(layer["count"] for layer in layers),
        "ms": total,
        "share": sum(layer["share"] for layer in layers),
        "gflops": gflops or None,
        "peak_share": gflops * layers[0]["peak_share"] / layers[0]["gflops"] if known else None,
    }


def _cells(layer: dict) -> tuple[str, ...]:
    gflops = f"{layer['gflops']:.0f}" if layer["gflops"] else ""
    peak = _percent(layer["peak_share"]) if layer["peak_share"] else ""
    return f"{layer['ms']:.2f}", _percent(layer["share"]), gflops, peak


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
