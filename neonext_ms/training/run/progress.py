"""How far a run is, how fast it goes, and how much of its time the data took."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def duration(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Rate and time left of a run whose work is training steps and evaluations.

    Args:
        steps, evaluations: how many there will be.
        images_per_step: of all devices together.
    """

    def __init__(self, steps: int, evaluations: int, images_per_step: int):
        self.steps_left, self.evaluations_left = steps, evaluations
        self.images_per_step = images_per_step
        self.step_seconds = 0.0
        self.steps_done = 0
        self.wait_seconds = 0.0
        self._waited = 0.0
        self.evaluation_seconds = 0.0
        self.evaluations_done = 0
        self._mark = None

    def begin(self):
        """A stretch of steps, or an evaluation, begins now."""
        self._mark = time.perf_counter()

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each of them comes is counted."""
        batches = iter(batches)
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - begin
            if batch is None:
                return
            yield batch
            del batch  # its memory is free for the next one

    def steps(self, count: int, drain: float) -> tuple[float, float]:
        """`count` steps ended now, and others begin.

        A device that still had `drain` seconds of work when the last step was handed to it works beside the host, so
        each of the steps hid as much of the loader's time; where the call of a step is the step (CPU), it is 0.

        Returns: their rate in images a second, and their data-wait share: of their time what the loader cost (0..1).
        """
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        wait, self._waited = max(0.0, self._waited - count * drain), 0.0
        self.step_seconds += seconds
        self.wait_seconds += wait
        self.steps_done += count
        self.steps_left -= count
        return count * self.images_per_step / seconds, wait / seconds

    def evaluation(self) -> float:
        """An evaluation ended now; returns its seconds."""
        seconds = time.perf_counter() - self._mark
        self.evaluation_seconds += seconds
        self.evaluations_done += 1
        self.evaluations_left -= 1
        return seconds

    @property
    def images_per_second(self) -> float:
        """Of all training steps so far; 0 before the first."""
        return self.steps_done * self.images_per_step / self.step_seconds if self.steps_done else 0.0

    @property
    def milliseconds_per_step(self) -> float:
        """Likewise."""
        return 1000 * self.step_seconds / self.steps_done if self.steps_done else 0.0

    @property
    def data_wait(self) -> float:
        """Data-wait share of all training steps so far, 0..1."""
        return self.wait_seconds / self.step_seconds if self.steps_done else 0.0

    @property
    def left(self) -> str:
        """Time left, from the average step and evaluation so far."""
        seconds = self.steps_left * self.step_seconds / self.steps_done
        if self.evaluations_done:
            seconds += self.evaluations_left * self.evaluation_seconds / self.evaluations_done
        return duration(seconds)
