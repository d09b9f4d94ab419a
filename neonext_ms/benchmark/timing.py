"""Timing several contenders side by side."""

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from neonext_ms.errors import UserError
from neonext_ms.terminal import PASSING
from neonext_ms.training.run.progress import duration

_PAUSE = _WARM_UP = 0.02  # seconds
_SHORT = 0.1  # seconds of a run

log = logging.getLogger(__name__)


@dataclass
class Contender:
    """Something to time.

    Args:
        name: as it appears in the table.
        run: does the work and returns when it is done: None, or the seconds if it ran by another process's clock.
        repeats: how often `run` does the unit of work that is reported.
    """

    name: str
    run: Callable[[], float | None]
    repeats: int = 1


class Progress:
    """Says on a terminal what is being measured, and how long all of it may still take.

    Args:
        cases: how many there are, one after the other, of about the same length.
    """

    def __init__(self, cases: int):
        self._cases, self._begun, self._title = cases, 0, ""
        self._start = time.monotonic()

    def begin(self, title: str):
        """The next case starts."""
        self._title = title
        self._begun += 1

    def show(self, what: str, share: float):
        """Say what comes next, when that share (0..1) of the case is done."""
        done = (self._begun - 1 + share) / self._cases
        elapsed = time.monotonic() - self._start
        left = f", {duration(elapsed * (1 - done) / done)} left" if done > 0.02 else ""
        number = f"{self._begun} of {self._cases}: " if self._cases > 1 else ""
        log.info("%s", f"{number}{self._title}: {what}{left}", extra=PASSING)


def check_rounds(rounds: int):
    """Raises UserError where there are too few for a median with quartiles."""
    if rounds < 2:
        raise UserError(f"a median needs at least 2 rounds, got {rounds}")


def measure(contenders: list[Contender], rounds: int, progress: Progress, most_seconds: float = 10.0) -> list[dict]:
    """Time all contenders in interleaved rounds, so that whatever slows the machine down hits all of them.

    The first run of each, with whatever it compiles, is reported apart; a second one warms up. In every round a short
    run is timed after a pause, in which the threads of the contender before it stop waiting for work in a loop, and
    after some runs of its own that are not timed: they find its threads awake and its data where it leaves them. A
    contender whose runs so far took longer than `most_seconds` sits the remaining rounds out, but for the first three.

    Returns:
        per contender: name, ms (median of its rounds, of one unit of work), low_ms and high_ms (quartiles), first_ms,
        rounds (that it ran).
    """
    first = []
    for contender in contenders:
        progress.show(f"{contender.name}, first run", 0)
        first.append(_seconds(contender.run))
    warm = [_seconds(contender.run) for contender in contenders]
    times = [[] for _ in contenders]
    for done in range(rounds):
        for contender, own, last in zip(contenders, times, warm):
            if done < 3 or sum(own) * contender.repeats < most_seconds:
                progress.show(f"{contender.name}, round {done + 1} of {rounds}", done / rounds)
                time.sleep(_PAUSE)
                begin = time.perf_counter()
                while last < _SHORT and time.perf_counter() - begin < _WARM_UP:
                    contender.run()
                own.append(_seconds(contender.run) / contender.repeats)
    return [_result(contender, own, start) for contender, own, start in zip(contenders, times, first)]


def _result(contender: Contender, own: list[float], start: float) -> dict:
    low, median, high = statistics.quantiles(own, n=4, method="inclusive")
    return {
        "name": contender.name,
        "ms": 1e3 * median,
        "low_ms": 1e3 * low,
        "high_ms": 1e3 * high,
        "first_ms": 1e3 * start,
        "rounds": len(own),
    }


def _seconds(run: Callable[[], float | None]) -> float:
    start = time.perf_counter()
    reported = run()
    return time.perf_counter() - start if reported is None else reported
