"""One training step, computed in graphs."""

import math
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from neonext_ms.training.apply_gradients import Update
from neonext_ms.training.criterion import CrossEntropy


class StepMetrics(NamedTuple):
    """What a `TrainStep` says about an update, over all devices; floats.

    loss: mean over the global batch.
    correct: images of it that are told right, see the criterion's `right`.
    gradient_norm: of all gradients together, before clipping.
    finite: 1 if loss and gradients were, and the loss not above its limit; 0 if the update was skipped.
    loss_scale: that was used; 1 without loss scaling.
    """

    loss: float
    correct: float
    gradient_norm: float
    finite: float
    loss_scale: float

    @classmethod
    def read(cls, result: Tensor) -> "StepMetrics":
        """Wait for the result of a step."""
        return cls(*result.asnumpy()[: len(cls._fields)].tolist())


FLAGS = 2  # that ranks tell each other with every update


def read_flags(result: Tensor) -> list[bool]:
    """Wait for the result of a step: for each flag, whether it was set on any rank; the same on all."""
    return [bool(value) for value in result.asnumpy()[len(StepMetrics._fields) :]]


class TrainStep:
    """One update of the weights: forward and backward over this device's share of the global batch, then `Update`.

    With one micro-batch everything is one graph. With more of them, one graph adds a micro-batch to running sums and is
    run for each, between a graph that clears the sums and one, without the network, that applies them: nothing is
    compiled twice, and gradients travel between devices once an update.

    Args:
        gradient: of the loss, as to the parameters that `update` updates.
        update: what is made of it.
        micro_batches: how many an update takes; the images of a call are cut into as many equal parts.
    """

    def __init__(self, gradient: "Gradient", update: Update, micro_batches: int = 1):
        self.update = update
        self.micro_batches = micro_batches
        if micro_batches == 1:
            self._cells = (_WholeStep(gradient, update),)
        else:
            sums = _Sums(update.optimizer, micro_batches)
            self._cells = (_Begin(sums), _MicroStep(gradient, sums), _Apply(sums, update))
        for cell in self._cells:
            cell.set_train(True)

    def __call__(self, images, targets, drop_path, lr: float, limit: float = math.inf, flags=(0,) * FLAGS) -> Tensor:
        """Make an update.

        Args:
            images: float32 (n, C, S, S), n a multiple of micro_batches.
            targets: float32 (n, K), as the criterion takes them.
            drop_path: float32 (blocks, n) masks, or None.
            lr: learning rate.
            limit: an update with a loss above it is skipped.
            flags: truth values of this rank, which travel with the gradients.

        Returns:
            float32 vector, which `StepMetrics.read` and `read_flags` wait for and name.
        """
        self._cells[0].set_train(True)  # an evaluation in between has put the network into its mode
        numbers = _numbers(lr, limit, flags)
        if self.micro_batches == 1:
            return self._cells[0](*_tensors(images, targets, drop_path), *numbers)
        begin, micro_step, apply = self._cells
        micro_step.set_train(True)
        begin()
        for inputs in self._micro_batches(images, targets, drop_path):
            micro_step(*inputs)
        return apply(*numbers)

    def compile(self, images, targets, drop_path, lr):
        """Compile what a call with inputs of these shapes runs, without running it."""
        numbers = _numbers(lr, math.inf, (0,) * FLAGS)
        if self.micro_batches == 1:
            self._cells[0].set_train(True).compile(*_tensors(images, targets, drop_path), *numbers)
            return
        begin, micro_step, apply = self._cells
        begin.compile()
        micro_step.set_train(True).compile(*next(self._micro_batches(images, targets, drop_path)))
        apply.compile(*numbers)

    @property
    def shared(self) -> bool:
        """Whether each rank holds a part of the state."""
        return self.update.optimizer.shared

    def _micro_batches(self, images, targets, drop_path):
        size = len(images) // self.micro_batches
        for first in range(0, len(images), size):
            part = slice(first, first + size)
            yield _tensors(images[part], targets[part], None if drop_path is None else drop_path[:, part])

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs besides the network's own parameters, by name; on a CPU it may change with them.

        Where `shared`, ranks give each other their parts of it: each of them has to ask.
        """
        return {name: value for cell in self.update.stateful() for name, value in cell.state().items()}

    def load_state(self, state: dict[str, np.ndarray]):
        """Go on from what `state` has given, and from the network's parameters as they are now."""
        self.update.statistics.remember()
        for cell in self.update.stateful():
            cell.load_state(state)


def _numbers(lr: float, limit: float, flags) -> tuple:
    return Tensor(np.float32(lr)), Tensor(np.float32(limit)), Tensor(np.array(flags, np.float32))


def _tensors(images, targets, drop_path) -> tuple:
    return Tensor(images), Tensor(targets), None if drop_path is None else Tensor(drop_path)


class Gradient(nn.Cell):
    """Mean loss, number of right answers, and gradients, times the loss scale, as the optimizer joins them.

    Args:
        network: NeoNeXt, in training mode.
        optimizer: of the parameters to differentiate by.
        dtype: of the activations; weights and gradients stay float32.
        loss_scale: a LossScale for float16, or None.
        criterion: of `criterion`; CrossEntropy without weights if None.
        teacher: a Cell whose logits the criterion gets beside the targets, or None.
    """

    def __init__(self, network, optimizer, dtype=ms.float32, loss_scale=None, criterion=None, teacher=None):
        super().__init__(auto_prefix=False)
        self.network = network
        self.optimizer = optimizer
        self.dtype = dtype
        self.loss_scale = loss_scale
        self.criterion = criterion or CrossEntropy()
        self.teacher = teacher
        self.gradient = ops.value_and_grad(self.loss, None, optimizer.parameters, has_aux=True)

    def loss(self, images, targets, drop_path):
        logits = self.network(images.astype(self.dtype), drop_path)
        loss = ops.mean(self.criterion(logits, targets))
        return loss if self.loss_scale is None else loss * self.loss_scale.scale, loss, logits

    def construct(self, images, targets, drop_path):
        if self.teacher is not None:
            targets = ops.concat((targets, self.teacher(images.astype(self.dtype))), 1)
        (_, loss, logits), gradients = self.gradient(images, targets, drop_path)
        correct = self.criterion.right(logits, targets)
        return loss, ops.sum(correct.astype(targets.dtype)), self.optimizer.join(gradients)


class _WholeStep(nn.Cell):
    """An update of one micro-batch."""

    def __init__(self, gradient: Gradient, update: Update):
        super().__init__(auto_prefix=False)
        self.gradient = gradient
        self.update = update

    def construct(self, images, targets, drop_path, lr, limit, flags):
        loss, correct, gradients = self.gradient(images, targets, drop_path)
        return self.update(loss, correct, gradients, lr, limit, flags)


def _clear(total):
    return ops.assign(total, ops.zeros_like(total))


class _Sums(nn.Cell):
    """Loss, right answers and gradients, summed over the micro-batches of an update."""

    def __init__(self, optimizer, micro_batches: int):
        super().__init__(auto_prefix=False)
        self.micro_batches = micro_batches
        self.loss = Parameter(Tensor(np.float32(0)), name="sum.loss", requires_grad=False)
        self.correct = Parameter(Tensor(np.float32(0)), name="sum.correct", requires_grad=False)
        self.gradients = optimizer.vectors("sum")
        self.map = ops.HyperMap()

    def clear(self):
        ops.assign(self.correct, ops.zeros_like(self.correct))
        cleared = self.map(_clear, self.gradients)
        return ops.depend(ops.assign(self.loss, ops.zeros_like(self.loss)), cleared)

    def means(self):
        """Mean loss, number of right answers, and mean gradients.

        They are values: where gradients are Parameters as they stand, the graph leaves the update out (MindSpore 2.10).
        """
        share = 1 / self.micro_batches
        return self.loss * share, self.correct * 1.0, self.map(ops.partial(ops.mul, share), self.gradients)

    def construct(self, loss, correct, gradients):
        ops.assign_add(self.loss, loss)
        ops.assign_add(self.correct, correct)
        self.map(ops.assign_add, self.gradients, gradients)


class _Begin(nn.Cell):
    """Before the micro-batches of an update. (It returns something: MindSpore's Ascend backend fails at a None.)"""

    def __init__(self, sums: _Sums):
        super().__init__(auto_prefix=False)
        self.sums = sums

    def construct(self):
        return self.sums.clear()


class _MicroStep(nn.Cell):
    """A micro-batch of an update; returns its loss."""

    def __init__(self, gradient: Gradient, sums: _Sums):
        super().__init__(auto_prefix=False)
        self.gradient = gradient
        self.sums = sums

    def construct(self, images, targets, drop_path):
        loss, correct, gradients = self.gradient(images, targets, drop_path)
        self.sums(loss, correct, gradients)
        return loss


class _Apply(nn.Cell):
    """After the micro-batches of an update."""

    def __init__(self, sums: _Sums, update: Update):
        super().__init__(auto_prefix=False)
        self.sums = sums
        self.update = update

    def construct(self, lr, limit, flags):
        return self.update(*self.sums.means(), lr, limit, flags)
