"""What the updates of a run say, read from the device, watched and summed up for the next report."""

import math
from collections import deque
from dataclasses import asdict, dataclass

from neonext_ms.data import Loader
from neonext_ms.errors import DivergedError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.watch import Watch


@dataclass
class Interval:
    """Sums over the updates since the last report; part of a checkpoint, so that a resumed run reports the same.

    Attributes:
        updates: how many changed something; the sums are over these.
        skipped: how many did not.
        loss, correct, gradient_norm: of `StepMetrics`.
        loss_scale: of the last of them.
    """

    updates: int = 0
    skipped: int = 0
    loss: float = 0.0
    correct: float = 0.0
    gradient_norm: float = 0.0
    loss_scale: float = 1.0

    def add(self, update):
        """Take in the `StepMetrics` of one more."""
        self.loss_scale = update.loss_scale
        if not update.finite:
            self.skipped += 1
            return
        self.updates += 1
        self.loss += update.loss
        self.correct += update.correct
        self.gradient_norm += update.gradient_norm

    def metrics(self, global_batch: int) -> dict:
        """Means over the updates, of which there is one at least, with accuracy as a share of the images."""
        return {
            "loss": self.loss / self.updates,
            "accuracy": self.correct / (self.updates * global_batch),
            "gradient_norm": self.gradient_norm / self.updates,
            "skipped": self.skipped,
            "loss_scale": self.loss_scale,
        }


class Updates:
    """Takes the results of the updates in order.

    Reading one waits for the device, so it is done only where something depends on it: a report, a checkpoint, whether
    the next one is to be skipped, and the decision that too many have been skipped.

    Args:
        config: of the run.
        loader: says which samples an update has seen.

    Attributes:
        limit: loss above which the next update is to be skipped.
        interval: those since the last report.
    """

    def __init__(self, config: TrainConfig, loader: Loader):
        self.config = config
        self.loader = loader
        self.interval = Interval()
        self._watch = Watch(config.spike_factor, config.skip_spikes)
        self._unread = []  # (step, result)
        self._results = deque(maxlen=2)  # the last two

    @property
    def limit(self) -> float:
        return self._watch.limit

    def add(self, step: int, result, reporter: Reporter):
        """Take the result of the update that made `step`."""
        self._unread.append((step, result))
        self._results.append(result)
        if self.config.skip_spikes or len(self._unread) >= self.config.max_bad_updates:
            self.read(reporter)

    def flags(self) -> list[bool]:
        """What any rank has told with the update before the last one; that one may still be under way.

        So the device has work while the host waits for what all ranks decide by. Before a second update: nothing.
        """
        from neonext_ms.training.step import FLAGS, read_flags

        return read_flags(self._results[0]) if len(self._results) == 2 else [False] * FLAGS

    def forget_flags(self):
        """What was asked for has been done; that it was asked for again meanwhile does not count."""
        self._results.clear()

    def wait(self):
        """Return when the device has made the last update."""
        if self._unread:
            self._unread[-1][1].asnumpy()

    def read(self, reporter: Reporter):
        """Take in what has come.

        Raises:
            DivergedError: too many updates in a row were skipped.
        """
        from neonext_ms.training.step import StepMetrics

        unread, self._unread = self._unread, []
        for step, result in unread:
            update = StepMetrics.read(result)
            self.interval.add(update)
            if self._is_overflow(update):
                continue
            oddity = self._watch.see(update.loss, update.gradient_norm, bool(update.finite))
            if oddity is None:
                continue
            epoch, i = divmod(step - 1, len(self.loader))
            samples = self.loader.samples(epoch, i)
            reporter.oddity(step, oddity, samples, update)
            if self._watch.in_a_row >= self.config.max_bad_updates:
                raise DivergedError(
                    f"{self._watch.in_a_row} updates in a row were skipped, the last at step {step} (epoch {epoch + 1}"
                    f"): {oddity.what}; its samples: {', '.join(samples[:3])} and {len(samples) - 3} more, all in "
                    "metrics.jsonl; the weights are as before these updates: use a lower lr or a longer warm-up, or "
                    "look at the samples"
                )

    def _is_overflow(self, update) -> bool:
        """Whether a gradient was too large in float16 for a loss scale that can still get smaller: no oddity then."""
        smaller = self.config.loss_scale_type == "dynamic" and update.loss_scale > 1
        return smaller and math.isfinite(update.loss) and not math.isfinite(update.gradient_norm)

    def state(self) -> dict:
        """For a checkpoint; everything must have been read."""
        return {"interval": asdict(self.interval), "watch": self._watch.state()}

    def restore(self, state: dict):
        """Go on from a checkpoint."""
        self.interval = Interval(**state["interval"])
        self._watch.restore(state["watch"])
