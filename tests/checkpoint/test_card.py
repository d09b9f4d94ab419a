"""A model's card is what it should be, or refused with the name of the field."""

import json

import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.checkpoint.card import DatasetName, Model, ModelCard
from neonext_ms.checkpoint.manifest import manifest_path, write_manifest
from neonext_ms.checkpoint.network import load_network
from neonext_ms.checkpoint.safetensors_file import safetensors_bytes
from neonext_ms.checkpoint.store import load_checkpoint, save_checkpoint
from neonext_ms.data import Preprocess
from neonext_ms.deploy.convert.convert import convert
from neonext_ms.errors import UserError
from tests.support.cards import CARD, WRONG_CARDS, WRONG_OVERRIDES, changed


def test_a_card_is_what_json_says_and_back():
    values = {**CARD, "dataset": {"name": "folder", "data_dir": "/a"}, "epoch": 3}
    card = ModelCard.from_dict(json.loads(json.dumps(values)), "x.ckpt")
    assert card == ModelCard(
        Model("neonext_pico", 2, {}),
        Preprocess(32, (0.5,) * 3, (0.25,) * 3),
        ("cat", "dog"),
        DatasetName("folder", "/a"),
        "another.ckpt",
    )
    assert card.to_dict() == {key: value for key, value in values.items() if key != "epoch"}


@pytest.mark.parametrize(("path", "value", "message"), WRONG_CARDS)
def test_a_field_that_is_not_what_it_should_be_is_named(path, value, message):
    with pytest.raises(UserError) as error:
        ModelCard.from_dict(changed(CARD, path, value), "x.ckpt", "x.ckpt.json")
    assert str(error.value).startswith("x.ckpt.json: ") and message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(("overrides", "message"), WRONG_OVERRIDES)
def test_a_network_that_there_cannot_be_is_not_built(overrides, message):
    card = ModelCard.from_dict(changed(CARD, ("model", "overrides"), overrides), "x.ckpt")
    with pytest.raises(UserError) as error:
        card.build()
    assert str(error.value).startswith("x.ckpt: model: ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides", [{"dims": [32, 64, 128, 10**9]}, {"depths": [1, 1, 10**9, 1]}, {"kernels": ["9999"] * 4}]
)
def test_a_network_larger_than_its_file_is_not_built(tmp_path, overrides):
    """It would take all the memory there is."""
    path = tmp_path / "x.ckpt"
    save_checkpoint(path, {"a": np.ones(3, np.float32)}, changed(CARD, ("model", "overrides"), overrides))
    (tmp_path / "x.safetensors").write_bytes(
        safetensors_bytes({"stem.proj.weight": np.ones(3, np.float32)}, load_checkpoint(path).card.to_dict())
    )
    for build in (
        lambda: load_network(path),
        lambda: create_model("neonext_pico", pretrained=path),
        lambda: convert(tmp_path / "x.safetensors", tmp_path / "y.ckpt"),
    ):
        with pytest.raises(UserError, match="x.* holds 3 weights, .* do not belong together"):
            build()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("file",), None, "file must be an object with name, bytes, sha256, parameters, got None"),
        (("file", "bytes"), "12", "file: bytes must be a whole number, got '12'"),
        (("file", "sha256"), 5, "file: sha256 must be a text, got 5"),
        (("parameters",), ["a"], "file: parameters must be an object"),
        (("state",), 5, "state must be an object"),
        (("class_names",), ["a"], "class_names has 1 names"),
    ],
)
def test_a_manifest_that_somebody_else_wrote_is_checked_too(tmp_path, path, value, message):
    """With a checksum that fits."""
    file = tmp_path / "x.ckpt"
    manifest = save_checkpoint(file, {"a": np.ones(3, np.float32)}, CARD)
    write_manifest(manifest_path(file), changed(manifest, path, value))
    with pytest.raises(UserError) as error:
        load_checkpoint(file)
    assert "x.ckpt.json: " in str(error.value) and message in str(error.value)


def test_what_no_reader_would_take_is_not_written(tmp_path):
    with pytest.raises(UserError, match="x.ckpt: class_names has 3 names"):
        save_checkpoint(tmp_path / "x.ckpt", {}, {**CARD, "class_names": ["a", "b", "c"]})
    assert list(tmp_path.iterdir()) == []


def test_classes_in_another_order_are_other_classes(tmp_path):
    """Their accuracy would be wrong without a word."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").touch()
    card = ModelCard.from_dict(CARD, "x.ckpt")
    assert len(card.validation_source("folder", str(tmp_path))) == 2
    with pytest.raises(UserError, match="x.ckpt does not say which data set it was trained on: name a dataset"):
        card.validation_source()
    for own, given in ((tmp_path, None), (tmp_path / "gone", tmp_path)):
        moved = ModelCard.from_dict({**CARD, "dataset": {"name": "folder", "data_dir": str(own)}}, "x.ckpt")
        assert len(moved.validation_source(None, given and str(given))) == 2
    swapped = ModelCard.from_dict({**CARD, "class_names": ["dog", "cat"]}, "x.ckpt")
    with pytest.raises(UserError, match="x.ckpt knows the 2 classes dog, cat, but folder/val has 2, cat, dog"):
        swapped.validation_source("folder", str(tmp_path))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, bad):
    weights = {"stem.weight": np.ones((2, 3), np.float32), "head.bias": np.array([1, bad, bad], np.float32)}
    save_checkpoint(tmp_path / "x.ckpt", weights, CARD)
    with pytest.raises(UserError, match="x.ckpt: head.bias has 2 of 3 values that are not finite"):
        load_checkpoint(tmp_path / "x.ckpt", with_state=False)


def test_no_nan_stands_in_a_manifest(tmp_path):
    """It is a text there, as wherever this package writes JSON."""
    save_checkpoint(tmp_path / "x.ckpt", {}, {**CARD, "metrics": {"loss": float("nan")}})
    assert load_checkpoint(tmp_path / "x.ckpt").manifest["metrics"] == {"loss": "nan"}
