"""A picture of what augmentation makes of training samples."""

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from neonext_ms.data import Preprocess
from neonext_ms.data.seeding import SAMPLE, generator
from neonext_ms.errors import UserError
from neonext_ms.files import write_atomically
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.terminal import printable
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources, train_loader, train_transform

LEAST_CELL, CAPTION = 96, 14  # pixels


def contact_sheet(config: TrainConfig, output: Path, samples: int, versions: int) -> dict:
    """Draw samples of the first training batch, a row each: as evaluation sees them, augmented, and mixed.

    Column "epoch e" is, to the pixel, what training with this configuration sees in that epoch before mixing, "mixed"
    what it sees in the first step. The target's two largest classes stand below.

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
    rows = min(samples, len(batch.images))
    cell = max(LEAST_CELL, config.image_size)
    sheet = Image.new("RGB", ((2 + versions) * cell, rows * (cell + CAPTION) + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(["evaluation", *(f"epoch {epoch}" for epoch in range(versions)), "mixed"]):
        draw.text((column * cell + 2, 1), title, fill="black")
    names = [printable(name, keep_bytes=False) for name in source.class_names]
    for row, index in enumerate(batch.indices[:rows].tolist()):
        cells = [transform.preprocess(source.image(index))]
        for epoch in range(versions):
            rng = generator(config.seed, SAMPLE, epoch, index)
            region = source.region(index, partial(transform.box, rng=rng), config.image_size)
            cells.append(transform.augment(*region, rng))
        cells.append(batch.images[row])
        top = CAPTION + row * (cell + CAPTION)
        for column, values in enumerate(cells):
            picture = _picture(values, transform.preprocess).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * cell, top))
        draw.text((2, top + cell), names[int(source.labels[index])], fill="black")
        draw.text(((1 + versions) * cell + 2, top + cell), _largest(batch.targets[row], names), fill="black")
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_atomically(output, data.getvalue())
    return {"output": str(output), "samples": batch.indices[:rows].tolist()}


def _picture(values: np.ndarray, preprocess: Preprocess) -> Image.Image:
    """(3, S, S) normalised -> RGB; noise beyond black and white is cut off."""
    pixels = 255 * (values.transpose(1, 2, 0) * np.array(preprocess.std) + np.array(preprocess.mean))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _largest(target: np.ndarray, class_names: list[str]) -> str:
    best = np.argsort(-target, kind="stable")[:2]
    return ", ".join(f"{class_names[k]} {target[k]:.2f}" for k in best)
