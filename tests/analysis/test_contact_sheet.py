"""The contact sheet shows, pixel for pixel, what training sees."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from neonext_ms.analysis.contact_sheet import LINE, _Sheet, contact_sheet
from neonext_ms.data import Preprocess
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources, train_loader

OPTIONS = {"auto_augment": "rand-m9-mstd0.5-inc1", "random_crop": "pad", "hflip": 0.5, "batch_size": 8}


def cells(path, rows, columns, lines, side=96):
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (LINE + rows * (side + lines * LINE), columns * side, 3)
    tops = [LINE + row * (side + lines * LINE) for row in range(rows)]
    grid = [[sheet[top : top + side, c * side : (c + 1) * side][1::3, 1::3] for c in range(columns)] for top in tops]
    return np.array(grid).astype(int)


def test_cells(tmp_path):
    config = TrainConfig(**OPTIONS, mixup=0.8, cutmix=1.0)
    result = contact_sheet(config, tmp_path / "a.png", 3, 2)
    shown = cells(tmp_path / "a.png", 3, 4, lines=2)
    source, _ = open_sources(config)
    preprocess = Preprocess(32, source.mean, source.std)
    plain = {}
    for epoch in range(2):
        for batch in train_loader(TrainConfig(**OPTIONS), source, Ranks(0, 1, "CPU")).epoch(epoch):
            plain |= {(epoch, index): image for index, image in zip(batch.indices.tolist(), batch.images)}
    mixed = next(train_loader(config, source, Ranks(0, 1, "CPU")).epoch(0))
    assert result["samples"] == mixed.indices[:3].tolist()
    for row, index in enumerate(result["samples"]):
        expected = [preprocess(source.image(index)), plain[0, index], plain[1, index], mixed.images[row]]
        for column, image in enumerate(expected):
            pixels = 255 * (image.transpose(1, 2, 0) * source.std + source.mean)
            assert np.abs(shown[row, column] - np.clip(pixels, 0, 255)).max() <= 1


def test_fewer_samples_than_asked_for_and_nothing_mixed(tmp_path):
    result = contact_sheet(TrainConfig(batch_size=2), tmp_path / "a.png", 8, 1)
    assert len(result["samples"]) == 2
    assert cells(tmp_path / "a.png", 2, 2, lines=1).shape[:2] == (2, 2), "evaluation and epoch 1, nothing else"
    title = Image.new("RGB", (96, LINE), "white")
    ImageDraw.Draw(title).text((2, 1), "epoch 1", fill="black")
    shown = Image.open(tmp_path / "a.png").crop((96, 0, 192, LINE))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(title), err_msg="the first epoch is 1, as in the log")


def test_captions_fit():
    sheet = _Sheet(["one", "two"], 1, 96, 2)
    white = Image.new("RGB", (96, 96), "white")
    sheet.put(0, 0, white, [("Labrador retriever, a long name", " 0.63"), ("cat", " 0.37")])
    below = np.asarray(sheet._image)[LINE + 96 :]
    assert below[:, :96].min() < 99 and (below[:, 94:] == 255).all(), "nothing reaches into the next column"
    assert sheet._fitting("cat", " 0.37") == "cat 0.37"
    cut = sheet._fitting("Labrador retriever, a long name", " 0.63")
    assert cut.startswith("Labra") and cut.endswith("... 0.63")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(UserError, match="a.png' exists: give another name"):
        contact_sheet(TrainConfig(), tmp_path / "a.png", 2, 2)
    assert (tmp_path / "a.png").read_text() == "mine"


def test_bad_numbers(tmp_path):
    with pytest.raises(UserError, match="at least one sample and one version, got 0 and 3"):
        contact_sheet(TrainConfig(), tmp_path / "a.png", 0, 3)
