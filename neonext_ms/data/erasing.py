"""Random erasing (https://arxiv.org/abs/1708.04896)."""

import math
from dataclasses import dataclass

import numpy as np

from neonext_ms.errors import UserError


@dataclass(frozen=True)
class RandomErasing:
    """Fills a random rectangle of a normalised image with noise, N(0, 1) for every value.

    Args:
        prob: probability that an image is changed.
        scale: least and greatest share of the image's area.
        ratio: least and greatest aspect ratio (height / width), whose logarithm is uniform.
    """

    prob: float = 0.0
    scale: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self):
        if not 0 <= self.prob <= 1:
            raise UserError(f"re_prob must be a probability, got {self.prob}")
        if not 0 < self.scale[0] <= self.scale[1] < 1:
            raise UserError(f"re_scale must be two rising numbers between 0 and 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"re_ratio must be two rising positive numbers, got {self.ratio}")

    def __call__(self, image: np.ndarray, rng: np.random.Generator):
        """image: (C, S, S) float32, changed in place."""
        if rng.random() >= self.prob:
            return
        height, width = image.shape[1:]
        for _ in range(10):  # attempts to fit the rectangle; a share of 1/3 at a ratio of 0.3 is wider than the image
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                image[:, top : top + h, left : left + w] = rng.standard_normal((len(image), h, w), np.float32)
                return
