"""The results of a benchmark as a Markdown table, as a picture, and inside the README."""

import io
from collections.abc import Sequence
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically

# Ratios of an operator case as `benchmark` reports them, and the heads of their columns; the paper's own are of a V100
# (section 4.5: block-diagonal against patch-wise, and its C++ form against that).
_RATIOS = {
    "patchwise / dense": "patchwise / dense (paper: 15)",
    "dense / NeoCell": "dense / fused (paper: 3)",
    "patchwise / NeoCell": "patchwise / fused",
    "kernel alone / NeoCell": "kernel alone / fused",
}


def benchmark_table(result: dict) -> str:
    """One row a contender: median, quartiles, and how many times the median of the case's first contender.

    Below it the operator's ratios beside the paper's, and the machine.
    """
    rows = [("case", "N", "contender", "ms", "quartiles", "times the first", "first call (ms)")]
    for case in result["cases"]:
        own = case["results"][0]["ms"]
        for i, r in enumerate(case["results"]):
            title = f"{case['what']} {case['shape']}, {case['pass']}" if i == 0 else ""
            rows.append(
                (
                    title,
                    str(case["n"]) if i == 0 else "",
                    r["name"],
                    f"{r['ms']:.3f}",
                    f"{r['low_ms']:.3f} - {r['high_ms']:.3f}",
                    f"{r['ms'] / own:.2f}",
                    f"{r['first_ms']:.0f}",
                )
            )
    note = f"{machine_line(result['machine'])}\nMedians of interleaved rounds, float32. First call: with compilation."
    return "\n\n".join(part for part in (markdown_table(rows), _ratios_table(result["cases"]), note) if part)


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
    return f"{markdown_table(rows)}\n\n{note}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the first of them the heads of the columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine_line(machine: dict) -> str:
    """One sentence about what `describe_machine` found."""
    versions = f"MindSpore {machine['mindspore']}" + (f", PyTorch {machine['torch']}" if machine["torch"] else "")
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} when measured; compiled kernel: "
        f"{machine['vectors']}; {versions}."
    )


def update_readme(readme: Path, table: str, name: str = "benchmark"):
    """Replace the text between the two marks of a name in a README.

    Raises:
        UserError: the file or one of the marks is missing.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {readme}: {error.strerror}") from None
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise UserError(f"{readme} has no place for the {name} table: add the lines {first} and {last}")
    write_atomically(readme, f"{before}{first}\n{table}\n{last}{after}".encode())


def plot_benchmark(result: dict, output: Path):
    """Draw a panel of bars a case, with the medians in figures and whiskers from quartile to quartile, as a PNG."""
    from matplotlib.figure import Figure

    cases = result["cases"]
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.8 + 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, case in zip(axes, cases):
        results = case["results"][::-1]
        medians = [r["ms"] for r in results]
        whiskers = [[r["ms"] - r["low_ms"] for r in results], [r["high_ms"] - r["ms"] for r in results]]
        colours = ["#999999"] * (len(results) - 1) + ["#0072B2"]
        bars = axis.barh([r["name"] for r in results], medians, xerr=whiskers, color=colours)
        axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=7)  # one may be hundreds of times another
        axis.margins(x=0.2)
        axis.set_title(f"{case['what']} {case['shape']}\n{case['pass']}, N = {case['n']}", fontsize=9)
        axis.set_xlabel("milliseconds", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(cases) :]:
        axis.remove()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(output, picture.getvalue())
