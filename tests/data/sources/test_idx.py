"""IDX files: MNIST, Fashion-MNIST, KMNIST and EMNIST, made small from the built-in digits."""

import gzip
import pickle
import random
import struct
import time
import tracemalloc

import numpy as np
import pytest

from neonext_ms.data import Loader, Preprocess, open_source
from neonext_ms.data.sources.idx import IDX_DATASETS
from neonext_ms.errors import UserError

DIGITS = open_source("digits", None, "train")
GREY = np.stack([DIGITS.image(i)[2:30, 1:29, 0] for i in range(40)])  # 28 x 28


def idx(values):
    values = np.asarray(values, np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write(folder, images=GREY, labels=None, prefix="", compressed=False, dot="-"):
    folder.mkdir(parents=True, exist_ok=True)
    labels = DIGITS.labels[: len(images)] if labels is None else labels
    for part, rows in (("train", slice(0, 30)), ("t10k" if not prefix else "test", slice(30, 40))):
        for what, values, number in (("images", images, 3), ("labels", labels, 1)):
            data, name = idx(values[rows]), f"{prefix}{part}-{what}{dot}idx{number}-ubyte"
            (folder / f"{name}.gz").write_bytes(gzip.compress(data)) if compressed else (folder / name).write_bytes(
                data
            )
    return folder


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("compressed, dot, below", [(False, "-", ""), (True, "-", "raw"), (False, ".", "")])
def test_pixels_and_labels_are_those_of_the_files(tmp_path, dataset, compressed, dot, below):
    write(tmp_path / below, compressed=compressed, dot=dot)
    for split, rows in (("train", range(30)), ("val", range(30, 40))):
        source = open_source(dataset, tmp_path, split)
        assert source.name == f"{dataset}/{split}" and len(source) == len(rows) and len(source.class_names) == 10
        np.testing.assert_array_equal(source.labels, DIGITS.labels[rows])
        for index, row in enumerate(rows):
            assert source.image(index).dtype == np.uint8
            np.testing.assert_array_equal(source.image(index), GREY[row][..., None].repeat(3, 2))
    assert open_source(dataset, tmp_path, "train").listing() != source.listing()


def test_fashion_mnist_has_the_names_of_its_paper_in_their_order(tmp_path):
    names = open_source("fashion_mnist", write(tmp_path), "val").class_names
    assert names[0] == "T-shirt" and names[1] == "trouser" and names[7] == "sneaker" and names[9] == "ankle boot"


def test_emnist_lies_on_its_side_and_its_letters_begin_at_1(tmp_path):
    write(tmp_path, GREY.transpose(0, 2, 1), np.arange(40) % 26 + 1, "emnist-letters-", compressed=True)
    source = open_source("emnist_letters", tmp_path, "train")
    assert source.class_names[source.labels[0]] == "a" and source.class_names[source.labels[25]] == "z"
    np.testing.assert_array_equal(source.image(3)[..., 1], GREY[3])


@pytest.mark.parametrize("dataset, classes, names", [("emnist_balanced", 47, "0Aat"), ("emnist_byclass", 62, "0Aaz")])
def test_emnists_mapping_of_labels(tmp_path, dataset, classes, names):
    """The places of NIST's mapping: digits, capitals, small letters."""
    write(tmp_path, labels=np.arange(40), prefix=f"emnist-{dataset.partition('_')[2]}-")
    source = open_source(dataset, tmp_path, "train")
    found = source.class_names
    assert len(found) == classes and [found[0], found[10], found[36], found[-1]] == list(names)
    assert len(set(found)) == classes


def test_the_stream_of_worker_processes(tmp_path):
    source = open_source("fashion_mnist", write(tmp_path), "val")
    assert len(pickle.dumps(source)) < 2 * 10 * 28 * 28, "grey, not three times that"
    streams = [
        [
            batch.images
            for batch in Loader(
                source, Preprocess(32, (0.5,) * 3, (0.25,) * 3), 4, training=False, num_workers=n
            ).epoch()
        ]
        for n in (0, 1)
    ]
    np.testing.assert_array_equal(*map(np.concatenate, streams))


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("train-images-idx3-ubyte", None, "'train-images-idx3-ubyte' (or .gz) not found in"),
        ("train-images-idx3-ubyte", b"", "is no IDX file of 3 dimensions"),
        ("train-images-idx3-ubyte", idx(GREY)[:-1], "has not the 31360 bytes of"),
        ("train-images-idx3-ubyte", idx(GREY[:29]) + b"x", "has not the 22736 bytes of (29, 28, 28) values"),
        ("train-images-idx3-ubyte", idx(GREY[:29]), "has 29 images, and"),
        ("train-images-idx3-ubyte", idx(GREY[:30]).replace(b"\x08\x03", b"\x0d\x03", 1), "is no IDX file"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "is no IDX file"),
        ("train-labels-idx1-ubyte", idx(np.full(30, 10)), "has the label 10, which mnist has not (10 classes)"),
        ("train-labels-idx1-ubyte", idx(np.arange(30)), "has the label 29, which"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path, name, data, message):
    path = write(tmp_path) / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        open_source("mnist", tmp_path, "train")
    assert message in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_fuzzed_files(tmp_path):
    """Only a source or a UserError, in a second and little memory, also of a bomb."""
    rng = random.Random(0)
    for name in [path.name for path in write(tmp_path, compressed=True).iterdir()]:
        data = (tmp_path / name).read_bytes()
        whole = gzip.decompress(data)
        huge = gzip.compress(whole[:4] + b"\x00\xff\xff\xff" * (whole[3]) + b"\0" * 10_000_000)
        tracemalloc.start()
        for round_ in range(40):
            changed = bytearray(data if round_ % 2 else whole)
            changed[rng.randrange(len(changed) if round_ % 3 else 20)] = rng.randrange(256)
            changed = changed[: rng.choice((None, None, 8, 30, -3))]
            (tmp_path / name).write_bytes(huge if round_ == 0 else changed if round_ % 2 else gzip.compress(changed))
            begin = time.process_time()
            try:
                open_source("mnist", tmp_path, "train" if name.startswith("train") else "val")
            except UserError as error:
                assert "\n" not in str(error)
            assert time.process_time() - begin < 1
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
        tracemalloc.stop()
        (tmp_path / name).write_bytes(data)


def test_a_bomb_that_says_how_large_it_is_takes_no_memory(tmp_path):
    name = "train-images-idx3-ubyte.gz"
    write(tmp_path, compressed=True)
    (tmp_path / name).write_bytes(gzip.compress(idx(np.zeros((3000, 200, 200)))))
    tracemalloc.start()
    with pytest.raises(UserError, match=f"{name}' is no IDX file of 3 dimensions and bytes"):
        open_source("mnist", tmp_path, "train")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_all_of_the_kind_are_known():
    for dataset in IDX_DATASETS:
        with pytest.raises(UserError, match=f"dataset '{dataset}' needs data_dir"):
            open_source(dataset, None, "train")
