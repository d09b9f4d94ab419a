"""The result of a study as a table and as a picture."""

import statistics
from pathlib import Path

from neonext_ms.analysis.pictures import to_png
from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.errors import UserError
from neonext_ms.files import read_regular, write_atomically
from neonext_ms.markdown import table

_TITLES = ("variant", "runs", "diverged", "accuracy (%)", "loss", "parameters (k)", "MMACs", "minutes")


def read_result(path: Path) -> dict:
    """What `run_study` returned, and the machine, from the JSON file that was written of it.

    Raises:
        UserError: the file cannot be read, or is another one.
    """
    try:
        result = parse_json(read_regular(path))
        check_type(result["machine"], str, "machine")
        for row in result["table"]:
            check_type(row["label"], str, "label")
            if not _of(result, row):
                raise ValueError(f"it has no runs of {row['variant']}")
            for key in ("accuracy", "loss"):
                check_type(row[key], dict | None, key)
        for run in result["runs"]:
            for key in ("parameters", "macs"):
                check_type(run[key], int, key)
            check_type(run["cpu_seconds"], float | None, "cpu_seconds")
        return result
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} is not the result of a study ({error}): give the study.json of its folder") from None


def study_table(result: dict) -> str:
    """A Markdown table: mean and standard deviation over the seeds that did not diverge, and what a variant costs.

    Costs are those of one image through the network (NeoCells patch-wise), and the processor's time of a whole run
    with compilation and evaluations, on average.
    """
    return table((_TITLES, *(_cells(row, _of(result, row)) for row in result["table"])), right=True)


def _of(result: dict, row: dict) -> list[dict]:
    return [run for run in result["runs"] if run["variant"] == row["variant"]]


def _cells(row: dict, runs: list[dict]) -> list[str]:
    times = [run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None]
    return [
        *(row["label"], str(row["runs"]), str(row["diverged"])),
        *(_measure(row["accuracy"], 100, 2), _measure(row["loss"], 1, 4)),
        *(f"{runs[0]['parameters'] / 1e3:.0f}", f"{runs[0]['macs'] / 1e6:.2f}"),
        f"{statistics.mean(times) / 60:.1f}" if times else "-",
    ]


def _measure(value: dict | None, factor: float, digits: int) -> str:
    if value is None:
        return "-"
    mean = f"{factor * value['mean']:.{digits}f}"
    return mean if value["spread"] is None else f"{mean} ± {factor * value['spread']:.{digits}f}"


def plot_study(result: dict, output: Path):
    """Draw the accuracies as a PNG: a line a variant with its runs, their mean and one standard deviation.

    A band shows the first variant's mean and deviation across all. An older picture of that name is replaced.
    """
    from matplotlib.figure import Figure

    rows = result["table"]
    figure = Figure(figsize=(8, 1.1 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        ends = [100 * run["curve"][-1]["accuracy"] for run in _of(result, row) if not run["diverged"]]
        axes.plot(ends, [place] * len(ends), ".", color="#666666", markersize=5, label="a run" if place == 0 else None)
        if row["accuracy"]:
            _draw_mean(axes, place, row["accuracy"])
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy on the validation images (%)", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    write_atomically(output, to_png(figure, 110))


def _draw_mean(axes, place: int, accuracy: dict):
    mean, spread = 100 * accuracy["mean"], 100 * (accuracy["spread"] or 0)
    named = place == 0
    style = {"color": "#D55E00", "capsize": 3, "elinewidth": 1.2, "markersize": 5, "fmt": "D"}
    axes.errorbar(mean, place, xerr=spread, label="mean, standard deviation" if named else None, **style)
    if named:
        axes.axvspan(mean - spread, mean + spread, color="#0072B2", alpha=0.15, linewidth=0, label="those of the first")
