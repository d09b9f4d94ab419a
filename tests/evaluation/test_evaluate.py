"""Sums of an evaluation: loss, right answers, and answers among the five most probable, without padding."""

import numpy as np
import pytest
from mindspore import GRAPH_MODE, Tensor, nn, set_context

from neonext_ms.data import Loader, Preprocess
from neonext_ms.data.sources import ArraySource
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.runtime.ranks import Ranks

set_context(mode=GRAPH_MODE)


class Pixels(nn.Cell):
    """The first values of an image as its K logits."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def construct(self, images):
        return images.reshape((images.shape[0], -1))[:, : self.classes]


def test_sums_against_numpy():
    rng = np.random.RandomState(0)
    images = rng.randn(40, 3, 2, 2).astype(np.float32)
    images[0] = 1.0  # all logits equal: right by argmax's choice of the first, but not among the five largest
    labels = rng.randint(0, 9, 40)
    labels[0] = 0
    targets = np.eye(9, dtype=np.float32)[labels]
    targets[30:] = 0
    found = EvalStep(Pixels(9))(Tensor(images), Tensor(targets)).asnumpy()
    logits = images.reshape(40, 12)[:30, :9].astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(30), labels[:30]]
    places = (logits > logits[np.arange(30), labels[:30], None]).sum(1)
    assert found == pytest.approx([losses.sum(), (logits.argmax(1) == labels[:30]).sum(), (places < 5)[1:].sum(), 30])
    assert 0 < found[1] < found[2] < 30


@pytest.mark.parametrize("classes, has_top5", [(5, False), (6, True)])
def test_top5_is_named_where_it_says_something(classes, has_top5):
    images = np.random.RandomState(1).randint(0, 256, (11, 4, 4, 3)).astype(np.uint8)
    names = [str(i) for i in range(classes)]
    source = ArraySource("made/val", names, np.arange(11) % classes, images, (0.5,) * 3, (0.25,) * 3)
    loader = Loader(source, Preprocess(4, (0.5,) * 3, (0.25,) * 3), 4, training=False)
    result = evaluate(EvalStep(Pixels(classes)), loader, Ranks(0, 1, "CPU"))
    assert result["images"] == 11 and 0 <= result["accuracy"] <= 1
    assert ("top5_accuracy" in result) == has_top5
    if has_top5:
        assert result["accuracy"] <= result["top5_accuracy"] < 1
