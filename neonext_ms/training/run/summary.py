"""What is left to say when a run is over."""

import os
import platform
from pathlib import Path

from neonext_ms.checkpoint.fields import check_type, parse_json
from neonext_ms.checkpoint.store import versions
from neonext_ms.errors import UserError
from neonext_ms.files import open_regular
from neonext_ms.ops.cpu.library import cpu_bfloat16
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress

# What readers of a summary go by.
_NEEDED = {"parameters": int, "total_seconds": float, "best": dict, "final": dict}
_NEEDED_OF_BEST = {"epoch": int, "accuracy": float, "images": int}


def read_summary(path: Path) -> dict:
    """The summary that a finished run has written.

    Raises:
        UserError: the file cannot be read, or is not what a run writes.
    """
    try:
        with open_regular(path) as file:
            summary = parse_json(file.read())
        for part, needed in ((summary, _NEEDED), (summary.get("best"), _NEEDED_OF_BEST)):
            for key, hint in needed.items():
                check_type(part.get(key), hint, key)
        check_type(summary["final"].get("accuracy"), float, "accuracy")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): resuming the run writes it anew") from None
    return summary


def summary_of(job, state, progress: Progress, folder: RunFolder | None, compile_seconds: float) -> dict:
    """The summary of a `Job` at the end of its `RunState`."""
    config = job.config
    machine = {"cpu_cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()}
    if config.matmul_precision == "bfloat16":
        machine["bfloat16"] = cpu_bfloat16()  # which bits come out depends on it
    return {
        "model": config.model,
        "dataset": config.dataset,
        "run": str(folder.path) if folder else None,
        "classes": len(job.loader.source.class_names),
        "parameters": job.parameter_count,
        "final": state.final,
        "best": state.best,
        "images_per_second": round(progress.images_per_second, 1),
        "data_wait": round(progress.data_wait, 4),
        "milliseconds_per_step": round(progress.milliseconds_per_step, 2),
        "compile_seconds": round(compile_seconds, 2),
        "total_seconds": round(state.seconds, 2),
        "device": job.ranks.device,
        "devices": job.ranks.world,
        "matmul_precision": config.matmul_precision,
        "machine": machine,
        "versions": versions(),
    }
