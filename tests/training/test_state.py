"""Where a run stands: what is next, which evaluation is the best, and that it reads what it has written."""

import pytest

from neonext_ms.training.config import TrainConfig
from neonext_ms.training.state import RunState

FIVE_UPDATES = range(5)  # a loader, as far as its length goes


def state_of(**options):
    return RunState(TrainConfig(warmup_epochs=0, **options), FIVE_UPDATES, 0.0)


def metrics(accuracy, loss):
    return {"accuracy": accuracy, "loss": loss}


def test_the_best_evaluation_has_the_highest_accuracy_then_the_lowest_loss():
    state, found = state_of(epochs=6), []
    for step, raw, ema in (
        (5, (0.5, 1.0), (0.4, 0.1)),
        (10, (0.3, 1.0), (0.6, 2.0)),
        (15, (0.6, 2.0), (0.6, 2.0)),
        (20, (0.6, 1.5), (0.6, 1.75)),
        (25, (0.5, 0.1), (0.2, 0.1)),
    ):
        state.step = step
        found.append(state.evaluate({"raw": metrics(*raw), "ema": metrics(*ema)}))
    assert found == ["raw", "ema", None, "raw", None]
    assert state.best == {"epoch": 4, "step": 20, "accuracy": 0.6, "loss": 1.5, "weights": "raw"}
    last = {"epoch": 5, "step": 25, "accuracy": 0.5, "loss": 0.1, "ema_loss": 0.1, "ema_accuracy": 0.2}
    assert state.final == last
    assert state.write()["metrics"] == {key: last[key] for key in ("accuracy", "loss", "ema_loss", "ema_accuracy")}


def test_what_is_next():
    state, evaluated = state_of(epochs=3, val_interval=2), []
    for step in range(1, 16):
        state.step = step
        assert not state.finished or step == 15
        if state.evaluation_is_due:
            assert not state.finished
            evaluated.append(step)
            state.evaluate({"raw": metrics(0.1, 1.0)})
            assert not state.evaluation_is_due
    assert evaluated == [10, 15] and state.finished


@pytest.mark.parametrize("step, epoch, left", [(0, 1, 2), (1, 1, 2), (5, 1, 2), (6, 2, 2), (10, 2, 1), (15, 3, 0)])
def test_epochs_and_evaluations_left(step, epoch, left):
    state = state_of(epochs=3, val_interval=2)
    state.step = step
    assert (state.epoch, state.evaluations_left) == (epoch, left)


def test_a_state_that_was_written_is_read():
    one, other = state_of(epochs=3), state_of(epochs=3)
    one.step = 5
    one.evaluate({"raw": metrics(0.5, 1.0)})
    one.step = 7
    written = one.write()
    assert (written["step"], written["epoch"], written["metrics"]) == (7, 2, {}), "of no evaluation"
    written["training"]["seconds"] = 1e6
    other.read(written)
    again = other.write()
    assert again["training"].pop("seconds") - 1e6 >= one.seconds - 1, "with those before"
    del written["training"]["seconds"]
    assert again == written and other.best == one.best and not other.evaluation_is_due
