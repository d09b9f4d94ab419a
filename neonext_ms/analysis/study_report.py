"""The result of a study: its file, and the table made of it."""

import statistics
from pathlib import Path

from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.errors import UserError
from neonext_ms.files import read_regular
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
            if not runs_of(result, row):
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
    return table((_TITLES, *(_cells(row, runs_of(result, row)) for row in result["table"])), right=True)


def runs_of(result: dict, row: dict) -> list[dict]:
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
