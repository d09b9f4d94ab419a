"""A picture of what augmentation makes of training samples."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from neonext_ms.analysis.pictures import to_image
from neonext_ms.data.seeding import SAMPLE, generator
from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.terminal import printable
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources, train_loader, train_transform

LEAST_CELL, LINE = 96, 14  # pixels


def contact_sheet(config: TrainConfig, output: Path, samples: int, versions: int) -> dict:
    """Draw samples of the first training batch, a row each: as evaluation sees them, augmented, and mixed.

    Column "epoch e" is, to the pixel, what training with this configuration sees in that epoch, of which 1 is the first
    as in the log, before mixing; "mixed" is what it sees in the first step, with the two largest classes of the target
    below, and is left out where nothing is mixed.

    Args:
        config: of the training run; its batch_size is taken as the global batch.
        output: PNG to write; must not exist.
        samples: rows.
        versions: epochs.
    Returns: output, and the indices of the samples.
    """
    if samples < 1 or versions < 1:
        raise UserError(f"a contact sheet needs at least one sample and one version, got {samples} and {versions}")
    if output.exists():
        raise UserError(f"'{output}' exists: give another name, or remove it")
    source, _ = open_sources(config)
    loader = train_loader(config, source, Ranks(0, 1, "CPU"))
    transform = train_transform(config, source)
    batches = loader.epoch(0)
    batch = next(batches)
    batches.close()
    is_mixed = bool(config.mixup or config.cutmix)
    rows = min(samples, len(batch.images))
    titles = ["evaluation", *(f"epoch {epoch}" for epoch in range(1, versions + 1)), *(["mixed"] * is_mixed)]
    sheet = _Sheet(titles, rows, max(LEAST_CELL, config.image_size), 1 + is_mixed)
    names = [printable(name, keep_bytes=False) for name in source.class_names]
    for row, index in enumerate(batch.indices[:rows].tolist()):
        label = [(printable(source.label_name(index), keep_bytes=False), "")]
        sheet.put(row, 0, to_image(transform.preprocess(source.image(index)), transform.preprocess), label)
        for epoch in range(versions):
            rng = generator(config.seed, SAMPLE, epoch, index)
            region = source.region(index, partial(transform.box, rng=rng), config.image_size)
            sheet.put(row, 1 + epoch, to_image(transform.augment(*region, rng), transform.preprocess))
        if is_mixed:
            largest = _largest(batch.targets[row], names)
            sheet.put(row, 1 + versions, to_image(batch.images[row], transform.preprocess), largest)
    write_atomically(output, sheet.to_png())
    return {"output": str(output), "samples": batch.indices[:rows].tolist()}


class _Sheet:
    """Pictures in rows and columns, with titles above and captions below them.

    Args:
        titles: of the columns.
        rows: how many.
        cell: side of a picture in pixels.
        lines: of a caption.
    """

    def __init__(self, titles: list[str], rows: int, cell: int, lines: int):
        self._cell, self._row = cell, cell + lines * LINE
        self._image = Image.new("RGB", (len(titles) * cell, LINE + rows * self._row), "white")
        self._draw = ImageDraw.Draw(self._image)
        for column, title in enumerate(titles):
            self._draw.text((column * cell + 2, 1), title, fill="black")

    def put(self, row: int, column: int, picture: Image.Image, caption=()):
        """Place a picture, and a caption of lines (name, figure), whose names are cut to what fits."""
        left, top = column * self._cell, LINE + row * self._row
        self._image.paste(picture.resize((self._cell, self._cell), Image.Resampling.NEAREST), (left, top))
        for i, (name, figure) in enumerate(caption):
            self._draw.text((left + 2, top + self._cell + i * LINE), self._fitting(name, figure), fill="black")

    def _fitting(self, name: str, figure: str) -> str:
        for length in range(len(name), 0, -1):
            text = name[:length] + "..." * (length < len(name)) + figure
            if self._draw.textlength(text) <= self._cell - 4:
                break
        return text

    def to_png(self) -> bytes:
        data = io.BytesIO()
        self._image.save(data, "PNG")
        return data.getvalue()


def _largest(target: np.ndarray, class_names: list[str]) -> list[tuple[str, str]]:
    best = np.argsort(-target, kind="stable")[:2]
    return [(class_names[k], f" {target[k]:.2f}") for k in best if target[k] > 0]
