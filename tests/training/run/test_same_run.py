"""What may differ when a run goes on, and between its ranks; all else is noticed by its name."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.consistency import digest_of_config
from neonext_ms.training.inputs import describe_data, open_sources
from neonext_ms.training.run.resume import json_like, same_run
from tests.support.keys import ALL

# batch_size and global_batch may differ as far as the images of an update stay the same.
FREE = {"resume", "output_dir", "data_dir", "device", "backend", "num_workers", "eval_batch_size", "log_interval"}
FREE |= {"keep_checkpoint_max", "save_steps", "save_minutes", "preempt_signal", "max_bad_share", "max_bad_updates"}
FREE |= {"recompute", "profile_steps", "teacher", "tensorboard", "trackers", "batch_size", "global_batch", "jit_level"}
FREE |= {"parallel_optimizer"}
OTHER = {"shifts": (0, 0), "pretrained": "b.ckpt", "dataset": "cifar10", "save_steps": 7, "save_minutes": 7.0}
OTHER |= {
    "structure": {"depths": [1, 1]},
    "recompute": True,
    "parallel_optimizer": True,
    "profile_steps": "3-4",
    "threshold": 0.7,
    "teacher": "b.ckpt",
    "distill": "hard",
    "distill_alpha": 0.3,
    "distill_temperature": 2.0,
}
OTHER |= {"log_interval": 7, "max_bad_updates": 7, "data_dir": "b", "device": "CPU", "resume": "b", "jit_level": "O0"}
DATA = {
    "training": {"samples": 9, "classes": 2, "listing": "a"},
    "validation": {"samples": 5, "classes": 2, "listing": "b"},
}


def begun(config):
    """A checkpoint of a run of this configuration, as far as it is looked at."""
    training = {"config": json_like(asdict(config)), "data": DATA, "global_batch": 64}
    return SimpleNamespace(path=Path("run/checkpoints/a-1_1.ckpt"), manifest={"training": training})


@pytest.mark.parametrize("key", [field.name for field in fields(TrainConfig)])
def test_a_run_goes_on_with_the_same_value_of_every_key_but_the_free_ones(key):
    value = ALL[key][1] if key in ALL else OTHER[key]
    config, checkpoint = replace(TrainConfig(), **{key: value}), begun(TrainConfig())
    if key == "global_batch":
        with pytest.raises(UserError, match="takes 64 images an update, but global_batch=192 was given"):
            same_run(config, 1, checkpoint, DATA)
    elif key in FREE:
        same_run(config, 1, checkpoint, DATA)
    else:
        with pytest.raises(UserError, match=f"is of another run: {key} was .* and is .*") as error:
            same_run(config, 1, checkpoint, DATA)
        assert ("begins with these weights (pretrained=run/checkpoints" in str(error.value)) == (key == "epochs")


@pytest.mark.parametrize(
    "images, world, given, size",
    [(64, 1, 64, 64), (64, 2, 64, 32), (60, 2, 20, 15), (62, 2, 20, 1), (7, 7, 64, 1)],
)
def test_a_device_takes_the_largest_batch_that_fits_into_its_share(images, world, given, size):
    checkpoint = begun(TrainConfig())
    checkpoint.manifest["training"]["global_batch"] = images
    found = same_run(TrainConfig(batch_size=given), world, checkpoint, DATA)
    assert (found.batch_size, found.global_batch) == (size, images)


@pytest.mark.parametrize("split", DATA)
@pytest.mark.parametrize("what, other", [("samples", 8), ("classes", 3), ("listing", "c")])
def test_changed_data_are_noticed_in_both_splits(split, what, other):
    data = {**DATA, split: {**DATA[split], what: other}}
    with pytest.raises(UserError, match=f"the .*{split} data"):
        same_run(TrainConfig(), 1, begun(TrainConfig()), data)


@pytest.mark.parametrize("key", [field.name for field in fields(TrainConfig)])
def test_ranks_have_the_same_value_of_every_key_but_places_and_workers(key):
    value = ALL[key][1] if key in ALL else OTHER[key]
    same = digest_of_config(replace(TrainConfig(), **{key: value})) == digest_of_config(TrainConfig())
    assert same == (key in {"output_dir", "resume", "data_dir", "num_workers", "pretrained"})


def test_the_data_of_both_splits_are_described():
    train, val = open_sources(TrainConfig())
    data = describe_data(train, val)
    assert {split: data[split]["samples"] for split in data} == {"training": 1437, "validation": 360}
    assert data["training"]["listing"] == train.listing() != data["validation"]["listing"] == val.listing()
