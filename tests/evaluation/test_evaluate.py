"""Loss, right answers, and answers among the five most probable, without padding; ties as they are listed."""

import numpy as np
import pytest
from mindspore import GRAPH_MODE, float16, nn, set_context

from neonext_ms.data import Loader, Preprocess
from neonext_ms.data.sources import ArraySource
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.predictions import predict_split
from neonext_ms.evaluation.scores import log_softmax, order, sums
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import Ranks

set_context(mode=GRAPH_MODE)

ALONE = Ranks(0, 1, "CPU")


def loader(labels: list[int], classes: int, size: int = 4) -> Loader:
    """Images whose values are all 10 x their number, 4 x 4 pixels."""
    images = np.broadcast_to(10 * np.arange(len(labels)).reshape(-1, 1, 1, 1), (len(labels), 4, 4, 3)).astype(np.uint8)
    source = ArraySource("made/val", [str(i) for i in range(classes)], labels, images, (0.0,) * 3, (1 / 255,) * 3)
    return Loader(source, Preprocess(4, source.mean, source.std), size, training=False)


def test_sums_by_hand():
    """Probabilities 1/2, 1/4, 1/8, 1/8; the true classes are the first, the third, and the second of two equal ones."""
    logits = np.log([[4, 2, 1, 1]] * 3) + [[0], [100], [-100]]
    found = sums(logits, np.array([0, 2, 3]))
    assert found == pytest.approx([np.log(2) + 2 * np.log(8), 1, 3, 3])
    assert np.exp(log_softmax(logits)) == pytest.approx(np.array([[0.5, 0.25, 0.125, 0.125]] * 3))


def test_equal_logits_are_in_the_order_of_the_classes():
    """In the first place and among the first five alike: of seven equal ones the first five are."""
    found = [sums(np.zeros((1, 7), np.float32), np.array([label]))[1:3].tolist() for label in range(7)]
    assert found == [[1, 1], [0, 1], [0, 1], [0, 1], [0, 1], [0, 0], [0, 0]]
    assert order(np.array([[1, 3, 3, 0]])).tolist() == [[1, 2, 0, 3]]
    many = np.arange(1000) % 3  # more than NumPy sorts by insertion
    assert order(many[None]).tolist() == [[*range(2, 1000, 3), *range(1, 1000, 3), *range(0, 1000, 3)]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_no_result(bad):
    logits = np.zeros((2, 7), np.float32)
    logits[1, 3] = bad
    with np.errstate(invalid="ignore"):
        assert np.isnan(sums(logits, np.array([0, 0]))[0])


def test_every_image_counts_once_and_padding_does_not():
    """Six images in batches of four: a network that names the class 0 for all but the last, whose number is 5."""

    def predict(images):
        seen.append(len(images))
        return np.stack([0 * images[:, 0, 0, 0], images[:, 0, 0, 0] - 45], 1)

    seen = []
    result = evaluate(predict, loader([0, 0, 1, 1, 0, 1], 2), ALONE)
    assert seen == [4, 4] and result["images"] == 6
    assert result["accuracy"] == 4 / 6 and set(result) == {"loss", "accuracy", "images"}
    found = predict_split(predict, loader([0, 0, 1, 1, 0, 1], 2))
    assert found.predicted.tolist() == [0, 0, 0, 0, 0, 1] and found.accuracy == 4 / 6
    assert found.indices.tolist() == list(range(6))


@pytest.mark.parametrize("classes, has_top5", [(5, False), (6, True)])
def test_top5_is_named_where_it_says_something(classes, has_top5):
    result = evaluate(
        lambda images: np.zeros((len(images), classes)), loader([0, 4, 1, 0, classes - 1], classes), ALONE
    )
    assert result["accuracy"] == 2 / 5 and ("top5_accuracy" in result) == has_top5
    if has_top5:
        assert result["top5_accuracy"] == 4 / 5


def test_it_ends_when_it_is_asked_to():
    assert evaluate(lambda images: np.zeros((len(images), 2)), loader([0, 1, 0, 1, 0], 2), ALONE, lambda: True) is None


class Pixels(nn.Cell):
    """The first values of an image as its K logits, halved in training."""

    def construct(self, images):
        images = images.reshape((images.shape[0], -1))[:, :3]
        return images / 2 if self.training else images


def test_a_network_is_evaluated_in_its_mode_and_type():
    network = Pixels().set_train(True)
    images = np.full((2, 3, 2, 2), 1 + 2**-12, np.float32)
    for dtype, expected in ((None, 1 + 2**-12), (float16, 1)):
        step = EvalStep(network) if dtype is None else EvalStep(network, dtype)
        network.set_train(True)
        logits = step(images)
        assert logits.dtype == np.float32 and logits.shape == (2, 3) and (logits == expected).all()
