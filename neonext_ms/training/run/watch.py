"""What the losses say: updates that had to be skipped, and spikes."""

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 100  # losses that the usual one is the median of
ENOUGH = 20  # before there is a usual one


@dataclass(frozen=True)
class Oddity:
    """An update out of the usual.

    Attributes:
        what: for people.
        skipped: whether it changed nothing.
    """

    what: str
    skipped: bool


class Watch:
    """Looks at every update, in order; what it remembers is part of a checkpoint.

    Args:
        spike_factor: a loss of more than this times the median of the last 100 is a spike; 0 is never.
        skip_spikes: whether spikes are to change nothing.

    Attributes:
        in_a_row: updates that were skipped since the last one that was not.
    """

    def __init__(self, spike_factor: float, skip_spikes: bool):
        self.spike_factor = spike_factor
        self.skip_spikes = skip_spikes
        self.in_a_row = 0
        self._losses = deque(maxlen=WINDOW)

    @property
    def usual(self) -> float:
        """Median of the last losses; infinite while there are too few."""
        if len(self._losses) < ENOUGH:
            return math.inf
        return sorted(self._losses)[len(self._losses) // 2]

    @property
    def limit(self) -> float:
        """Loss above which an update is to be skipped; infinite for none."""
        return self.spike_factor * self.usual if self.spike_factor and self.skip_spikes else math.inf

    def see(self, loss: float, gradient_norm: float, finite: bool) -> Oddity | None:
        """Take note of an update; returns what is odd about it."""
        spike = self.spike_factor and loss > self.spike_factor * self.usual
        self.in_a_row = 0 if finite else self.in_a_row + 1
        what = None
        if not math.isfinite(loss):
            what = f"the loss is {loss}"
        elif not math.isfinite(gradient_norm):
            what = "the gradient is not finite"
        elif spike:
            what = f"the loss {loss:.4g} is a spike: usual is {self.usual:.4g}"
        if finite:
            self._losses.append(loss)
        return Oddity(what, not finite) if what else None

    def state(self) -> dict:
        """For a checkpoint."""
        return {"in_a_row": self.in_a_row, "losses": list(self._losses)}

    def restore(self, state: dict):
        """Go on from a checkpoint."""
        self.in_a_row = state["in_a_row"]
        self._losses.extend(state["losses"])
