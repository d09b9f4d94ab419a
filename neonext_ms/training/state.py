"""Where a run stands between two updates, besides its parameters."""

import time

from neonext_ms.data import Loader
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.ledger import Updates


class RunState:
    """Counts a run's updates, keeps its evaluations, and knows what is next; writes itself into checkpoints.

    Args:
        config: of the run.
        loader: of its training data.
        begin: when this process began it, of `time.perf_counter`.

    Attributes:
        step: updates that were made.
        evaluated: the step of the last evaluation.
        final: its result: epoch, step and metrics, those of averaged weights as ema_*; None before the first.
        best: epoch, step and metrics of the best one, and of which weights they are, "raw" or "ema".
        updates: what the updates have said.
    """

    def __init__(self, config: TrainConfig, loader: Loader, begin: float):
        self.config = config
        self.steps_an_epoch = len(loader)
        self.total_steps = config.epochs * len(loader)
        self.step = self.evaluated = 0
        self.final = self.best = None
        self.updates = Updates(config, loader)
        self._begin, self._seconds_before = begin, 0.0

    @property
    def epoch(self) -> int:
        """The epoch of the last update, 1-based."""
        return max(1, -(-self.step // self.steps_an_epoch))

    @property
    def evaluation_is_due(self) -> bool:
        at_end = self.step > 0 and self.step % self.steps_an_epoch == 0
        return at_end and self._is_evaluated(self.epoch) and self.evaluated < self.step

    @property
    def finished(self) -> bool:
        return self.step == self.total_steps and not self.evaluation_is_due

    @property
    def evaluations_left(self) -> int:
        epochs = range(self.step // self.steps_an_epoch + 1, self.config.epochs + 1)
        return sum(map(self._is_evaluated, epochs))

    @property
    def seconds(self) -> float:
        """That the run has taken, with those before it was resumed."""
        return self._seconds_before + time.perf_counter() - self._begin

    def evaluate(self, metrics: dict[str, dict]) -> str | None:
        """Take in an evaluation.

        Args:
            metrics: what `evaluate` gave for each kind of weights, "raw" and perhaps "ema".

        Returns:
            the kind whose metrics are the best so far, if they are.
        """
        at = {"epoch": self.epoch, "step": self.step}
        ema = metrics.get("ema", {})
        averaged = {f"ema_{key}": ema[key] for key in ("loss", "accuracy", "mAP") if key in ema}
        self.final, self.evaluated = {**at, **metrics["raw"], **averaged}, self.step
        kind = min(metrics, key=lambda name: _order(metrics[name]))
        if self.best is not None and _order(metrics[kind]) >= _order(self.best):
            return None
        self.best = {**at, **metrics[kind], "weights": kind}
        return kind

    def write(self) -> dict:
        """What a checkpoint of this moment says about it."""
        evaluated = self.final if self.evaluated == self.step else None
        return {
            "epoch": self.epoch,
            "step": self.step,
            "weights": "raw",
            "metrics": _metrics(evaluated),
            "training": {
                "evaluated": self.evaluated,
                "best": self.best,
                "final": self.final,
                "updates": self.updates.state(),
                "seconds": round(self.seconds, 3),
            },
        }

    def write_best(self) -> dict:
        """Likewise for the weights of the best evaluation, which was just made; nothing can go on from them."""
        at = {key: self.best[key] for key in ("epoch", "step", "weights")}
        return {**at, "metrics": _metrics(self.best)}

    def read(self, manifest: dict):
        """Go on from where a checkpoint was written."""
        training = manifest["training"]
        self.step, self.evaluated = manifest["step"], training["evaluated"]
        self.best, self.final = training["best"], training["final"]
        self.updates.restore(training["updates"])
        self._seconds_before = training["seconds"]

    def _is_evaluated(self, epoch: int) -> bool:
        return epoch % self.config.val_interval == 0 or epoch == self.config.epochs


def _metrics(evaluated: dict | None) -> dict:
    """Of an evaluation, without where it was."""
    return {key: value for key, value in (evaluated or {}).items() if key not in ("epoch", "step", "weights")}


def _order(metrics: dict) -> tuple:
    """Smaller for better ones."""
    return -metrics.get("mAP", metrics["accuracy"]), metrics["loss"]
