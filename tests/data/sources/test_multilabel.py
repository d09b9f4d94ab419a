"""Images with any number of classes, listed in a CSV file beside their folder."""

import logging

import numpy as np
import pytest
from PIL import Image

from neonext_ms.data import Loader, Mixing, Preprocess, TrainTransform, open_source
from neonext_ms.errors import UserError
from tests.support.fuzz import mutants, read_or_refused

TRAIN = 'a.png,dog,indoors\n"deep/b, or not.png",cat\n\nc.png\n'


@pytest.fixture
def root(tmp_path):
    for split, names in (("train", ("a.png", "deep/b, or not.png", "c.png")), ("val", ("d.png",))):
        for value, name in enumerate(names):
            (tmp_path / split / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value, 0, 0)).save(tmp_path / split / name)
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "val.csv").write_text("d.png, cat ,dog\r\n")
    return tmp_path


def test_the_lines_are_the_samples_in_their_order(root):
    source = open_source("multilabel", root, "train")
    assert source.class_names == ["cat", "dog", "indoors"] and source.multi_label and len(source) == 3
    assert source.labels.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert [source.image(i)[0, 0, 0] for i in range(3)] == [0, 1, 2]
    assert [source.label_name(i) for i in range(3)] == ["dog + indoors", "cat", "none of the classes"]
    val = open_source("multilabel", root, "val")
    assert val.class_names == source.class_names and val.labels.tolist() == [[1, 1, 0]]


def test_another_label_is_another_data_set(root):
    before = open_source("multilabel", root, "train").listing()
    (root / "train.csv").write_text(TRAIN.replace("c.png", "c.png,cat"))
    assert open_source("multilabel", root, "train").listing() != before


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("train", "a.png,dog\n\nb.png,cat\n", "train.csv', line 3: there is no image 'b.png' in"),
        ("train", "a.png,dog\na.png,cat\n", "line 2: 'a.png' was listed before"),
        ("train", "\n", "lists no image; expected is a line for each image"),
        ("train", "a.png\n", "train.csv' names no class"),
        ("val", "d.png,bird\n", "val.csv', line 1: the class 'bird' is not in"),
        ("val", None, "cannot read"),
    ],
)
def test_a_list_that_does_not_fit(root, file, text, message):
    path = root / f"{file}.csv"
    path.write_text(text) if text else path.unlink()
    with pytest.raises(UserError) as error:
        open_source("multilabel", root, file)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_names_with_the_ends_of_other_lines_in_them(root):
    name = "a\u2028b\x0bc\n.png"
    (root / "train" / "a.png").rename(root / "train" / name)
    (root / "train.csv").write_text(f'"{name}","d\x85og"\ndeep/nothing.png\n', newline="")
    with pytest.raises(UserError, match=r"line 3: there is no image 'deep/nothing.png' in"):
        open_source("multilabel", root, "train")
    (root / "train.csv").write_text(f'"{name}","d\x85og"\n', newline="")
    source = open_source("multilabel", root, "train")
    assert source.paths[0] == str(root / "train" / name) and source.class_names == ["d\x85og"]


def test_fuzzed_lists(root):
    path = root / "train.csv"
    for data in (*mutants(TRAIN.encode(), seed=1, count=200), b'"' + b"x" * 200_000, b"a.png" + b",x" * 100_000):
        path.write_bytes(data)
        read_or_refused(lambda _: open_source("multilabel", root, "train"), path)


def test_images_that_are_not_listed_are_told(root, caplog):
    (root / "train.csv").write_text("a.png,dog\n")
    with caplog.at_level(logging.WARNING):
        assert len(open_source("multilabel", root, "train")) == 1
    assert "2 images in" in caplog.text and "does not list them" in caplog.text


def test_batches_have_all_classes_of_an_image(root):
    """Smoothing 0.3 leaves 0.7 and adds 0.3 / 3 to each; mixup by shares w and 1 - w keeps the sum of a pair."""
    source, half = open_source("multilabel", root, "train"), (0.5,) * 3
    plain = next(Loader(source, Preprocess(8, half, half), 4, training=False).epoch())
    assert plain.targets.tolist() == [[0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert plain.labels.dtype == np.int32 and plain.valid.tolist() == [True, True, True, False]
    transform = TrainTransform(Preprocess(8, half, half))
    for mixing in (Mixing(label_smoothing=0.3), Mixing(mixup=0.8, label_smoothing=0.3)):
        batch = next(Loader(source, transform, 2, training=True, mixing=mixing).epoch())
        expected = 0.7 * source.labels[batch.indices] + 0.1
        np.testing.assert_allclose(batch.targets.sum(0), expected.sum(0), rtol=1e-6)
        assert np.allclose(batch.targets, expected) == (mixing.mixup == 0)
    with pytest.raises(UserError, match="class_balance needs images of one class each"):
        Loader(source, transform, 2, training=True, class_balance=0.5)
