"""The results of a benchmark as a Markdown table, as a picture, and inside the README."""

import io
from pathlib import Path

from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically

_BEGIN, _END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
# What the paper says of a V100 (section 4.5): block-diagonal against patch-wise, and its C++ form against that.
_PAPER = "paper, on a V100: block-diagonal 15 times as fast as patch-wise, its C++ form 3 times as fast again"


def benchmark_table(result: dict) -> str:
    """One row a contender: median, quartiles, and how many times the median of the case's first contender."""
    machine = result["machine"]
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
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    versions = f"MindSpore {machine['mindspore']}" + (f", PyTorch {machine['torch']}" if machine["torch"] else "")
    note = (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} when measured; compiled kernel: "
        f"{machine['vectors']}; {versions}.\nMedians of interleaved rounds, float32. First call: with compilation. "
        f"({_PAPER}.)"
    )
    return f"{table}\n\n{note}"


def update_readme(readme: Path, table: str):
    """Replace the text between the benchmark marks of a README.

    Raises:
        UserError: the file or one of the marks is missing.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {readme}: {error.strerror}") from None
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UserError(f"{readme} has no place for the benchmark table: add the lines {_BEGIN} and {_END}")
    write_atomically(readme, f"{before}{_BEGIN}\n{table}\n{_END}{after}".encode())


def plot_benchmark(result: dict, output: Path):
    """Draw a panel of bars for each case, with whiskers from quartile to quartile, as a PNG."""
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
        axis.barh([r["name"] for r in results], medians, xerr=whiskers, color=colours)
        axis.set_title(f"{case['what']} {case['shape']}\n{case['pass']}, N = {case['n']}", fontsize=9)
        axis.set_xlabel("milliseconds", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[len(cases) :]:
        axis.remove()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(output, picture.getvalue())
