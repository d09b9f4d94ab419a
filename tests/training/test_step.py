"""Updates of the training step: accumulation, clipping, and what is not a number."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from neonext_ms import create_model
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.drop_path import drop_path_masks
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.loss_scale import LossScale
from neonext_ms.training.optim.sgd import SGD
from neonext_ms.training.run.saver import copy_of
from neonext_ms.training.step import Gradient, StepMetrics, TrainStep
from tests.support.tiny import TINY

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((12, 3, 32, 32)).astype(np.float32)
TARGETS = RNG.dirichlet(np.ones(4), 12).astype(np.float32)
ONE = Ranks(0, 1, "CPU")


@pytest.fixture(autouse=True)
def _graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def small_network(frozen_statistics=True):
    network = create_model("neonext_pico", 4, seed=1, **TINY)
    if frozen_statistics:
        for _, cell in network.cells_and_names():
            if isinstance(cell, nn.BatchNorm2d):
                cell.use_batch_statistics = False
    return network


def train_step(network, optimizer, clip=None, micro_batches=1):
    update = Update(network, optimizer, ONE, clip or Clip())
    return TrainStep(Gradient(network, optimizer), update, micro_batches)


def weights_of(network):
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


def masks_of(step: int):
    return drop_path_masks((0.2, 0.4), np.arange(12), 5, step)


def test_k_micro_batches_are_one_batch_k_times_as_large():
    results = {}
    for k in (1, 3):
        network = small_network()
        step = train_step(network, SGD(network.trainable_params(), 0.05), micro_batches=k)
        step.compile(IMAGES, TARGETS, masks_of(0), 0.1)
        metrics = [StepMetrics.read(step(IMAGES, TARGETS, masks_of(i), 0.1)) for i in range(5)]
        results[k] = metrics, weights_of(network)
    np.testing.assert_allclose(results[3][0], results[1][0], rtol=1e-6)
    for name, value in results[1][1].items():
        np.testing.assert_allclose(results[3][1][name], value, rtol=0, atol=1e-6, err_msg=name)
    moved = np.abs(results[1][1]["head.fc.weight"] - small_network().head.fc.weight.asnumpy()).max()
    assert moved > 1e-2, "or nothing was compared"


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    """SGD without momentum and decay: the weights move by lr times the clipped gradient."""
    moves, norms = {}, {}
    for clip in (0.0, 0.25, 1e3):
        network = small_network()
        before = weights_of(network)
        optimizer = SGD(network.trainable_params(), 0.0, momentum=0.0)
        metrics = StepMetrics.read(train_step(network, optimizer, Clip(clip))(IMAGES, TARGETS, None, 1.0))
        after = weights_of(network)
        moves[clip] = np.concatenate([(after[n] - before[n]).ravel() for n in before]).astype(np.float64)
        norms[clip] = metrics.gradient_norm
    np.testing.assert_allclose(list(norms.values()), np.linalg.norm(moves[0.0]), rtol=1e-5)
    assert norms[0.0] > 0.5
    np.testing.assert_allclose(np.linalg.norm(moves[0.25]), 0.25, rtol=1e-5)
    np.testing.assert_allclose(moves[0.25], moves[0.0] * 0.25 / norms[0.0], atol=1e-6)
    np.testing.assert_allclose(moves[1e3], moves[0.0], atol=1e-6)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("optimizer", [AdamW, SGD])
def test_what_is_not_finite_changes_nothing(optimizer, k):
    """Neither as the first update nor later; and the updates after it are those of a run that never saw it."""
    results = []
    network = small_network(frozen_statistics=False)
    step = train_step(network, optimizer(network.trainable_params(), 0.05), micro_batches=k)
    initial, initial_state = weights_of(network), copy_of(step.state())
    assert not set(initial) & set(initial_state)
    for spoiled in (False, True):
        for parameter in network.get_parameters():
            parameter.set_data(Tensor(initial[parameter.name]))
        step.load_state(initial_state)
        for i, value in enumerate((np.nan, 1.0, np.inf, 1.0)):
            images = IMAGES.copy()
            images[2, 0, 5, 5] *= value  # in the first micro-batch: the second alone would be finite
            before = weights_of(network) | copy_of(step.state())
            if value == 1.0 or spoiled:
                metrics = StepMetrics.read(step(images, TARGETS, masks_of(i), 0.1))
                assert metrics.finite == (value == 1.0)
            after = weights_of(network) | copy_of(step.state())
            same = {name for name in before if np.array_equal(before[name], after[name])}
            assert same == set(before) if value != 1.0 else not same & {"stem.norm.moving_mean", "stem.proj.weight"}
        results.append(after)
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


def test_loss_or_one_gradient_alone_that_is_not_finite_changes_nothing():
    """A number that went wrong in the backward pass does not show in the loss, nor one in the loss in the gradients."""
    network = small_network()
    optimizer = AdamW(network.trainable_params(), 0.05)
    update = Update(network, optimizer, ONE, Clip())

    def make(loss, last_value):
        gradients = [np.full(sum(group.sizes), 0.1, np.float32) for group in optimizer.groups]
        gradients[-1][-1] = last_value
        before = weights_of(network) | copy_of(optimizer.state())
        numbers = [Tensor(np.float32(value)) for value in (loss, 1.0, 0.1, np.inf)]
        result = update(*numbers[:2], tuple(map(Tensor, gradients)), *numbers[2:], Tensor(np.zeros(2, np.float32)))
        after = weights_of(network) | optimizer.state()
        changed = [not np.array_equal(before[name], after[name]) for name in before if "moving" not in name]
        return StepMetrics.read(result).finite, any(changed), all(changed)

    assert make(1.0, 0.1) == (1, True, True)
    for loss, value in ((1.0, np.nan), (1.0, -np.inf), (np.nan, 0.1), (np.inf, 0.1)):
        assert make(loss, value) == (0, False, False), (loss, value)


@pytest.mark.parametrize(
    "loss, gradient, limit, scales",
    [(2.0, 0.1, 1.0, [4.0, 8.0]), (1.0, np.inf, 3.0, [2.0, 2.0]), (np.nan, 0.1, 3.0, [2.0, 2.0])],
)
def test_a_spike_that_is_skipped_says_nothing_about_the_loss_scale(loss, gradient, limit, scales):
    """It doubles after two updates whose numbers are finite, skipped or not; what is not finite halves it."""
    network = small_network()
    optimizer, loss_scale = SGD(network.trainable_params(), 0.0), LossScale(4.0, 2)
    update = Update(network, optimizer, ONE, Clip(0.0, loss_scale))
    found = []
    for values in ((loss, gradient, limit), (1.0, 0.1, np.inf)):
        gradients = tuple(Tensor(np.full(sum(g.sizes), values[1], np.float32)) for g in optimizer.groups)
        numbers = [Tensor(np.float32(value)) for value in (values[0], 1.0, 0.1, values[2])]
        flags = Tensor(np.zeros(2, np.float32))
        found.append(StepMetrics.read(update(*numbers[:2], gradients, *numbers[2:], flags)).finite)
        found.append(float(loss_scale.scale.asnumpy()))
    assert found == [0.0, scales[0], 1.0, scales[1]]


def test_the_state_of_an_optimizer_is_complete():
    network = small_network()
    names = [p.name for p in network.trainable_params()]
    adam = train_step(network, AdamW(network.trainable_params(), 0.05)).state()
    moments = {f"moment{i}.{name}" for i in (1, 2) for name in names}
    assert set(adam) == moments | {"beta1_power", "beta2_power"}
    sgd = train_step(network, SGD(network.trainable_params(), 0.05), micro_batches=2).state()
    assert set(sgd) == {f"velocity.{name}" for name in names}
