"""The kernels called without MindSpore do what its graph of the same cells does."""

import mindspore as ms
import numpy as np
from mindspore import nn

from neonext_ms.benchmark.graphs import random_tensor
from neonext_ms.benchmark.kernel_alone import KernelChain, Peak
from neonext_ms.ops import NeoCell, parse_spec


def test_a_chain_gives_the_graphs_output_and_gradients():
    cells = [NeoCell(parse_spec("4+7", 8, 1), backend="fused", seed=i) for i in range(4)]
    network, x = nn.SequentialCell(cells), random_tensor((2, 8, 9, 9))
    weights = ms.ParameterTuple(network.trainable_params())
    y, gradient = ms.vjp(network, x, weights=weights)
    (dx,), dweights = gradient(x)

    forward = KernelChain(cells, x.asnumpy(), backward=False)
    both = KernelChain(cells, x.asnumpy(), backward=True)
    for _ in range(2):  # buffers are used again
        forward.run()
        both.run()
    np.testing.assert_array_equal(forward.calls[-1].arrays[-1], y.asnumpy())
    np.testing.assert_array_equal(both.calls[3].arrays[-1], y.asnumpy())
    _, _, _, *blocks = both.calls[-1].arrays
    np.testing.assert_array_equal(blocks[4], dx.asnumpy())
    for mine, name in zip(blocks[5:9], ("left.0", "right.0", "left.1", "right.1")):
        (theirs,) = (g.asnumpy() for p, g in zip(weights, dweights) if p.name == f"0.{name}")
        np.testing.assert_array_equal(mine, theirs)


def test_peak_is_measured():
    peak = Peak(seconds=0.001)
    peak.run()
    peak.run()
    assert peak.median() > 0
