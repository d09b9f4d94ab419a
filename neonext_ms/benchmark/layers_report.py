"""The result of `benchmark_layers` as a Markdown table."""

from collections.abc import Sequence

from neonext_ms.benchmark.graphs import CHAIN
from neonext_ms.benchmark.machine import machine_line
from neonext_ms.markdown import table


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
    brief = " in bfloat16" if result["matmul_precision"] == "bfloat16" else ""
    products = f", products{brief}" if brief else ""
    notes = (
        f"{result['model']}, {result['n']} images of {size} x {size}, float32{products}, medians of interleaved "
        f"rounds. ms: of one layer, in blocks as one of {CHAIN} in a row, elsewhere with the call from Python; "
        "all: their sum. Share: of all such layers. Rest: what the network takes beyond its layers.",
        f"Peak: {peaks} GFLOP/s, a loop of multiply-adds{brief} on all threads in the same rounds." if peaks else "",
        machine_line(result["machine"]),
    )
    return "\n\n".join((table(rows), "\n".join(note for note in notes if note)))


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
