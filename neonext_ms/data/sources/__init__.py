"""Data sets: where images and labels come from."""

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from neonext_ms.data.sources.base import ArraySource, Source
from neonext_ms.data.sources.cifar import open_cifar
from neonext_ms.data.sources.digits import open_digits
from neonext_ms.data.sources.folder import FolderSource, open_folder
from neonext_ms.data.sources.idx import IDX_DATASETS, open_idx
from neonext_ms.data.sources.multilabel import open_multilabel
from neonext_ms.data.sources.packed import ROWS, open_packed
from neonext_ms.errors import UserError

__all__ = ["SPLITS", "ArraySource", "FolderSource", "Source", "known_datasets", "open_source", "register_source"]

SPLITS = ("train", "val")
VARIABLE = "NEONEXT_SOURCES"  # names modules, between commas, that register sources of the user's own

Open = Callable[[Path | None, str], Source]

_OPEN: dict[str, Open] = {
    "cifar10": partial(open_cifar, "cifar10"),
    "cifar100": partial(open_cifar, "cifar100"),
    "folder": open_folder,
    "multilabel": open_multilabel,
    **{kind: partial(open_packed, kind) for kind in ROWS},
    **{name: partial(open_idx, name) for name in IDX_DATASETS},
}
_OWN: dict[str, Open] = {}


def register_source(name: str) -> Callable[[Open], Open]:
    """Decorate a function that opens a data set of one's own, so that `dataset: name` means it everywhere.

        @register_source("slides")
        def open_slides(data_dir, split):
            table = np.load(data_dir / f"{split}.npz")
            return ArraySource(f"slides/{split}", ["benign", "malign"], table["labels"], table["images"], MEAN, STD)

    The function gets data_dir (a Path, or None) and "train" or "val", and returns a `Source`: its methods `image` and
    `sample_names` are all that a subclass must have. Commands find it in a module that the environment variable
    NEONEXT_SOURCES names.

    Raises: UserError: the name is taken.
    """

    def register(function: Open) -> Open:
        known = _OWN.get(name)
        if name in (*_OPEN, "digits") or known and known.__module__ != function.__module__:
            raise UserError(f"a dataset '{name}' is known already: give yours another name")
        _OWN[name] = function
        return function

    return register


def known_datasets() -> tuple[str, ...]:
    """Names that `open_source` takes; those of NEONEXT_SOURCES among them."""
    for module in filter(None, os.environ.get(VARIABLE, "").split(",")):
        try:
            importlib.import_module(module.strip())
        except ImportError as error:
            raise UserError(f"{VARIABLE} names the module '{module}', which cannot be imported: {error}") from error
    return ("digits", *_OPEN, *_OWN)


def open_source(dataset: str, data_dir: str | Path | None, split: str) -> Source:
    """Open one split of a data set.

    Args:
        dataset: one of `known_datasets`.
        data_dir: where its files are; None for the built-in digits.
        split: "train" or "val" (the test files of CIFAR and MNIST).
    Raises: UserError when it cannot be opened as asked.
    """
    if dataset != "digits" and dataset not in _OPEN and dataset not in (known := known_datasets()):
        raise UserError(f"unknown dataset '{dataset}'; known: {', '.join(known)}")
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'; known: {', '.join(SPLITS)}")
    if dataset == "digits":
        if data_dir is not None:
            raise UserError(f"dataset 'digits' is built in and takes no data_dir, but '{data_dir}' was given")
        return open_digits(split)
    data_dir = data_dir if data_dir is None else Path(data_dir).expanduser()
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"data_dir '{data_dir}' is not a folder")
    if dataset in _OWN:
        return _OWN[dataset](data_dir, split)
    if data_dir is None:
        raise UserError(f"dataset '{dataset}' needs data_dir, the folder with its files")
    return _OPEN[dataset](data_dir, split)
