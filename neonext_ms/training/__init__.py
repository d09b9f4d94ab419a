"""Training: configuration, optimiser, step, checkpoints, run folder, trainer."""

from typing import TYPE_CHECKING

from neonext_ms.lazy import lazy

if TYPE_CHECKING:
    from neonext_ms.training.config import TrainConfig as TrainConfig
    from neonext_ms.training.trainer import train as train

_LAZY = {"TrainConfig": "neonext_ms.training.config", "train": "neonext_ms.training.trainer"}
__all__ = [*_LAZY]
__getattr__, __dir__ = lazy(globals(), _LAZY)
