"""Losses by hand, in the graph, and the weights of uneven classes."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.training.criterion import BinaryCrossEntropy, CrossEntropy, Distillation, class_weights

LN2, LN3, LN4 = np.log([2, 3, 4])


class Whole(nn.Cell):
    """Losses, right answers, and the gradient of the sum of the losses."""

    def __init__(self, criterion):
        super().__init__()
        self.criterion = criterion
        self.gradient = ops.grad(self.total)

    def total(self, logits, targets):
        return ops.sum(self.criterion(logits, targets))

    def construct(self, logits, targets):
        return self.criterion(logits, targets), self.criterion.right(logits, targets), self.gradient(logits, targets)


def run(criterion, logits, targets):
    ms.set_context(mode=ms.GRAPH_MODE)
    return [x.asnumpy() for x in Whole(criterion)(Tensor(np.float32(logits)), Tensor(np.float32(targets)))]


def test_binary_cross_entropy():
    """Logits 0 and ln 3 are probabilities 1/2 and 3/4; the gradient of a class is (p - t) / K; 200 stays finite."""
    losses, right, gradient = run(BinaryCrossEntropy(None, 0.6), [[0, LN3], [200, 0]], [[1, 1], [0, 0.5]])
    np.testing.assert_allclose(losses, [(LN2 + LN4 - LN3) / 2, (200 + LN2) / 2], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1 / 4, -1 / 8], [1 / 2, 0]], atol=1e-6)
    assert right.tolist() == [False, False], "1/2 is not above 0.6; 1 is"
    assert run(BinaryCrossEntropy(None, 0.4), [[0, LN3], [0, -1]], [[1, 1], [1, 0]])[1].tolist() == [True, True]
    assert run(BinaryCrossEntropy(), [[0, LN3], [1, 0]], [[0, 1], [0, 1]])[1].tolist() == [True, False]


def test_weights_count_a_class_where_it_is():
    weights = np.array([2.0, 1.0])
    losses, _, gradient = run(BinaryCrossEntropy(weights), [[0, 0], [0, 0]], [[1, 1], [0, 1]])
    np.testing.assert_allclose(losses, [1.5 * LN2, LN2], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1 / 2, -1 / 4], [1 / 4, -1 / 4]], atol=1e-6)
    losses, right, gradient = run(CrossEntropy(weights), [[0, 0], [LN3, 0]], [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(losses, [2 * LN2, LN4 - LN3 + LN4 / 2], rtol=1e-5)
    np.testing.assert_allclose(gradient, [[-1, 1], [1.5 * 0.75 - 1, 1.5 * 0.25 - 0.5]], atol=1e-5)
    assert right.tolist() == [True, True]


def test_weights_of_uneven_classes():
    assert class_weights(np.array([0, 0, 0, 1]), 3).tolist() == pytest.approx([4 / 9, 4 / 3, 1])
    assert class_weights(np.array([[1, 0, 0], [1, 0, 1], [1, 0, 0], [0, 0, 0]]), 3).tolist() == [1 / 3, 1, 3]


def test_distillation():
    """At temperature 2 a teacher of 2 ln 3 and 0 has 3/4 and 1/4; the loss against it is 4 times the cross-entropy."""
    soft = Distillation(CrossEntropy(), 0.25, 2.0)
    losses, right, gradient = run(soft, [[0, 0]], [[0, 1, 2 * LN3, 0]])
    np.testing.assert_allclose(losses, [0.75 * LN2 + 0.25 * 4 * LN2], rtol=1e-5)
    # 4 / 2 times (1/2 - 3/4), and of the label 1/2.
    np.testing.assert_allclose(gradient, [[0.75 * 0.5 - 0.25 * 0.5, -0.75 * 0.5 + 0.25 * 0.5]], atol=1e-5)
    assert right.tolist() == [False], "of the label"
    hard = Distillation(CrossEntropy(), 0.25, 2.0, hard=True)
    losses, _, gradient = run(hard, [[LN3, 0]], [[0, 1, 0.1, 0]])
    np.testing.assert_allclose(losses, [0.75 * LN4 + 0.25 * (LN4 - LN3)], rtol=1e-5)
    np.testing.assert_allclose(gradient, [[0.75 * 0.75 - 0.25 * 0.25, -0.75 * 0.75 + 0.25 * 0.25]], atol=1e-5)


def test_distillation_of_each_class_by_itself():
    """The teacher's logits ln 3 and -ln 3 are 3/4 and 1/4, or yes and no."""
    for hard, (first, second) in ((False, (0.75, 0.25)), (True, (1, 0))):
        _, _, gradient = run(Distillation(BinaryCrossEntropy(), 1.0, 1.0, hard), [[0, 0]], [[0, 0, LN3, -LN3]])
        np.testing.assert_allclose(gradient, [[(0.5 - first) / 2, (0.5 - second) / 2]], atol=1e-5)
