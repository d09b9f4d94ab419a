"""What a benchmark runs: a network forward, or forward and backward, as one graph on random inputs."""

from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from neonext_ms.benchmark.timing import Contender

CHAIN = 8  # layers in a row: one call from Python adds some 0.3 ms, which is not the layer's


def random_tensor(shape: Sequence[int]) -> Tensor:
    """Standard normal float32, the same every time."""
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def runner(network: nn.Cell, x: Tensor, dy_shape=None, input_gradient=True) -> Callable[[], None]:
    """A callable that runs network(x) once, as one compiled graph. On a CPU it returns when the graph has ended.

    Args:
        network: a Cell of one input.
        x: the input.
        dy_shape: shape of the output, to run forward and backward in training mode; None runs forward in evaluation
            mode.
        input_gradient: also compute the gradient of x, which a network does not need of its images.
    """
    if dy_shape is None:
        network.set_train(False)

        # Calling a cell costs twice as much as calling such a function: MindSpore visits all its sub-cells every time.
        @ms.jit
        def forward(x):
            return network(x)

        def run():
            forward(x)

        return run

    # Not with gradients: a function of several results returns before its last kernel has ended.
    graph, dy = _ForwardBackward(network, input_gradient).set_train(True), random_tensor(dy_shape)

    def run():
        graph(x, dy)

    return run


def chain(make: Callable[[], nn.Cell], x: Tensor, backward: bool, repeats: int, name: str) -> Contender:
    """`repeats` layers in a row, each of which keeps the shape of x."""
    network = nn.SequentialCell([make() for _ in range(repeats)])
    return Contender(name, runner(network, x, x.shape if backward else None), repeats)


class _ForwardBackward(nn.Cell):
    """Output, and gradients of sum(output * dy). The output is returned, so that no part of the forward is left out."""

    def __init__(self, network, input_gradient: bool):
        super().__init__()
        self.network = network
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.input_gradient = input_gradient

    def construct(self, x, dy):
        y, backward = ms.vjp(self.network, x, weights=self.weights)
        dx, dweights = backward(dy)
        if self.input_gradient:
            return y, dx, dweights
        return y, dweights
