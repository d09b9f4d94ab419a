"""CIFAR's binary files, made here with few records."""

import numpy as np
import pytest

from neonext_ms.data import open_source
from neonext_ms.errors import UserError

RECORDS = 3
FORMATS = {
    "cifar10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", 10),
    "cifar100": ("cifar-100-binary", ["train.bin"], "test.bin", 100),
}
NAMES_FILE = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}


def write_cifar(parent, dataset):
    """Write random files; return folder and, by split, (images as stored (n, 3, 32, 32), labels)."""
    folder_name, train, val, classes = FORMATS[dataset]
    folder = parent / folder_name
    folder.mkdir()
    rng = np.random.RandomState(classes)
    truth = {"train": ([], []), "val": ([], [])}
    for name in [*train, val]:
        images = rng.randint(0, 256, (RECORDS, 3, 32, 32)).astype(np.uint8)
        labels = rng.randint(0, classes, RECORDS).astype(np.uint8)
        labels[0] = classes - 1
        coarse = [] if dataset == "cifar10" else [rng.randint(0, 20, RECORDS).astype(np.uint8)]
        columns = [*(column[:, None] for column in coarse), labels[:, None], images.reshape(RECORDS, -1)]
        np.concatenate(columns, 1).tofile(folder / name)
        split = truth["val" if name == val else "train"]
        split[0].append(images)
        split[1].append(labels)
    (folder / NAMES_FILE[dataset]).write_text("".join(f"class{i}\n" for i in range(classes)) + "\n")
    return folder, {key: tuple(map(np.concatenate, value)) for key, value in truth.items()}


@pytest.mark.parametrize("dataset", FORMATS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_contents(tmp_path, dataset, split):
    folder, truth = write_cifar(tmp_path, dataset)
    images, labels = truth[split]
    for data_dir in (folder, tmp_path):
        source = open_source(dataset, str(data_dir), split)
        assert source.class_names == [f"class{i}" for i in range(FORMATS[dataset][3])]
        assert source.labels.dtype == np.int32
        np.testing.assert_array_equal(source.labels, labels)
        assert len(source) == len(images)
        for index, planes in enumerate(images):
            np.testing.assert_array_equal(source.image(index), planes.transpose(1, 2, 0))


def fails(dataset, data_dir, split, *parts):
    with pytest.raises(UserError) as caught:
        open_source(dataset, data_dir, split)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_files_are_named(tmp_path):
    folder, _ = write_cifar(tmp_path, "cifar10")
    (folder / "data_batch_2.bin").unlink()
    (folder / "data_batch_5.bin").unlink()
    fails("cifar10", tmp_path, "train", "data_batch_2.bin, data_batch_5.bin not found", str(folder), "binary version")
    assert len(open_source("cifar10", tmp_path, "val")) == RECORDS


def test_wrong_data_set(tmp_path):
    write_cifar(tmp_path, "cifar10")
    fails("cifar100", tmp_path, "val", "fine_label_names.txt, test.bin not found")


@pytest.mark.parametrize("size", [0, 3072, 2 * 3073 - 1])
def test_truncated_file(tmp_path, size):
    folder, _ = write_cifar(tmp_path, "cifar10")
    with open(folder / "data_batch_3.bin", "r+b") as file:
        file.truncate(size)
    fails("cifar10", tmp_path, "train", "data_batch_3.bin", f"{size} bytes", "multiple of 3073")


def test_label_out_of_range(tmp_path):
    folder, _ = write_cifar(tmp_path, "cifar100")
    data = np.fromfile(folder / "test.bin", np.uint8)
    data[3074 + 1] = 100
    data.tofile(folder / "test.bin")
    fails("cifar100", tmp_path, "val", "test.bin", "label 100")


def test_class_names_of_wrong_number(tmp_path):
    folder, _ = write_cifar(tmp_path, "cifar10")
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    fails("cifar10", tmp_path, "val", "batches.meta.txt", "2 class names instead of 10")
