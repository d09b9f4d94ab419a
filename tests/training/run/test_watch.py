"""What losses are out of the usual."""

import math

import numpy as np
import pytest
from mindspore import Tensor

from neonext_ms.errors import DivergedError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.inputs import open_sources, train_loader
from neonext_ms.training.run.ledger import Updates
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.watch import ENOUGH, WINDOW, Watch
from tests.support.tiny import SHORT, TinyConfig

NAN, INF = math.nan, math.inf


def test_updates_that_are_not_numbers_are_counted_in_a_row():
    watch = Watch(3.0, False)
    assert watch.see(1.0, 1.0, True) is None
    for n, (loss, norm) in enumerate([(NAN, NAN), (INF, 1.0), (1.0, INF)], 1):
        oddity = watch.see(loss, norm, False)
        assert oddity.skipped and watch.in_a_row == n
    assert "gradient" in oddity.what
    assert watch.see(1.0, 1.0, True) is None and watch.in_a_row == 0


def test_a_spike_is_seen_when_there_is_a_usual_loss():
    watch = Watch(3.0, False)
    losses = np.random.default_rng(0).uniform(0.5, 1.5, 300)
    for i, loss in enumerate(losses):
        assert watch.see(float(loss), 1.0, True) is None
        expected = np.sort(losses[max(0, i + 1 - WINDOW) : i + 1])
        assert watch.usual == (expected[len(expected) // 2] if i + 1 >= ENOUGH else INF)
    oddity = watch.see(3.01 * watch.usual, 1.0, True)
    assert "spike" in oddity.what and not oddity.skipped
    assert watch.limit == INF, "not asked to skip"


def test_skipped_spikes_do_not_become_usual():
    watch = Watch(2.0, True)
    assert watch.limit == INF
    for _ in range(ENOUGH):
        watch.see(1.0, 1.0, True)
    assert watch.limit == 2.0
    for n in range(1, 200):
        assert watch.see(5.0, 1.0, False).skipped and watch.in_a_row == n
    assert watch.limit == 2.0


def test_off():
    watch = Watch(0.0, True)
    for _ in range(50):
        watch.see(1.0, 1.0, True)
    assert watch.see(1e9, 1.0, True) is None and watch.limit == INF


def test_a_restored_watch_goes_on():
    one, two = Watch(2.0, True), Watch(2.0, True)
    for i in range(130):
        one.see(1.0 + i % 7, 1.0, i < 128)
    two.restore(one.state())
    assert (two.usual, two.limit, two.in_a_row) == (one.usual, one.limit, 2)
    assert two.see(3.0, 1.0, True) == one.see(3.0, 1.0, True) and two.usual == one.usual


@pytest.mark.parametrize("skip_spikes, limit", [(True, 10.0), (False, INF)])
def test_the_limit_of_an_update_is_by_all_before_it_where_spikes_are_skipped(skip_spikes, limit):
    """Between two reports, and without a checkpoint, which reads them too."""
    config = TinyConfig(**SHORT, skip_spikes=skip_spikes, spike_factor=5.0, max_bad_updates=1000)
    updates = Updates(config, train_loader(config, open_sources(config)[0], Ranks(0, 1, "CPU")))
    reporter = Reporter(config, None, 11, Progress(22, 2, 128))
    for step in range(1, ENOUGH + 1):
        assert updates.limit == INF
        updates.add(step, Tensor(np.float32([2.0, 64, 1.0, 1, 1])), reporter)
    assert updates.limit == limit


@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_an_overflow_for_which_the_loss_scale_gets_smaller_is_in_order(kind):
    config = TinyConfig(**SHORT, amp_level="O2", loss_scale_type=kind, max_bad_updates=2)
    updates = Updates(config, train_loader(config, open_sources(config)[0], Ranks(0, 1, "CPU")))
    reporter = Reporter(config, None, 11, Progress(22, 2, 128))

    def overflow(scale):
        for step in (1, 2):
            updates.add(step, Tensor(np.float32([1.0, 64, INF, 0, scale])), reporter)

    if kind == "dynamic":
        overflow(2.0)
        assert updates.interval.skipped == 2 and updates.state()["watch"]["in_a_row"] == 0
    with pytest.raises(DivergedError, match="2 updates in a row .* the gradient is not finite"):
        overflow(1.0 if kind == "dynamic" else 2.0)
