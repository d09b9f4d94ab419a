"""An object in a process of its own: called, timed, weighed, and told of when it fails."""

import os
import time
from functools import partial

import numpy as np
import pytest

from neonext_ms.benchmark.worker import Worker
from neonext_ms.errors import UserError


class Thing:
    """Made in the worker."""

    def __init__(self, start: int):
        if start < 0:
            raise ValueError(f"cannot start at {start}\nand more lines")
        self.value = start

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    def sleep(self, seconds: float):
        time.sleep(seconds)

    def grow(self, megabytes: int):
        self.held = np.ones(megabytes << 17)

    def fail(self, error: type):
        raise error("of its own\nsecond line")

    def die(self):
        os._exit(1)

    def process(self) -> int:
        return os.getpid()


@pytest.fixture(scope="module")
def worker():
    with Worker("a thing", "numpy", partial(Thing, 3)) as worker:
        yield worker


def test_it_lives_elsewhere_and_keeps_its_state(worker):
    assert worker.call("process") != os.getpid()
    assert [worker.call("add", 2), worker.call("add", 2)] == [5, 7]


def test_time_and_memory_are_its_own(worker):
    assert 0.05 <= worker.seconds("sleep", 0.05) < 0.5
    before = worker.peak_mb()
    worker.call("grow", 64)
    assert 50 < worker.peak_mb() - before < 100


def test_what_fails_there_is_one_line_here_and_it_goes_on(worker):
    with pytest.raises(UserError, match=r"^cannot run a thing: of its own$"):
        worker.call("fail", ValueError)
    with pytest.raises(UserError, match=r"^of its own"):
        worker.call("fail", UserError)
    with pytest.raises(UserError, match=r"^cannot run a thing: .*no attribute 'none'$"):
        worker.call("none")
    assert worker.call("add", 0) >= 3


def test_what_cannot_be_made_or_ends_is_named():
    with pytest.raises(UserError, match=r"^cannot run a thing: cannot start at -1$"):
        Worker("a thing", "numpy", partial(Thing, -1))
    with pytest.raises(UserError, match=r"^cannot run a thing: No module named 'nothing_like_it'$"):
        Worker("a thing", "nothing_like_it", partial(Thing, 1))
    with Worker("a thing", "numpy", partial(Thing, 1)) as worker:
        assert worker.peak_mb() < 15, "Python and numpy are not counted"
        with pytest.raises(UserError, match=r"^the process that ran a thing ended before it answered$"):
            worker.call("die")
