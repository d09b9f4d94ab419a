"""Timing several contenders side by side."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_PAUSE = _WARM_UP = 0.02  # seconds
_SHORT = 0.1  # seconds of a run


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


def measure(contenders: list[Contender], rounds: int, most_seconds: float = 10.0) -> list[dict]:
    """Time all contenders in interleaved rounds, so that whatever slows the machine down hits all of them.

    The first run of each, with whatever it compiles, is reported apart; a second one warms up. In every round a short
    run is timed after a pause, in which the threads of the contender before it stop waiting for work in a loop, and
    after some runs of its own that are not timed: they find its threads awake and its data where it leaves them. A
    contender whose runs so far took longer than `most_seconds` sits the remaining rounds out, but for the first three.

    Returns:
        per contender: name, ms (median of its rounds, of one unit of work), low_ms and high_ms (quartiles), first_ms,
        rounds (that it ran).
    """
    first = [_seconds(contender.run) for contender in contenders]
    warm = [_seconds(contender.run) for contender in contenders]
    times = [[] for _ in contenders]
    for done in range(rounds):
        for contender, own, last in zip(contenders, times, warm):
            if done < 3 or sum(own) * contender.repeats < most_seconds:
                time.sleep(_PAUSE)
                begin = time.perf_counter()
                while last < _SHORT and time.perf_counter() - begin < _WARM_UP:
                    contender.run()
                own.append(_seconds(contender.run) / contender.repeats)
    results = []
    for contender, own, start in zip(contenders, times, first):
        low, median, high = statistics.quantiles(own, n=4, method="inclusive")
        results.append(
            {
                "name": contender.name,
                "ms": 1e3 * median,
                "low_ms": 1e3 * low,
                "high_ms": 1e3 * high,
                "first_ms": 1e3 * start,
                "rounds": len(own),
            }
        )
    return results


def _seconds(run: Callable[[], float | None]) -> float:
    start = time.perf_counter()
    reported = run()
    return time.perf_counter() - start if reported is None else reported
