"""The result of an ablation as a table and as a picture."""

import io
from pathlib import Path

import numpy as np

from neonext_ms.files import write_atomically

_COLOURS = {"neo": "#0072B2", "normal": "#D55E00"}  # distinct for colour-blind readers
_COLUMNS = (("accuracy", "final accuracy (%)", 100), ("best_accuracy", "best (%)", 100), ("loss", "final loss", 1))


def ablation_table(result: dict) -> str:
    """What `ablate` returns as a Markdown table: mean +- spread of the runs that did not diverge."""
    titles = ["initialisation", "runs", "diverged", *(title for _, title, _ in _COLUMNS)]
    rows = [[row["label"], str(row["runs"]), str(row["diverged"]), *_measures(row)] for row in result["table"]]
    widths = [max(map(len, column)) for column in zip(titles, *rows)]
    lines = ["| " + " | ".join(map(str.ljust, cells, widths)) + " |" for cells in (titles, *rows)]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _measures(row: dict) -> list[str]:
    cells = []
    for key, _, factor in _COLUMNS:
        digits = 2 if factor == 100 else 3
        value = row[key]
        cell = "-" if value is None else f"{factor * value['mean']:.{digits}f}"
        cells.append(
            cell + ("" if not value or value["spread"] is None else f" ± {factor * value['spread']:.{digits}f}")
        )
    return cells


def plot_ablation(result: dict, output: Path):
    """Draw validation accuracy and loss against epochs as a PNG: each run, mean and spread, as in the paper's Fig. 6.

    Runs that diverged are dotted and do not count in the mean. An older picture of that name is replaced.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (key, title, factor) in zip(
        figure.subplots(1, 2), (("accuracy", "accuracy (%)", 100), ("loss", "loss", 1))
    ):
        for row in result["table"]:
            runs = [run for run in result["runs"] if run["init"] == row["init"]]
            count = row["runs"] - row["diverged"]
            label = f"{row['label']}, {count} run{'s' * (count != 1)}"
            _draw(axes, runs, key, factor, _COLOURS[row["init"]], label)
        axes.set(title=f"Validation {title}", xlabel="epoch")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        if key == "loss":
            axes.set_ylim(0, None)
            axes.legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90)
    write_atomically(output, picture.getvalue())


def _draw(axes, runs: list[dict], key: str, factor: float, colour: str, label: str):
    curves = []
    for run in runs:
        epochs = [point["epoch"] for point in run["curve"]]
        values = [factor * point[key] for point in run["curve"]]
        axes.plot(epochs, values, color=colour, alpha=0.4, linewidth=0.7, linestyle=":" if run["diverged"] else "-")
        if not run["diverged"]:
            curves.append(values)
    if curves:
        mean, spread = np.mean(curves, 0), np.std(curves, 0, ddof=len(curves) > 1)
        axes.plot(epochs, mean, color=colour, linewidth=1.8, label=label)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
