"""Networks for other images than RGB: trained, validated, exported, served and taken up again."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms.analysis.contact_sheet import contact_sheet
from neonext_ms.analysis.run_report import write_report
from neonext_ms.checkpoint.network import fit_stem, load_trained
from neonext_ms.checkpoint.pretrained import create_model
from neonext_ms.data import register_source
from neonext_ms.data.sources import ArraySource
from neonext_ms.deploy import Classifier, export_model, load_features
from neonext_ms.deploy.export.folder import write_folder
from neonext_ms.deploy.validate import validate
from neonext_ms.errors import UserError
from neonext_ms.training import train
from neonext_ms.training.inputs import open_sources, preprocess
from tests.support.tiny import TinyConfig, assembled

CHANNELS = 5


@register_source("bands")
def open_bands(data_dir, split):
    """The class is the channel that is bright, so that a network which misses one cannot tell it."""
    rng = np.random.default_rng(split == "val")
    labels = np.arange(160) % CHANNELS
    images = rng.integers(0, 128, (160, 16, 16, CHANNELS), np.uint8)
    images[np.arange(160), ..., labels] += 100
    half = (0.5,) * CHANNELS
    return ArraySource(f"bands/{split}", [f"band {c}" for c in range(CHANNELS)], labels, images, half, half)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bands") / "run"
    options = {"image_size": 16, "batch_size": 16, "eval_batch_size": 40, "epochs": 4, "num_workers": 0, "lr": 1e-2}
    train(TinyConfig(dataset="bands", output_dir=str(folder), **options))
    return folder, next(folder.glob("checkpoints/*_best.ckpt"))


def test_five_channels_from_training_to_serving(run, tmp_path):
    folder, best = run
    card = load_trained(best).card
    assert card.model.overrides["in_chans"] == card.preprocess.channels == CHANNELS
    accuracy = validate(best, device="CPU", num_workers=0)["accuracy"]
    assert accuracy > 0.95
    exported, published = tmp_path / "bands.onnx", tmp_path / "bands"
    assert export_model(best, exported)["verification"]["source"] == "bands/val"
    write_folder(best, published)
    images = [open_bands(None, "val").image(i) for i in range(10)]
    for path in (best, exported, published):
        names = [result[0].name for result in Classifier.open(path).predict(images)]
        assert sum(name == f"band {i % 5}" for i, name in enumerate(names)) >= 9
    with pytest.raises(UserError, match=r"image 1 must be .* \(H, W, 5\) uint8 in the order of training, got"):
        Classifier.open(best).predict(images[0][..., :3])
    features = load_features(published)(ms.Tensor(np.zeros((1, CHANNELS, 32, 32), np.float32)))
    assert [y.shape for y in features] == [(1, 8, 8, 8), (1, 16, 4, 4)]
    assert "each channel of the image in 0..1" in (published / "README.md").read_text()
    assert write_report(folder, tmp_path / "report.html", None, 0, "CPU")["accuracy"] == accuracy
    config = TinyConfig(dataset="bands", image_size=16, batch_size=16, num_workers=0)
    contact_sheet(config, tmp_path / "sheet.png", 2, 1)


def test_grey_from_weights_for_colour(run):
    """The sum over channels: what a grey image gives, repeated into all of them; and any other number keeps the sum."""
    _, best = run
    network, grey = (create_model("neonext_pico", pretrained=best, in_chans=c) for c in (CHANNELS, 1))
    pixels = np.random.default_rng(0).standard_normal((2, 1, 16, 16)).astype(np.float32)
    expected = network(ms.Tensor(np.repeat(pixels, CHANNELS, 1))).asnumpy()
    np.testing.assert_allclose(grey(ms.Tensor(pixels)).asnumpy(), expected, rtol=1e-4, atol=1e-4)
    assert grey.default_cfg["input_size"] == (1, 16, 16) and grey.default_cfg["mean"] == (0.5,)
    assert network.default_cfg["label_names"] == tuple(f"band {c}" for c in range(CHANNELS))
    weight = np.arange(6, dtype=np.float32).reshape(1, 6)  # two channels of three pixels
    np.testing.assert_array_equal(fit_stem(weight, 2, 3) * 3, 2 * np.array([[0, 1, 2, 3, 4, 5, 0, 1, 2]]))
    np.testing.assert_array_equal(fit_stem(weight, 2, 1), [[3, 5, 7]])


def test_digits_in_grey_begin_with_colour(run):
    _, best = run
    job = assembled(TinyConfig(in_chans=1, pretrained=str(best), num_workers=0, batch_size=8))
    assert job.pretrained.endswith("; the stem, for 5 channels, is summed over its channels for 1")
    assert job.card.preprocess.mean == (0.3098,) and job.network.stem.proj.weight.shape == (8, 16)
    batch = next(iter(job.loader.epoch()))
    assert batch.images.shape == (8, 1, 32, 32)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dataset": "bands", "in_chans": 3}, "in_chans .=3. does not fit bands/train, whose images have 5 channels"),
        ({"in_chans": 2}, "in_chans .=2. does not fit digits/train, whose images have 3 channels"),
        ({"in_chans": 1, "mean": (0.1, 0.2, 0.3)}, "mean must have a number for each of the 1 channels"),
    ],
)
def test_channels_that_do_not_fit(options, message):
    config = TinyConfig(**options)
    with pytest.raises(UserError, match=message):
        preprocess(config, open_sources(config)[0])
