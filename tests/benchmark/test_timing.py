"""What is said while things are measured: contender, round, time left."""

import pytest

from neonext_ms.benchmark import timing
from neonext_ms.benchmark.timing import Contender, Progress, check_rounds, measure
from neonext_ms.errors import UserError


@pytest.fixture
def lines(caplog):
    caplog.set_level("INFO", "neonext_ms")
    return lambda: [record.getMessage() for record in caplog.records]


def test_progress_says_what_comes_and_how_long_all_of_it_takes(monkeypatch, lines, caplog):
    now = [100.0]
    monkeypatch.setattr(timing.time, "monotonic", lambda: now[0])
    progress = Progress(4)
    progress.begin("first")
    progress.show("a, first run", 0)
    now[0] = 110.0
    progress.show("a, round 2 of 2", 0.5)  # an eighth is done in 10 s
    progress.begin("second")
    now[0] = 130.0
    progress.show("b, round 1 of 2", 0)  # a quarter in 30 s
    assert lines() == [
        "1 of 4: first: a, first run",
        "1 of 4: first: a, round 2 of 2, 1:10 left",
        "2 of 4: second: b, round 1 of 2, 1:30 left",
    ]
    assert all(record.live and record.passing for record in caplog.records), "worth nothing later"


def test_every_contender_and_round_is_told(lines):
    progress = Progress(1)
    progress.begin("case")
    measure([Contender("a", lambda: 1e-3), Contender("b", lambda: 20.0)], 4, progress)
    told = [line.removeprefix("case: ").partition(", 0:")[0] for line in lines()]
    rounds = [f"{name}, round {i} of 4" for i in (1, 2, 3) for name in "ab"]
    assert told == ["a, first run", "b, first run", *rounds, "a, round 4 of 4"], "b has had its time"


def test_a_median_needs_two_rounds():
    check_rounds(2)
    with pytest.raises(UserError, match="a median needs at least 2 rounds, got 1"):
        check_rounds(1)
