"""Every recipe loads, says what it is, and takes a step."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.data import open_source
from neonext_ms.models.layers import check_input_size
from neonext_ms.models.registry import model_spec
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.finetune import freeze_stages
from neonext_ms.training.inputs import train_transform
from neonext_ms.training.step import StepMetrics
from neonext_ms.training.trainer import train
from tests.support.paths import ROOT

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.stem.startswith("study_"))
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((4, 3, 32, 32)).astype(np.float32)
TARGETS = RNG.dirichlet(np.ones(5), 4).astype(np.float32)


@cache
def first_step(config: TrainConfig) -> StepMetrics:
    """The first update of a recipe whose network keeps two of its stages, one block each, and 8 to 16 channels."""
    ms.set_context(mode=ms.GRAPH_MODE)
    spec = model_spec(config.model, **config.model_overrides)
    ends = {key: (getattr(spec, key)[0], getattr(spec, key)[-1]) for key in ("kernels", "shifts")}
    network = create_model(config.model, 5, seed=0, depths=(1, 1), dims=(8, 16), init=config.neocell_init, **ends)
    freeze_stages(network, config.freeze_stages)
    train_step, _ = make_steps(config, network, Ranks(0, 1, "CPU"))
    return StepMetrics.read(train_step(IMAGES, TARGETS, np.ones((2, 4), np.float32), config.lr))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Reproduces: ")
    assert (
        f"# Command:    bash scripts/run_distribute_train.sh config=configs/{path.name}" in text
        or path.stem == "digits"
    )
    assert "# Expected:   " in text
    config = TrainConfig.from_yaml(path)
    spec = model_spec(config.model, **config.model_overrides)
    check_input_size(config.image_size, config.image_size, len(spec.dims))
    train_transform(config, open_source("digits", None, "val"))
    # What the graph of a step does not depend on is the same for all, so that alike recipes share it.
    depends_on = ("shifts", "neocell_init", "freeze_stages", "optimizer", "layer_decay", "clip_grad", "ema_decay")
    depends_on += ("amp_level", "amp_dtype", "loss_scale_type", "sync_bn")
    reduced = TrainConfig(
        model=config.model[: len("neonext_")] + "t" + "_v2" * config.model.endswith("_v2"),
        batch_size=2,
        global_batch=4,
        **{name: getattr(config, name) for name in depends_on},
    )
    metrics = first_step(reduced)
    assert metrics.finite and 1 < metrics.loss < 4 and metrics.gradient_norm > 0


PAPER = {("t", "224"): 4e-3, ("s", "224"): 4e-3, ("b", "224"): 2e-3, ("t", "384"): 4e-3, ("s", "384"): 4e-3}
PAPER["b", "384"] = 2e-3


def test_the_papers_recipes():
    """Table 2: learning rate, global batch on 8 and on 64 devices, drop path."""
    for (size, pixels), lr in PAPER.items():
        batch, drop_path = {"t": (4096, 0.1), "s": (4096, 0.4), "b": (2048, 0.5)}[size]
        (path,) = (p for p in CONFIGS if p.stem == f"imagenet_neonext_{size}_{pixels}")
        config = TrainConfig.from_yaml(path)
        for world in (8, 64):
            assert config.batch_size * world * config.micro_batches(world) == batch
        assert (config.peak_lr(8), config.drop_path_rate, config.image_size) == (lr, drop_path, int(pixels))
        assert (config.epochs, config.warmup_epochs, config.weight_decay) == (300, 20, 0.05)
        assert (config.mixup, config.cutmix, config.label_smoothing, config.re_prob) == (0.8, 1.0, 0.1, 0.25)
        assert (config.beta1, config.beta2, config.clip_grad, config.ema_decay) == (0.9, 0.999, 0.0, 0.0)


def test_the_released_recipes():
    """Released weights: lr 1e-3 at a batch of 512, EMA 0.9999; at 384 a shift in every stage."""
    paths = [path for path in CONFIGS if "_v2_" in path.stem]
    assert len(paths) == 7
    for path in paths:
        config = TrainConfig.from_yaml(path)
        assert (config.peak_lr(8), config.global_batch, config.ema_decay) == (1e-3, 512, 0.9999)
        assert config.micro_batches(8) and replace(config, batch_size=8).micro_batches(64) == 1
        assert config.model_overrides == ({"shifts": [1, 1, 1, 1]} if config.image_size == 384 else {})


def write_cifar10(folder: Path, train_images: int):
    """The digits as CIFAR-10's binary files."""
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(f"digit {i}" for i in range(10)))
    for split, names in (("train", [f"data_batch_{i}.bin" for i in range(1, 6)]), ("val", ["test_batch.bin"])):
        source = open_source("digits", None, split)
        for i, name in enumerate(names):
            chosen = range(i, train_images if split == "train" else 60, len(names))
            rows = [np.append(source.labels[j], source.image(j).transpose(2, 0, 1)).astype(np.uint8) for j in chosen]
            np.stack(rows).tofile(folder / name)


@pytest.mark.slow
def test_two_epochs_of_the_cifar10_recipe(tmp_path):
    """NeoNeXt-T as the recipe has it, with a block a stage; only the epochs and the number of images are fewer."""
    write_cifar10(tmp_path / "cifar-10-batches-bin", 130)
    (path,) = (p for p in CONFIGS if p.stem == "cifar10_neoinit")
    config = replace(TrainConfig.from_yaml(path), epochs=2, data_dir=str(tmp_path), num_workers=0)
    config = replace(config, structure={**(config.structure or {}), "depths": [1, 1, 1, 1]})
    summary = train(replace(config, eval_batch_size=60, log_interval=1, output_dir=str(tmp_path / "run")))
    assert summary["final"]["epoch"] == 2 and summary["final"]["images"] == 60
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "train"]
    assert len(losses) == 4 and all(0 < loss < 50 for loss in losses)
    assert TrainConfig.from_yaml(tmp_path / "run" / "config.yaml").model == "neonext_t"
