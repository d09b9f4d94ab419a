"""Data sets: where images and labels come from."""

from pathlib import Path

from neonext_ms.data.sources.base import ArraySource, Source
from neonext_ms.data.sources.cifar import open_cifar
from neonext_ms.data.sources.digits import open_digits
from neonext_ms.data.sources.folder import FolderSource, open_folder
from neonext_ms.data.sources.packed import open_packed
from neonext_ms.errors import UserError

__all__ = ["DATASETS", "SPLITS", "ArraySource", "FolderSource", "Source", "open_source"]

DATASETS = ("digits", "cifar10", "cifar100", "folder", "mindrecord")
SPLITS = ("train", "val")


def open_source(dataset: str, data_dir: str | Path | None, split: str) -> Source:
    """Open one split of a data set.

    Args:
        dataset: one of DATASETS.
        data_dir: where its files are; None for the built-in digits.
        split: "train" or "val" (the test files of CIFAR).
    Raises: UserError when it cannot be opened as asked.
    """
    if dataset not in DATASETS:
        raise UserError(f"unknown dataset '{dataset}'; known: {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'; known: {', '.join(SPLITS)}")
    if dataset == "digits":
        if data_dir is not None:
            raise UserError(f"dataset 'digits' is built in and takes no data_dir, but '{data_dir}' was given")
        return open_digits(split)
    if data_dir is None:
        raise UserError(f"dataset '{dataset}' needs data_dir, the folder with its files")
    data_dir = Path(data_dir).expanduser()
    if not data_dir.is_dir():
        raise UserError(f"data_dir '{data_dir}' is not a folder")
    if dataset == "folder":
        return open_folder(data_dir, split)
    if dataset == "mindrecord":
        return open_packed(data_dir, split)
    return open_cifar(dataset, data_dir, split)
