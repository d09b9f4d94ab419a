"""CIFAR-10 and CIFAR-100 in their binary format (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neonext_ms.data.sources.base import ArraySource, Statistics
from neonext_ms.errors import UserError
from neonext_ms.texts import read_text

IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    folder: str
    files: dict[str, list[str]]
    names_file: str
    label_bytes: int  # a record is this many label bytes, of which the last is the class, then 3 planes of 32 x 32
    classes: int
    mean: Statistics
    std: Statistics


_LAYOUTS = {
    "cifar10": _Layout(
        folder="cifar-10-batches-bin",
        files={"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "val": ["test_batch.bin"]},
        names_file="batches.meta.txt",
        label_bytes=1,
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": _Layout(
        folder="cifar-100-binary",
        files={"train": ["train.bin"], "val": ["test.bin"]},
        names_file="fine_label_names.txt",
        label_bytes=2,
        classes=100,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
}


def open_cifar(dataset: str, data_dir: Path, split: str) -> ArraySource:
    """dataset: "cifar10" or "cifar100"; data_dir: the folder with the .bin files, or its parent."""
    layout = _LAYOUTS[dataset]
    folder = data_dir / layout.folder if (data_dir / layout.folder).is_dir() else data_dir
    needed = [layout.names_file, *layout.files[split]]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{dataset}: {', '.join(missing)} not found in '{folder}'; data_dir must be the unpacked "
            f"'binary version' of the data set ({layout.folder}) or the folder that holds it"
        )
    class_names = [line for line in read_text(folder / layout.names_file).splitlines() if line]
    if len(class_names) != layout.classes:
        raise UserError(
            f"'{folder / layout.names_file}' has {len(class_names)} class names instead of {layout.classes}"
        )
    records = np.concatenate([_read_records(folder / name, layout) for name in layout.files[split]])
    labels = records[:, layout.label_bytes - 1]
    images = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ArraySource(f"{dataset}/{split}", class_names, labels, images, layout.mean, layout.std)


def _read_records(path: Path, layout: _Layout) -> np.ndarray:
    """(n, label_bytes + 3072) uint8. Any number of whole records is accepted, so that small sets can be made."""
    record = layout.label_bytes + IMAGE_BYTES
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % record:
        raise UserError(f"'{path}' has {data.size} bytes, not a multiple of {record}: it is damaged; copy it again")
    data = data.reshape(-1, record)
    largest = data[:, layout.label_bytes - 1].max()
    if largest >= layout.classes:
        raise UserError(f"'{path}' has the label {largest}, but {layout.classes} classes: it is damaged; copy it again")
    return data
