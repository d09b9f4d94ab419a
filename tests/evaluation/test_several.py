"""What answers are worth where an image may have several classes."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from neonext_ms.data import Loader, Preprocess
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.predictions import predict_split
from neonext_ms.evaluation.scores import average_precision, several
from neonext_ms.runtime.ranks import Ranks

ONE = Ranks(0, 1, "CPU")


def test_average_precision_by_hand():
    """Right answers at places 1 and 3: (1/1 + 2/3) / 2. Of two equal scores neither is before the other: 1/2."""
    assert average_precision(np.array([4.0, 3, 2, 1]), np.array([1, 0, 1, 0], bool)) == pytest.approx(5 / 6)
    for labels in ([1, 0], [0, 1]):
        assert average_precision(np.zeros(2), np.array(labels, bool)) == 0.5


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = (rng.random((50, 4)) < 0.3).astype(np.uint8)
    logits = np.round(rng.normal(size=(50, 4)) * 2 + labels, 1)  # some are equal
    found = several(logits, labels, 0.7)
    said = logits > np.log(0.7 / 0.3)
    assert found["mAP"] == pytest.approx(average_precision_score(labels, logits, average="macro"))
    assert found["f1"] == pytest.approx(f1_score(labels, said, average="micro"))
    assert found["accuracy"] == accuracy_score(labels, said)
    probabilities = 1 / (1 + np.exp(-logits.ravel()))
    assert found["loss"] == pytest.approx(log_loss(labels.ravel(), probabilities))


def test_a_class_without_images_is_left_out_of_the_mean():
    found = several(np.array([[1.0, 9], [-1, 9]]), np.array([[1, 0], [0, 0]]), 0.5)
    assert found["mAP"] == 1.0 and found["accuracy"] == 0.0 and found["f1"] == 0.5
    assert several(np.array([[-1.0]]), np.array([[0]]), 0.5) | {"loss": 0} == {
        "loss": 0,
        "accuracy": 1.0,
        "mAP": 0.0,
        "f1": 0.0,
        "images": 1,
    }


def test_what_is_no_number_is_no_result():
    with np.errstate(invalid="ignore"):
        assert np.isnan(several(np.array([[np.nan, 0]]), np.array([[1, 0]]), 0.5)["loss"])


def test_every_image_counts_once_and_padding_does_not():
    """Three images in batches of two: the red is 10 x their number, and the first class is in all but the first."""
    images = np.broadcast_to(10 * np.arange(3).reshape(-1, 1, 1, 1), (3, 4, 4, 3)).astype(np.uint8)
    labels = np.array([[0, 1], [1, 0], [1, 1]])
    source = ArraySource("made/val", ["a", "b"], labels, images, (0.0,) * 3, (1 / 255,) * 3)
    loader = Loader(source, Preprocess(4, source.mean, source.std), 2, training=False)

    def predict(batch):
        return np.stack([batch[:, 0, 0, 0] - 5, batch[:, 1, 0, 0] - 5], 1)  # -5, 5, 15

    result = evaluate(predict, loader, ONE)
    assert result["images"] == 3 and result["accuracy"] == 1 / 3 and result["f1"] == 3 / 4
    # The class b is in the images of -5 and 15: (1/1 + 2/3) / 2.
    assert result["mAP"] == pytest.approx((1 + 5 / 6) / 2)
    assert evaluate(predict, loader, ONE, threshold=1 - 1e-6)["f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert evaluate(predict, loader, ONE, lambda: True) is None
    with pytest.raises(UserError, match="may have several classes"):
        predict_split(predict, loader)
