"""What a network has learned: the numbers against values by hand, and the pictures and the page that show them."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from PIL import Image

from neonext_ms import create_model
from neonext_ms.analysis.inspection import inspect_model
from neonext_ms.analysis.learned import (
    Blocks,
    Stages,
    blocks_of,
    class_activation,
    receptive_fields,
    side_of,
    with_convolutions,
)
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.errors import UserError
from neonext_ms.ops import NeoCell, parse_spec
from tests.analysis.test_run_report import Page
from tests.support.tiny import TINY


class Alone(nn.Cell):
    """A NeoCell as a network of one stage."""

    def __init__(self, k, channels, shift):
        super().__init__()
        self.cell = NeoCell(parse_spec(str(k), channels, shift), seed=0)

    def construct(self, x):
        return (self.cell(x),)


def test_a_cell_without_shift_sees_exactly_its_block(mode):
    network = Alone(7, 3, 0)
    (field,) = receptive_fields(network, np.zeros((1, 3, 28, 28), np.float32))
    left, right = (getattr(network.cell, side)[0].asnumpy() for side in ("left", "right"))
    expected = np.zeros((28, 28))  # pixel (14, 14) is the first of the third block
    expected[14:21, 14:21] = np.abs(left[:, 0, :, None] * right[:, None, :, 0]).sum(0)
    np.testing.assert_allclose(field, expected, rtol=1e-5, atol=0)
    assert np.count_nonzero(field) == 49


def test_shifted_channels_see_the_blocks_around():
    network = Alone(4, 4, 1)  # the blocks of channel c begin at c, c + 4, ...
    (field,) = receptive_fields(network, np.zeros((1, 4, 16, 16), np.float32))
    seen = np.zeros((16, 16), bool)
    for first in (8, 5, 6, 7):
        seen[first : first + 4, first : first + 4] = True
    np.testing.assert_array_equal(field > 0, seen)


def test_side_of_a_field_by_hand():
    field = np.zeros((16, 16))
    field[8, 8] = 6  # the middle: one plane of 16 x 16
    field[8, 9] = field[7, 8] = 1
    field[0, 8] = 2
    assert [side_of(field, share, 16) for share in (0.5, 0.6, 0.8, 0.81, 1.0)] == [1, 1, 3, 17, 17]
    assert side_of(np.roll(field, 2, (0, 1)), 0.6, 4) == 1, (
        "the third of four cells is pixels 8 to 11, its middle is 10"
    )


def test_blocks_by_hand():
    left, right = 2 * np.eye(2)[None], np.array([[[0.0, 3], [4, 0]]])
    one = Blocks(1, 2, left, right)
    assert one.distances() == pytest.approx([(np.sqrt(2) + np.sqrt(27)) / 2 / np.sqrt(2)])
    np.testing.assert_allclose(one.singular_values(), [[2, 2], [4, 3]])
    np.testing.assert_array_equal(one.stencils(), [[[0, 0], [8, 0]]])  # column 1 of A times row 1 of B


@pytest.mark.parametrize("channels", [1, 2])
def test_all_blocks_of_a_network_are_found(channels):
    network = create_model("neonext_pico", 10, seed=0, gate=channels == 2, **{**TINY, "depths": [2, 1]})
    found = blocks_of(network)
    counts = [(one.stage, one.size, one.left.shape[0] // channels) for one in found]
    assert counts == [(1, 4, 8), (1, 7, 8), (2, 7, 16)]
    np.testing.assert_array_equal(found[0].right[4 * channels :], network.stages[0][1].neocell.right[0].asnumpy())


@pytest.mark.parametrize("gate", [False, True])
def test_convolutions_stand_where_the_neocells_of_the_stages_stood(gate):
    network = with_convolutions(create_model("neonext_pico", 10, seed=0, gate=gate, **TINY))
    assert not any(isinstance(cell, NeoCell) for _, cell in network.stages.cells_and_names())
    (field, _) = receptive_fields(Stages(network), np.random.default_rng(0).random((1, 3, 32, 32), np.float32))
    seen = np.zeros((32, 32), bool)  # from 7 x 7 of the plane's 8 x 8 pixels around (4, 4)
    seen[4:, 4:] = True
    np.testing.assert_array_equal(field > 0, seen)


def test_class_activation_weighs_channels_by_the_gradient_of_the_largest_logit():
    network = create_model("neonext_pico", 10, seed=0, **TINY)
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    logits, activation = class_activation(network, images, 2)
    np.testing.assert_allclose(logits, network(ms.Tensor(images)).asnumpy(), rtol=0, atol=1e-5)
    features = Stages(network)(ms.Tensor(images))[1].asnumpy().astype(np.float64)
    expected = np.zeros_like(features[:, 0])
    for c in range(features.shape[1]):
        moved = []
        for step in (0.05, -0.05):
            other = features.copy()
            other[:, c] += step
            moved.append(network.forward_head(ms.Tensor(other.astype(np.float32))).asnumpy())
        slope = ((moved[0] - moved[1]) / 0.1)[[0, 1], logits.argmax(1)]
        expected += slope[:, None, None] * features[:, c]
    expected = np.maximum(expected, 0)
    np.testing.assert_allclose(activation, expected, rtol=0, atol=0.01 * expected.max())


def test_pictures_and_page(tmp_path):
    network = create_model("neonext_pico", 10, seed=0, **TINY)
    preprocess = {"image_size": 32, "mean": [0.3] * 3, "std": [0.35] * 3, "crop_pct": 1.0, "interpolation": "bicubic"}
    model = {"name": "neonext_pico", "num_classes": 10, "overrides": TINY}
    names = ["<b>", *map(str, range(1, 10))]
    about = {"model": model, "preprocess": preprocess, "class_names": names, "dataset": None}
    save_weights(tmp_path / "x.ckpt", network, about)
    files = [str(tmp_path / f"{name}.png") for name in ("a & b", "US$ x_$")]
    for i, file in enumerate(files):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    result = inspect_model(tmp_path / "x.ckpt", tmp_path / "out", files)
    pictures = ["blocks_stage1_4", "blocks_stage1_7", "blocks_stage2_7", "receptive_fields", "values"]
    pictures = sorted(f"{name}.png" for name in ("activation_1", "activation_2", *pictures))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*pictures, "index.html"])
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert sorted(map(str, page.addresses)) == sorted(
        a for a in page.addresses if a.startswith("data:image/png;base64,")
    )
    assert len(page.pictures) == 7 and min(picture.width for _, picture in page.pictures) >= 400
    assert all(file in page.text for file in files)
    assert list(result["sides"]) == ["trained", "untrained", "untrained, depthwise 7 x 7"]
    assert result["sides"]["trained"] == result["sides"]["untrained"], "seed 0 is that of the fresh network"
    with pytest.raises(UserError, match="exists already"):
        inspect_model(tmp_path / "x.ckpt", tmp_path / "out", files)
    with pytest.raises(UserError, match="does not say which data set it was trained on.*give images"):
        inspect_model(tmp_path / "x.ckpt", tmp_path / "other", [])
    assert not (tmp_path / "other").exists()
