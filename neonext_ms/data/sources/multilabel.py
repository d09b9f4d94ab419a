"""Images with any number of classes: data_dir/{train,val}/**/<image>, listed in data_dir/{train,val}.csv."""

import csv
import io
import logging
from pathlib import Path

import numpy as np

from neonext_ms.data.image_files import find_images
from neonext_ms.data.names import Names
from neonext_ms.data.sources.folder import FolderSource
from neonext_ms.errors import UserError
from neonext_ms.terminal import printable
from neonext_ms.texts import read_text

log = logging.getLogger(__name__)

LAYOUT = "expected is a line for each image: its path below that folder, then its classes, as in cats/1.jpg,cat,indoors"


def open_multilabel(data_dir: Path, split: str) -> FolderSource:
    """List data_dir/<split>.csv. Classes are the names in train.csv, sorted; an image may have none of them.

    Raises: UserError: a file is missing, an image is not there or comes twice, or val.csv has a class of its own.
    """
    file = data_dir / f"{split}.csv"
    rows = _rows(file)
    training = data_dir / "train.csv"
    class_names = sorted({name for *_, names in (_rows(training) if training.is_file() else rows) for name in names})
    if not class_names:
        raise UserError(f"'{training}' names no class; {LAYOUT}")
    number = {name: i for i, name in enumerate(class_names)}
    folder = data_dir / split
    there, seen = set(find_images(folder).images), set()
    labels = np.zeros((len(rows), len(class_names)), np.uint8)
    for i, (line, path, names) in enumerate(rows):
        where = f"'{file}', line {line}: "
        if str(folder / path) not in there:
            raise UserError(f"{where}there is no image '{printable(path)}' in '{folder}'; {LAYOUT}")
        if path in seen:
            raise UserError(f"{where}'{printable(path)}' was listed before: give all of its classes in one line")
        if unknown := [name for name in names if name not in number]:
            raise UserError(
                f"{where}the class '{printable(unknown[0])}' is not in '{training}', so that it cannot be learnt"
            )
        seen.add(path)
        labels[i, [number[name] for name in names]] = 1
    if len(seen) < len(there):
        log.warning("%d images in '%s' are left out: '%s' does not list them", len(there) - len(seen), folder, file)
    paths = Names((str(folder / path) for _, path, _ in rows), str(folder))
    return FolderSource(f"multilabel/{split}", class_names, labels, folder, paths)


def _rows(file: Path) -> list[tuple[int, str, list[str]]]:
    """Line, path and classes of each image."""
    # Not splitlines(): a name may have in it what Unicode takes for the end of a line.
    reader = csv.reader(io.StringIO(read_text(file), newline=""))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"'{file}', line {reader.line_num}: {error}; {LAYOUT}") from None
    rows = [(line, row[0], [name for name in row[1:] if name]) for line, row in rows if any(row)]
    if not rows:
        raise UserError(f"'{file}' lists no image; {LAYOUT}")
    return rows
