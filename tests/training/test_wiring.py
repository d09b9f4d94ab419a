"""Every key of the configuration reaches its part.

A key that is missing in the table fails the first test.
"""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from neonext_ms import create_model
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.run.resume import same_run
from tests.support.keys import ALL, Built
from tests.support.tiny import TINY, TinyConfig, assembled

# Shown by runs, in the tests named; the run's device by join_ranks, below.
BY_RUNS = {
    "shifts": "test_shifts_replace_the_models_own",
    "structure": "test_a_structure_replaces_the_models_own",
    "pretrained": "test_pretrained_weights_and_data_of_a_folder",
    "dataset": "test_pretrained_weights_and_data_of_a_folder",
    "threshold": "test_multilabel.py",
    "recompute": "test_recompute.py",
    "parallel_optimizer": "test_sharing.py",
    "profile_steps": "run/test_profile.py",
    "teacher": "test_distillation.py",
    "distill": "test_distillation.py",
    "distill_alpha": "test_distillation.py",
    "distill_temperature": "test_distillation.py",
    "data_dir": "test_pretrained_weights_and_data_of_a_folder",
    "device": "test_a_device_that_is_not_there",
    "jit_level": "test_main_job.py",
    "save_steps": "test_last_checkpoint.py",
    "save_minutes": "test_bookkeeping.py",
    "log_interval": "test_bookkeeping.py",
    "max_bad_updates": "test_numbers.py",
    "resume": "test_resume.py",
}


def test_no_key_is_missing_here():
    assert {field.name for field in fields(TrainConfig)} == set(ALL) | set(BY_RUNS)
    assert not set(ALL) & set(BY_RUNS)


by_default = cache(Built)  # the same one for most keys


@pytest.mark.parametrize("key", ALL)
def test_a_key_reaches_its_part(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    companions, value, probe, expected = ALL[key]
    assert probe(Built(**companions, **{key: value})) == expected
    assert probe(by_default(**companions)) != expected, "or the value is the default"


def test_shifts_replace_the_models_own():
    config = TrainConfig(shifts=(0, 1, 0, 1))
    assert config.model_overrides == {"shifts": [0, 1, 0, 1]} and TrainConfig().model_overrides == {}
    assert assembled(config).network.spec.shifts == (0, 1, 0, 1)


def test_a_structure_replaces_the_models_own():
    structure = {"depths": [1, 1], "dims": [8, 16], "kernels": ["4", "7"], "mixer": "neocell", "gate": True}
    config = TrainConfig(structure=structure, shifts=(1, 0), neocell_init="identity")
    assert config.model_overrides == {**structure, "shifts": [1, 0]} and "shifts" not in structure
    job = assembled(config)
    assert job.card.model.overrides == config.model_overrides and job.card.spec() == job.network.spec
    assert job.network.spec.dims == (8, 16) and job.network.spec.gate and not job.network.spec.grn
    np.testing.assert_array_equal(job.network.stages[0][0].neocell.left[0].asnumpy(), [np.eye(4)] * 16)


@pytest.mark.parametrize(
    "structure, words",
    [
        ({"rnak": 2}, "structure: 'rnak' is not known; it has depths, dims"),
        ({"rank": "two"}, "structure: rank must be a whole number, got 'two'"),
        ({"mixer": "depthwise"}, "mixer=depthwise has no shifts"),
    ],
)
def test_a_structure_that_is_none_is_refused_in_one_line(structure, words):
    with pytest.raises(UserError, match=words):
        assembled(TrainConfig(structure=structure))


def test_fresh_weights_are_those_of_the_seed():
    made, expected = Built(seed=3).job.network, create_model("neonext_pico", 10, seed=3, **TINY)
    for own, other in zip(made.get_parameters(), expected.get_parameters(), strict=True):
        np.testing.assert_array_equal(own.asnumpy(), other.asnumpy())


def test_drop_path_follows_the_seed_and_spares_frozen_stages():
    def masks(**options):
        return Built(drop_path_rate=0.5, **options).job.masks(np.arange(64), step=3)

    assert np.array_equal(masks(), masks()) and not np.array_equal(masks(), masks(seed=1))
    assert set(masks()[0]) == {1.0} and set(masks()[1]) == {0.0, 2.0}, "two blocks, with rates of 0 and 0.5"
    assert set(masks(freeze_stages=2).ravel()) == {1.0}
    pico = assembled(TrainConfig(drop_path_rate=0.5, freeze_stages=3)).masks(np.arange(64), step=3)
    assert [set(row) == {1.0} for row in pico] == [True] * 4 + [False], "its stages have 1, 1, 2 and 1 blocks"


def test_an_update_is_given_the_masks_of_its_step_and_places():
    job = Built(drop_path_rate=0.5).job
    images, targets, masks, rate = job.inputs("images", "targets", np.array([9, 4]), 3)
    assert (images, targets, rate) == ("images", "targets", job.rate(3))
    assert np.array_equal(masks, job.masks(np.arange(10), step=3)[:, [9, 4]])


def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="device Ascend was asked for"):
        assembled(TrainConfig(), join_ranks("Ascend"))


def test_pretrained_weights_and_data_of_a_folder(tmp_path):
    for split, name in ((s, n) for s in ("train", "val") for n in ("a", "b")):
        (tmp_path / split / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32), (i, i, i)).save(tmp_path / split / name / f"{i}.png")
    network = create_model("neonext_pico", 2, seed=5, **TINY)
    card = {"model": {"name": "neonext_pico", "num_classes": 2, "overrides": TINY}, "class_names": ["a", "b"]}
    card |= {"preprocess": Preprocess(32, (0.5,) * 3, (0.5,) * 3).to_dict(), "dataset": None}
    save_weights(tmp_path / "p.ckpt", network, {**card, "epoch": 1, "step": 1, "metrics": {}})
    config = TinyConfig(dataset="folder", data_dir=str(tmp_path), pretrained=str(tmp_path / "p.ckpt"), batch_size=2)
    job = assembled(config)
    assert (len(job.loader.source), job.card.class_names, job.card.dataset.data_dir) == (4, ("a", "b"), str(tmp_path))
    ours, theirs = ({p.name: p.asnumpy() for p in n.get_parameters()} for n in (job.network, network))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    # The same file by another path is the same file; another file is another run.
    copy = tmp_path / "moved.ckpt"
    for ending in ("", ".json"):
        Path(f"{copy}{ending}").write_bytes(Path(f"{config.pretrained}{ending}").read_bytes())
    manifest = {"training": job.identity}
    checkpoint = SimpleNamespace(path=tmp_path / "c.ckpt", manifest=manifest)
    same_run(replace(config, pretrained=str(copy)), 1, checkpoint, job.data)
    save_weights(copy, create_model("neonext_pico", 2, seed=6, **TINY), {**card, "epoch": 1, "step": 1, "metrics": {}})
    with pytest.raises(UserError, match="pretrained was .*p.ckpt and is .*moved.ckpt"):
        same_run(replace(config, pretrained=str(copy)), 1, checkpoint, job.data)


@pytest.mark.parametrize("side, batch_size, fits", [(32, 1, False), (32, 2, True), (64, 1, True)])
def test_batch_norm_needs_two_values(side, batch_size, fits):
    """The smallest model has planes of 1 x 1 in its last stage for images of 32 pixels."""
    config = TrainConfig(image_size=side, batch_size=batch_size)
    if fits:
        assembled(config)
    else:
        with pytest.raises(UserError, match="batch_size=1 with images of 32 pixels leaves BatchNorm one value"):
            assembled(config)
