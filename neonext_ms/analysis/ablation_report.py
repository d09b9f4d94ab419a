"""The result of an ablation as a table and as a picture."""

from pathlib import Path

import numpy as np

from neonext_ms.analysis.pictures import to_png
from neonext_ms.files import write_atomically
from neonext_ms.markdown import table

_COLOURS = {"neo": "#0072B2", "normal": "#D55E00"}  # distinct for colour-blind readers
_COLUMNS = (("accuracy", "final accuracy (%)", 100), ("best_accuracy", "best (%)", 100), ("loss", "final loss", 1))


def ablation_table(result: dict) -> str:
    """What `ablate` returns as a Markdown table: mean +- spread of the runs that did not diverge."""
    titles = ["initialisation", "runs", "diverged", *(title for _, title, _ in _COLUMNS)]
    rows = [[row["label"], str(row["runs"]), str(row["diverged"]), *_measures(row)] for row in result["table"]]
    return table((titles, *rows))


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

    Runs that diverged are dotted, with a cross where they ended, and do not count in the mean. An older picture of that
    name is replaced.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, (key, title, factor) in zip(
        figure.subplots(1, 2), (("accuracy", "accuracy (%)", 100), ("loss", "loss", 1))
    ):
        for row in result["table"]:
            _draw(axes, row, [run for run in result["runs"] if run["init"] == row["init"]], (key, factor))
        axes.set(title=f"Validation {title}", xlabel="epoch")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        if key == "loss":  # not up to where diverging runs go
            ends = [point["loss"] for run in result["runs"] if not run["diverged"] for point in run["curve"]]
            axes.set_ylim(0, 1.2 * max(ends) if ends else None)
    lines = figure.axes[0].get_legend_handles_labels()
    title = "thick: mean of the runs; band: one standard deviation; thin: each run"
    figure.legend(*lines, title=title, title_fontsize=8, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    write_atomically(output, to_png(figure, 110))


def _draw(axes, row: dict, runs: list[dict], measure: tuple[str, float]):
    """The runs of one initialisation, by a key of their curves and its factor."""
    key, factor = measure
    colour, curves = _COLOURS[row["init"]], []
    for run in runs:
        epochs = [point["epoch"] for point in run["curve"]]
        values = [factor * point[key] for point in run["curve"]]
        thin = {"color": colour, "alpha": 0.6, "linewidth": 0.8, "markersize": 3}
        if run["diverged"]:
            axes.plot(epochs, values, linestyle=":", marker="x", markevery=[-1] if values else [], **thin)
        else:
            axes.plot(epochs, values, marker=".", **thin)
            curves.append(values)
    diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
    label = f"{row['label']}, {row['runs']} run{'s' * (row['runs'] != 1)}{diverged}"
    mean, spread = (np.mean(curves, 0), np.std(curves, 0, ddof=len(curves) > 1)) if curves else ([], [])
    epochs = [point["epoch"] for point in next(run for run in runs if not run["diverged"])["curve"]] if curves else []
    axes.plot(epochs, mean, color=colour, linewidth=1.8, label=label)
    if curves:
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
