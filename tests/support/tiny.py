"""A network of two blocks, and a run of it on the built-in digits that takes seconds."""

import json
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.runtime.ranks import Ranks, join_ranks
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources

# What it overrides of neonext_pico.
TINY = {"depths": [1, 1], "dims": [8, 16], "kernels": ["4+7", "7"], "shifts": [1, 0]}
SHORT = {"epochs": 2, "batch_size": 128, "eval_batch_size": 60, "random_crop": "pad", "mixup": 0.5}
SHORT |= {"drop_path_rate": 0.2, "num_workers": 0, "log_interval": 4}
# For any number of ranks: SGD, as AdamW's first steps divide a gradient by its own size, rounding errors included.
ELASTIC = {**SHORT, "epochs": 1, "batch_size": 64, "global_batch": 128, "log_interval": 1}
ELASTIC |= {"optimizer": "sgd", "lr": 0.05, "ema_decay": 0.5, "preempt_signal": "SIGUSR1"}
EPOCH = 11  # updates, of 1437 // 128


@dataclass(frozen=True)
class TinyConfig(TrainConfig):
    """A configuration of a network that no name stands for."""

    @property
    def model_overrides(self) -> dict:
        return TINY


TIMES = ("time", "images_per_second", "data_wait", "seconds")


def events(run: Path, *kinds: str) -> list[dict]:
    """Events of a run, without what depends on the clock."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines if line["event"] in kinds]


def assembled(config: TrainConfig, ranks: Ranks | None = None):
    """The `Job` of a configuration, as a run of it has before its first update."""
    from neonext_ms.training.assemble import assemble

    return assemble(config, open_sources(config), ranks or join_ranks("CPU"))[0]
