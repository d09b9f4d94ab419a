"""Every recipe loads, says what it is and fits its model."""

from pathlib import Path

import pytest

from neonext_ms.models.layers import check_input_size
from neonext_ms.models.registry import model_spec
from neonext_ms.training.config import TrainConfig

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Reproduces: ")
    assert "# Command:    bash scripts/" in text and "# Expected:   " in text
    config = TrainConfig.from_yaml(path)
    spec = model_spec(config.model, **config.model_overrides)
    check_input_size(config.image_size, config.image_size, len(spec.dims))


def test_the_papers_recipes():
    """Table 2: learning rate, global batch on 8 devices, drop path."""
    for size, lr, batch, drop_path in (("t", 4e-3, 4096, 0.1), ("s", 4e-3, 4096, 0.4), ("b", 2e-3, 2048, 0.5)):
        (path,) = (p for p in CONFIGS if p.stem == f"imagenet_neonext_{size}_224")
        config = TrainConfig.from_yaml(path)
        assert (config.lr, 8 * config.batch_size, config.drop_path_rate) == (lr, batch, drop_path)
        assert (config.epochs, config.warmup_epochs, config.weight_decay) == (300, 20, 0.05)
        assert (config.mixup, config.label_smoothing, config.beta1, config.beta2) == (0.8, 0.1, 0.9, 0.999)
