"""A small checkpoint with trained-like statistics, and its exports."""

import json

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess, open_source
from neonext_ms.deploy import export_model
from tests.support.once import made_once
from tests.support.tiny import TINY

MODEL = {
    "name": "neonext_pico",
    "num_classes": 10,
    "overrides": {**TINY, "layer_scale": 0.5},
}
PREPROCESS = {
    "image_size": 32,
    "mean": [0.3, 0.3, 0.3],
    "std": [0.35, 0.35, 0.35],
    "crop_pct": 0.875,
    "interpolation": "bicubic",
}


def _save(path, spoil=None):
    """Save the model with every parameter and statistic drawn anew; spoil(network) may change it before."""
    network = create_model(MODEL["name"], MODEL["num_classes"], seed=1, **MODEL["overrides"])
    rng = np.random.default_rng(2)
    for parameter in network.get_parameters():
        if parameter.ndim == 1:
            parameter.set_data(ms.Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    if spoil:
        spoil(network)
    card = {
        "model": MODEL,
        "preprocess": PREPROCESS,
        "class_names": [str(i) for i in range(10)],
        "dataset": {"name": "digits", "data_dir": None},
        "epoch": 3,
        "step": 30,
        "metrics": {"accuracy": 0.5},
    }
    save_weights(path, network, card)
    return path


@pytest.fixture(scope="session")
def save_checkpoint():
    return _save


@pytest.fixture(scope="session")
def preprocess():
    """What the checkpoint carries."""
    return Preprocess.from_dict(PREPROCESS)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return made_once(tmp_path_factory, "checkpoint", lambda folder: _save(folder / "pico.ckpt")) / "pico.ckpt"


def _export(checkpoint, path, **options):
    assert export_model(checkpoint, path, **options) == _card(path)


def _card(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """{batch size: (path, card)}: 2 is as it was trained, None is folded."""
    names = {2: "two.mindir", None: "any.mindir"}

    def make(folder):
        for size, name in names.items():
            _export(checkpoint, folder / name, batch_size=size, folded=size is None)

    folder = made_once(tmp_path_factory, "a folder", make)  # whose name MindSpore itself refuses
    return {size: (folder / name, _card(folder / name)) for size, name in names.items()}


@pytest.fixture(scope="session")
def exported_onnx(checkpoint, tmp_path_factory):
    """(path, card), for any batch size."""

    def make(folder):
        _export(checkpoint, folder / "any.onnx", batch_size=None)

    path = made_once(tmp_path_factory, "onnx", make) / "any.onnx"
    return path, _card(path)


@pytest.fixture(scope="session")
def images():
    """Three real images of different shapes, (H, W, 3) uint8."""
    source = open_source("digits", None, "val")
    return [source.image(0), source.image(1)[:24], source.image(2)[:, 4:30]]
