"""The result of a study as a picture: curves of a few variants that were evaluated several times, else their ends."""

from pathlib import Path

import numpy as np

from neonext_ms.analysis.pictures import to_png
from neonext_ms.analysis.study_report import runs_of
from neonext_ms.files import write_atomically

# Distinct for colour-blind readers (Okabe and Ito).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def plot_study(result: dict, output: Path):
    """Draw what `run_study` returns as a PNG. An older picture of that name is replaced.

    Of at most seven variants whose runs were evaluated more than once, validation accuracy and loss against epochs, as
    in the paper's Fig. 6: each run, mean and spread; those that diverged are dotted, with a cross where they ended, and
    do not count in the mean. Of others the accuracies at the end: a line a variant with its runs, their mean and one
    standard deviation, and a band that shows the first variant's across all.
    """
    from matplotlib.figure import Figure

    if len(result["table"]) <= len(_COLOURS) and any(len(run["curve"]) > 1 for run in result["runs"]):
        figure = Figure(figsize=(9, 3.9), layout="constrained")
        _draw_curves(figure, result)
    else:
        figure = Figure(figsize=(8, 1.1 + 0.3 * len(result["table"])), layout="constrained")
        _draw_ends(figure, result)
    write_atomically(output, to_png(figure, 110))


def _draw_curves(figure, result: dict):
    from matplotlib.ticker import MaxNLocator

    for axes, (key, title, factor) in zip(
        figure.subplots(1, 2), (("accuracy", "accuracy (%)", 100), ("loss", "loss", 1))
    ):
        for number, row in enumerate(result["table"]):
            _draw_variant(axes, row, runs_of(result, row), (key, factor), _COLOURS[number])
        axes.set(title=f"Validation {title}", xlabel="epoch")
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        if key == "loss":  # not up to where diverging runs go
            ends = [run["curve"][-1]["loss"] for run in result["runs"] if not run["diverged"]]
            axes.set_ylim(0, 2.5 * max(ends) if ends else None)
    lines = figure.axes[0].get_legend_handles_labels()
    title = "thick: mean of the runs; band: one standard deviation; thin: each run"
    figure.legend(*lines, title=title, title_fontsize=8, loc="outside lower center", ncols=2, fontsize=8, frameon=False)


def _draw_variant(axes, row: dict, runs: list[dict], measure: tuple[str, float], colour: str):
    """The runs of one variant, by a key of their curves and its factor."""
    key, factor = measure
    curves = []
    for run in runs:
        epochs = [point["epoch"] for point in run["curve"]]
        values = [factor * point[key] for point in run["curve"]]
        thin = {"color": colour, "alpha": 0.6, "linewidth": 0.8, "markersize": 3}
        if run["diverged"]:
            axes.plot(epochs, values, linestyle=":", marker="x", markevery=[-1] if values else [], **thin)
        else:
            axes.plot(epochs, values, marker=".", **thin)
            curves.append(values)
    label = f"{row['label']}, {row['runs']} run{'s' * (row['runs'] != 1)}{_diverged(row)}"
    mean, spread = (np.mean(curves, 0), np.std(curves, 0, ddof=len(curves) > 1)) if curves else ([], [])
    epochs = [point["epoch"] for point in next(run for run in runs if not run["diverged"])["curve"]] if curves else []
    axes.plot(epochs, mean, color=colour, linewidth=1.8, label=label)
    if curves:
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)


def _draw_ends(figure, result: dict):
    axes, rows = figure.subplots(), result["table"]
    for place, row in enumerate(rows):
        ends = [100 * run["curve"][-1]["accuracy"] for run in runs_of(result, row) if not run["diverged"]]
        axes.plot(ends, [place] * len(ends), ".", color="#666666", markersize=5, label="a run" if place == 0 else None)
        if row["accuracy"]:
            _draw_mean(axes, place, row["accuracy"])
    axes.set_yticks(range(len(rows)), [row["label"] + _diverged(row) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("accuracy on the validation images (%)", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _diverged(row: dict) -> str:
    return f", {row['diverged']} diverged" if row["diverged"] else ""


def _draw_mean(axes, place: int, accuracy: dict):
    mean, spread = 100 * accuracy["mean"], 100 * (accuracy["spread"] or 0)
    named = place == 0
    style = {"color": "#D55E00", "capsize": 3, "elinewidth": 1.2, "markersize": 5, "fmt": "D"}
    axes.errorbar(mean, place, xerr=spread, label="mean, standard deviation" if named else None, **style)
    if named:
        axes.axvspan(mean - spread, mean + spread, color="#0072B2", alpha=0.15, linewidth=0, label="those of the first")
