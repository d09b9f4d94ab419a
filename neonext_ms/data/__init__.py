"""Images and labels: sources, transforms, mixing and loading. NumPy and Pillow only."""

from neonext_ms.data.decode import read_image
from neonext_ms.data.erasing import RandomErasing
from neonext_ms.data.loader import Batch, Loader
from neonext_ms.data.mixing import Mixing
from neonext_ms.data.preprocess import INTERPOLATIONS, Preprocess
from neonext_ms.data.rand_augment import RandAugment
from neonext_ms.data.sources import Source, known_datasets, open_source, register_source
from neonext_ms.data.transforms import TrainTransform

__all__ = [
    "INTERPOLATIONS",
    "Batch",
    "Loader",
    "Mixing",
    "Preprocess",
    "RandAugment",
    "RandomErasing",
    "Source",
    "TrainTransform",
    "known_datasets",
    "open_source",
    "read_image",
    "register_source",
]
