"""The writer goes slowly while nobody waits for it, and does not keep anybody waiting."""

import threading
import time

import pytest

from neonext_ms.training.run import writer as module
from neonext_ms.training.run.writer import Writer


def work_of(pieces: list, count: int = 3):
    """Work whose pieces each take a few milliseconds of CPU time; which were done is in `pieces`."""

    def work(pause):
        for i in range(count):
            end = time.thread_time() + 2 * module.LEAST
            while time.thread_time() < end:
                pass
            pieces.append(i)
            pause()

    return work


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(module, "SHARE", 1e-9)  # a pause of weeks after every piece


def test_after_a_piece_it_pauses_until_somebody_waits(slow):
    writer, pieces = Writer(), []
    for _ in range(2):
        writer.start(work_of(pieces))
        until(lambda: pieces)
        time.sleep(0.1)
        assert pieces == [0] and writer.busy
        writer.wait()
        assert pieces == [0, 1, 2] and not writer.busy
        pieces.clear()


def test_the_next_work_waits_for_the_one_before(slow):
    writer, pieces = Writer(), []
    writer.start(work_of(pieces))
    writer.start(work_of(pieces, 1))
    writer.wait()
    assert pieces == [0, 1, 2, 0]


def test_it_goes_on_by_itself():
    writer, pieces = Writer(), []
    writer.start(work_of(pieces))
    until(lambda: not writer.busy)
    assert pieces == [0, 1, 2]


def test_an_error_of_the_disk_is_kept_and_any_other_raised():
    writer = Writer()

    def fail(error):
        def work(_):
            raise error

        return work

    writer.start(fail(OSError("full")))
    writer.wait()
    assert str(writer.failure()) == "full" and writer.failure() is None, "once"
    writer.start(fail(KeyError("x")))
    with pytest.raises(KeyError):
        writer.wait()


def test_it_works_in_a_thread_of_its_own():
    writer, names = Writer(), []
    writer.start(lambda _: names.append(threading.current_thread().name))
    writer.wait()
    assert names == ["checkpoint writer"]
