"""The result of `benchmark_compute` as Markdown tables and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from neonext_ms.analysis.pictures import to_png
from neonext_ms.benchmark.machine import machine_line
from neonext_ms.files import write_atomically
from neonext_ms.markdown import table

# Ratios of an operator case as they are reported, and the heads of their columns; the paper's own are of a V100
# (section 4.5: block-diagonal against patch-wise, and its C++ form against that).
_RATIOS = {
    "patchwise / dense": "patchwise / dense (paper: 15)",
    "dense / NeoCell": "dense / fused (paper: 3)",
    "patchwise / NeoCell": "patchwise / fused",
    "kernel alone / NeoCell": "kernel alone / fused",
}


def compute_table(result: dict) -> str:
    """One row a contender: median, quartiles, and how many times the median of the case's first contender.

    Below it the operator's ratios beside the paper's, and the machine.
    """
    rows = [("case", "N", "contender", "ms", "quartiles", "times the first", "first call (ms)")]
    for case in result["cases"]:
        own = case["results"][0]["ms"]
        for i, r in enumerate(case["results"]):
            rows.append(
                (
                    "" if i else f"{case['what']} {case['shape']}, {case['pass']}",
                    "" if i else str(case["n"]),
                    r["name"],
                    f"{r['ms']:.3f}",
                    f"{r['low_ms']:.3f} - {r['high_ms']:.3f}",
                    f"{r['ms'] / own:.2f}",
                    f"{r['first_ms']:.0f}",
                )
            )
    note = (
        f"{machine_line(result['machine'])}\nMedians of interleaved rounds, float32 unless the contender says "
        "otherwise. First call: with compilation."
    )
    return "\n\n".join(part for part in (table(rows), _ratios_table(result["cases"]), note) if part)


def _ratios_table(cases: Sequence[dict]) -> str:
    """The ratios of the operator's cases beside the paper's, or "" where there are none."""
    cases = [case for case in cases if case["what"] == "operator"]
    columns = {pair: head for pair, head in _RATIOS.items() if any(pair in case["ratios"] for case in cases)}
    if not columns:
        return ""
    rows = [("ratio of times", *columns.values())]
    for case in cases:
        cells = [f"{case['ratios'][pair]:.2f}" if pair in case["ratios"] else "-" for pair in columns]
        rows.append((f"operator {case['shape']}, {case['pass']}", *cells))
    note = "dense is the block-diagonal form. Kernel alone / fused: the share of the kernel's speed kept in MindSpore."
    return f"{table(rows)}\n\n{note}"


def draw_compute(result: dict, output: Path):
    """Draw a panel of bars a case as a PNG: medians in figures, whiskers from the lower to the upper quartile."""
    from matplotlib.figure import Figure

    cases = result["cases"]
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(4.2 * columns, 1.2 + 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, case in zip(axes, cases):
        results = case["results"][::-1]
        medians = [r["ms"] for r in results]
        whiskers = [[r["ms"] - r["low_ms"] for r in results], [r["high_ms"] - r["ms"] for r in results]]
        colours = ["#999999"] * (len(results) - 1) + ["#0072B2"]
        bars = axis.barh([r["name"] for r in results], medians, xerr=whiskers, color=colours, error_kw={"capsize": 2})
        axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=7)  # one may be hundreds of times another
        axis.margins(x=0.2)
        axis.set_title(f"{case['what']} {case['shape']}\n{case['pass']}, N = {case['n']}", fontsize=9)
        axis.set_xlabel("milliseconds", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(cases) :]:
        axis.remove()
    figure.supxlabel("bars: medians of interleaved rounds; whiskers: from the lower to the upper quartile", fontsize=7)
    write_atomically(output, to_png(figure, 120))
