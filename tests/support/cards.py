"""What a checkpoint says about a model, for tests that do not look at it."""

from neonext_ms.data import Preprocess

CARD = {
    "model": {"name": "neonext_pico", "num_classes": 2, "overrides": {}},
    "preprocess": Preprocess(32, (0.5,) * 3, (0.25,) * 3).to_dict(),
    "class_names": ["cat", "dog"],
    "dataset": None,
}
