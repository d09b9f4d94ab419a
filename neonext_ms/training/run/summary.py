"""What is left to say when a run is over."""

import os
import platform

from neonext_ms.checkpoint.store import versions
from neonext_ms.ops.cpu.library import cpu_bfloat16
from neonext_ms.training.run.folder import RunFolder
from neonext_ms.training.run.progress import Progress


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
