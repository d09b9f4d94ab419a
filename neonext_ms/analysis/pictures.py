"""Pictures of figures and of what a network is given."""

import io

import numpy as np
from PIL import Image

from neonext_ms.data import Preprocess
from neonext_ms.data.channels import to_show


def to_png(figure, dpi: int) -> bytes:
    """A matplotlib figure as a PNG.

    Its texts are this package's own: matplotlib takes $ signs for formulas, so names of others stand in HTML instead.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()


def to_image(values: np.ndarray, preprocess: Preprocess) -> Image.Image:
    """(C, S, S) normalised -> RGB; noise beyond black and white is cut off."""
    pixels = 255 * (values.transpose(1, 2, 0) * np.array(preprocess.std) + np.array(preprocess.mean))
    return to_show(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
