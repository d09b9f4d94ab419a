"""Every key of the configuration reaches its part, and a run differs in the way it should.

One table over all keys: a value that is not the default, where it is to arrive, and what is to stand there, written by
hand. A key that is missing here fails the first test.
"""

import signal
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from neonext_ms import create_model
from neonext_ms.checkpoint.store import save_weights
from neonext_ms.data import Preprocess
from neonext_ms.data.sources import ArraySource
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks, join_ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.consistency import digest_of_config
from neonext_ms.training.inputs import describe_data, open_sources, train_loader
from neonext_ms.training.run.folder import RunFolder, open_folder
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.resume import json_like, same_run
from neonext_ms.training.run.signals import StopRequest
from neonext_ms.training.state import RunState
from tests.support.tiny import TINY, TinyConfig, assembled

ONE = Ranks(0, 1, "CPU")


class Built:
    """What a configuration makes, each part when it is asked for."""

    def __init__(self, **options):
        self.config = TinyConfig(**options)

    job = cached_property(lambda self: assembled(self.config))
    plan = property(lambda self: self.job.loader._plan)
    val_plan = property(lambda self: self.job.val_loader._plan)
    transform = property(lambda self: self.plan.transform)
    mixing = property(lambda self: self.plan.mixing)
    update = property(lambda self: self.job.train_step.update)
    optimizer = property(lambda self: self.update.optimizer)
    state = property(lambda self: RunState(self.config, self.job.loader, 0.0))
    neocell = property(lambda self: self.job.network.stages[0][0].neocell)
    left = property(lambda self: self.neocell.left[0].asnumpy())

    @property
    def run_folder(self) -> RunFolder:
        state = SimpleNamespace(step=0, evaluated=0)
        found = open_folder(self.config, None, None, state)
        found.close()
        return found

    def ascend_steps(self):
        """Network and train step for an NPU; they are made, not run."""
        network = create_model("neonext_pico", 10, seed=0, **TINY)
        return network, make_steps(self.config, network, Ranks(0, 1, "Ascend"))[0]

    def norms(self):
        """Kind of BatchNorm that an NPU would run, and the share of the new in its statistics."""
        network, _ = self.ascend_steps()
        cells = [cell for _, cell in network.cells_and_names() if hasattr(cell, "moving_mean")]
        names = {p.name for p in create_model("neonext_pico", 10, **TINY).get_parameters()}
        assert {p.name for p in network.get_parameters()} == names, "by which checkpoints know them"
        return {(type(cell).__name__, round(float(cell.momentum), 6)) for cell in cells}


def left_block(init: str) -> np.ndarray:
    """The first of a network that begins so."""
    return create_model("neonext_pico", 10, seed=0, init=init, **TINY).stages[0][0].neocell.left[0].asnumpy()


def dtypes(train_step, eval_step):
    return train_step._cells[0].gradient.dtype, eval_step._cell.dtype


# key: (value, where it arrives, what stands there).
TABLE = {
    "model": (
        "neonext_t_v2",
        lambda b: (b.job.card.model.name, b.job.network.spec.linear_bias),
        ("neonext_t_v2", True),
    ),
    "neocell_init": ("normal", lambda b: np.array_equal(b.left, left_block("normal")), True),
    "backend": ("patchwise", lambda b: b.neocell.backend, "patchwise"),
    "freeze_stages": (
        1,
        lambda b: {p.name.split(".")[0] for p in b.optimizer.parameters},
        {"downsamples", "stages", "head"},
    ),
    "image_size": (64, lambda b: (b.transform.image_size, b.val_plan.transform.image_size), (64, 64)),
    "mean": (
        (0.1, 0.2, 0.3),
        lambda b: (b.transform.preprocess.mean, b.val_plan.transform.mean),
        ((0.1, 0.2, 0.3),) * 2,
    ),
    "std": ((0.1, 0.2, 0.3), lambda b: (b.transform.preprocess.std, b.val_plan.transform.std), ((0.1, 0.2, 0.3),) * 2),
    "crop_pct": (0.5, lambda b: (b.transform.preprocess.crop_pct, b.val_plan.transform.crop_pct), (0.5, 0.5)),
    "interpolation": (
        "lanczos",
        lambda b: (b.transform.preprocess.interpolation, b.val_plan.transform.interpolation),
        ("lanczos", "lanczos"),
    ),
    "random_crop": ("resized", lambda b: b.transform.random_crop, "resized"),
    "crop_padding": (3, lambda b: b.transform.crop_padding, 3),
    "scale": ((0.2, 0.9), lambda b: b.transform.scale, (0.2, 0.9)),
    "ratio": ((0.5, 0.7), lambda b: b.transform.ratio, (0.5, 0.7)),
    "hflip": (0.7, lambda b: b.transform.hflip, 0.7),
    "color_jitter": (0.6, lambda b: b.transform.color_jitter, 0.6),
    "auto_augment": ("rand-m5-n1", lambda b: b.transform.auto_augment, "rand-m5-n1"),
    "re_prob": (0.8, lambda b: b.transform.erasing.prob, 0.8),
    "re_scale": ((0.1, 0.2), lambda b: b.transform.erasing.scale, (0.1, 0.2)),
    "re_ratio": ((0.9, 1.1), lambda b: b.transform.erasing.ratio, (0.9, 1.1)),
    "mixup": (0.3, lambda b: (b.mixing.mixup, b.mixing.cutmix), (0.3, 0.0)),
    "cutmix": (0.3, lambda b: (b.mixing.mixup, b.mixing.cutmix), (0.0, 0.3)),
    "mixup_switch_prob": (0.9, lambda b: b.mixing.switch_prob, 0.9),
    "label_smoothing": (0.3, lambda b: b.mixing.label_smoothing, 0.3),
    "aug_repeats": (2, lambda b: b.plan.aug_repeats, 2),
    "batch_size": (32, lambda b: (b.plan.batch_size, b.job.train_step.micro_batches, b.job.global_batch), (32, 1, 32)),
    "global_batch": (
        192,
        lambda b: (b.plan.batch_size, b.job.train_step.micro_batches, b.job.global_batch),
        (192, 3, 192),
    ),
    "eval_batch_size": (33, lambda b: (b.val_plan.batch_size, b.plan.batch_size), (33, 64)),
    "num_workers": (3, lambda b: (b.job.loader.num_workers, b.job.val_loader.num_workers), (3, 3)),
    "max_bad_share": (0.25, lambda b: (b.job.loader.max_bad_share, b.job.val_loader.max_bad_share), (0.25, 0.25)),
    "epochs": (7, lambda b: (b.state.total_steps, b.state.evaluations_left), (7 * 22, 7)),
    "optimizer": ("sgd", lambda b: type(b.optimizer).__name__, "SGD"),
    "lr": (0.02, lambda b: b.job.rate(21), 0.02),  # 22 steps of warm-up
    "lr_base_batch": (256, lambda b: b.job.rate(21), 0.00025),
    "warmup_epochs": (0.1, lambda b: b.job.rate(0), 0.0005),  # two steps
    "min_lr": (0.0005, lambda b: b.job.rate(439), pytest.approx(0.0005, rel=1e-3)),
    "layer_decay": (0.5, lambda b: sorted(set(b.optimizer.lr_scales)), [0.125, 0.25, 0.5, 1.0]),
    "weight_decay": (0.3, lambda b: b.optimizer.weight_decay, 0.3),
    "clip_grad": (2.5, lambda b: b.update.clip.max_norm, 2.5),
    "beta1": (0.5, lambda b: (b.optimizer.beta1, b.optimizer.beta2), (0.5, 0.999)),
    "beta2": (0.5, lambda b: (b.optimizer.beta1, b.optimizer.beta2), (0.9, 0.5)),
    "ema_decay": (0.75, lambda b: b.update.ema and b.update.ema.decay, 0.75),
    "matmul_precision": (
        "bfloat16",
        lambda b: b.job.network.stages[0][0].mlp.fused.keeping.forward.func.rsplit(":", 1)[1],
        "mlp_forward_training_bfloat16",
    ),
    "amp_level": ("O3", lambda b: dtypes(b.job.train_step, b.job.eval_step), (ms.float16, ms.float16)),
    "drop_path_rate": (0.4, lambda b: b.job.masks and b.job.masks.args[0], (0.0, 0.4)),
    "seed": (3, lambda b: b.plan.seed, 3),
    "val_interval": (3, lambda b: b.state.evaluations_left, 7),  # after epochs 3, 6, ..., 18 and 20
    "keep_checkpoint_max": (9, lambda b: b.run_folder.keep, 9),
    "spike_factor": (7.0, lambda b: b.state.updates._watch.spike_factor, 7.0),
    "skip_spikes": (True, lambda b: b.state.updates._watch.skip_spikes, True),
    "tensorboard": (
        True,
        lambda b: Reporter(b.config, b.run_folder, 1, Progress(1, 1, 1)).tensorboard is not None,
        True,
    ),
    "preempt_signal": ("SIGUSR2", lambda b: signal.SIGUSR2 in StopRequest(b.config.preempt_signal)._numbers, True),
    "output_dir": ("here", lambda b: b.run_folder.path.name, "here"),
}
# Beside others, without which they do nothing.
BESIDE = {
    "momentum": ({"optimizer": "sgd"}, 0.5, lambda b: b.optimizer.momentum, 0.5),
    "loss_scale": ({"amp_level": "O2"}, 8.0, lambda b: float(b.update.clip.loss_scale.scale.asnumpy()), 8.0),
    "loss_scale_window": ({"amp_level": "O2"}, 5, lambda b: b.update.clip.loss_scale.window, 5),
    "loss_scale_type": ({"amp_level": "O2"}, "fixed", lambda b: b.update.clip.loss_scale.window, 0),
    "amp_dtype": ({"amp_level": "O2"}, "bfloat16", lambda b: b.ascend_steps()[1]._cells[0].gradient.dtype, ms.bfloat16),
    "sync_bn": ({}, True, lambda b: b.norms(), {("SyncBatchNorm", 0.1)}),
}
# Shown by runs, in the tests named; the run's device by join_ranks, below.
BY_RUNS = {
    "shifts": "test_shifts_replace_the_models_own",
    "pretrained": "test_pretrained_weights_and_data_of_a_folder",
    "dataset": "test_pretrained_weights_and_data_of_a_folder",
    "data_dir": "test_pretrained_weights_and_data_of_a_folder",
    "device": "test_a_device_that_is_not_there",
    "jit_level": "test_main_job.py",
    "save_steps": "test_bookkeeping.py",
    "save_minutes": "test_bookkeeping.py",
    "log_interval": "test_bookkeeping.py",
    "max_bad_updates": "test_numbers.py",
    "resume": "test_resume.py",
}
ALL = {key: ({}, *row) for key, row in TABLE.items()} | BESIDE


def test_no_key_is_missing_here():
    assert {field.name for field in fields(TrainConfig)} == set(ALL) | set(BY_RUNS)
    assert not set(ALL) & set(BY_RUNS)


@pytest.mark.parametrize("key", ALL)
def test_a_key_reaches_its_part(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    companions, value, probe, expected = ALL[key]
    assert probe(Built(**companions, **{key: value})) == expected
    assert probe(Built(**companions)) != expected, "or the value is the default"


# Images whose red is 8 times the row, green 8 times the column, and blue the number of the image, in two classes.
SIDE = 32
PLACES = np.zeros((48, SIDE, SIDE, 3), np.uint8)
PLACES[..., 0], PLACES[..., 1] = np.mgrid[:SIDE, :SIDE] * 8
PLACES[..., 2] = np.arange(48)[:, None, None]
SOURCE = ArraySource("places", ["even", "odd"], np.arange(48) % 2, PLACES, (0.5,) * 3, (0.5,) * 3)


def first(**options):
    """(float (8, 3, S, S) values of 0..255, targets, indices) of the first batch; nothing random but its order."""
    config = TinyConfig(**{"label_smoothing": 0.0, "batch_size": 8, "num_workers": 0, **options})
    batch = next(train_loader(config, SOURCE, ONE).epoch(0))
    return SimpleNamespace(
        values=(batch.images * 0.5 + 0.5) * 255, images=batch.images, targets=batch.targets, indices=batch.indices
    )


def spans(batch):
    """Of each image, from which row to which and from which column to which it shows."""
    red, green = batch.values[:, 0] / 8, batch.values[:, 1] / 8
    return np.stack([red.min((1, 2)), red.max((1, 2)), green.min((1, 2)), green.max((1, 2))], 1)


def pairs(batch):
    """Of each pair of neighbours the sum, which mixing keeps."""
    return batch.images[0::2] + batch.images[1::2]


def is_of_its_pair(mixed, plain):
    """Whether every pixel is one of the two pixels of the pair, which cutmix keeps and mixup does not."""
    one, other = plain.images[0::2].repeat(2, 0), plain.images[1::2].repeat(2, 0)
    return bool((np.isclose(mixed.images, one) | np.isclose(mixed.images, other)).all())


def differ(a, b):
    return not np.array_equal(a.images, b.images)


def sizes_of_change(a, b):
    """Height and width of the rectangle in which two images differ, for each of a batch."""
    found = np.abs(a.images - b.images).max(1) > 0
    return {(int(rows.sum()), int(columns.sum())) for rows, columns in zip(found.any(2), found.any(1))}


# What a key does to a batch: (options with it, whether two batches without and with it differ as they should).
WAYS = {
    "nothing": (
        {},
        lambda a, b: np.allclose(spans(b), [0, 31, 0, 31]) and np.allclose(b.values[:, 2, 0, 0], b.indices),
    ),
    "hflip": ({"hflip": 1.0}, lambda a, b: np.array_equal(b.images, a.images[..., ::-1])),
    "mean": ({"mean": (0.5, 0.25, 0.5)}, lambda a, b: np.allclose((b.images - a.images).mean((0, 2, 3)), [0, 0.5, 0])),
    "std": ({"std": (0.5, 0.25, 0.5)}, lambda a, b: np.allclose(b.images[:, 1], 2 * a.images[:, 1], atol=1e-6)),
    "image_size": ({"image_size": 64}, lambda a, b: b.images.shape == (8, 3, 64, 64)),
    "crop_pct": ({"crop_pct": 0.5}, lambda a, b: np.allclose(spans(b), [8, 23, 8, 23], atol=0.6)),
    "interpolation": ({"image_size": 48, "interpolation": "lanczos"}, lambda a, b: differ(first(image_size=48), b)),
    "random_crop, crop_padding": (
        {"random_crop": "pad", "crop_padding": 2},
        lambda a, b: (
            {28, 29, 30, 31} >= set(spans(b)[:, 1].round()) > {31}
            and np.abs(b.values[:, :2, 16, 16] / 8 - 16).max() == 2
        ),
    ),
    "scale": (
        {"random_crop": "resized", "scale": (0.25, 0.25), "ratio": (1.0, 1.0)},
        lambda a, b: np.allclose(np.diff(spans(b))[:, ::2], 15, atol=1.2) and len(set(spans(b)[:, 0].round())) > 1,
    ),
    "ratio": (  # width by height
        {"random_crop": "resized", "scale": (0.5, 0.5), "ratio": (0.5, 0.5)},
        lambda a, b: np.allclose(np.diff(spans(b))[:, ::2], [31, 15], atol=1.2),
    ),
    "color_jitter": ({"color_jitter": 0.5}, differ),
    "auto_augment": ({"auto_augment": "rand-m9-n2"}, differ),
    "re_prob, re_scale": (
        {"re_prob": 1.0, "re_scale": (0.25, 0.25), "re_ratio": (1.0, 1.0)},
        lambda a, b: sizes_of_change(a, b) == {(16, 16)},
    ),
    "re_ratio": (  # height by width
        {"re_prob": 1.0, "re_scale": (0.125, 0.125), "re_ratio": (2.0, 2.0)},
        lambda a, b: sizes_of_change(a, b) == {(16, 8)},
    ),
    "mixup": ({"mixup": 1.0}, lambda a, b: np.allclose(pairs(a), pairs(b), atol=1e-5) and not is_of_its_pair(b, a)),
    "cutmix": ({"cutmix": 1.0}, lambda a, b: differ(a, b) and is_of_its_pair(b, a)),
    "mixup_switch_prob": (
        {"mixup": 1.0, "cutmix": 1.0, "mixup_switch_prob": 1.0},
        lambda a, b: differ(a, b) and is_of_its_pair(b, a),
    ),
    "label_smoothing": ({"label_smoothing": 0.2}, lambda a, b: np.allclose(b.targets, 0.8 * a.targets + 0.1)),
    "aug_repeats": ({"aug_repeats": 2}, lambda a, b: list(b.indices) == [*a.indices[:4], *a.indices[:4]]),
    "batch_size": ({"batch_size": 16}, lambda a, b: len(b.images) == 16 and list(b.indices[:8]) == list(a.indices)),
    "global_batch": ({"global_batch": 24}, lambda a, b: len(b.images) == 24 and list(b.indices[:8]) == list(a.indices)),
    "num_workers": ({"num_workers": 1}, lambda a, b: not differ(a, b)),
    "seed": ({"seed": 1}, lambda a, b: list(a.indices) != list(b.indices)),
}


@pytest.mark.parametrize("what", WAYS)
def test_a_batch_differs_in_the_way_it_should(what):
    options, as_it_should = WAYS[what]
    assert as_it_should(first(), first(**options))


# The gradients of two updates, the same number for every weight; NaN comes in between and must change nothing.
GRADIENTS = (0.5, -0.25)
RECIPE = {"lr": 0.1, "layer_decay": 0.5, "weight_decay": 0.2, "ema_decay": 0.15, "warmup_epochs": 0, "batch_size": 8}
WATCHED = {"head.fc.weight": (1.0, 0.2), "head.fc.bias": (1.0, 0.0), "stem.proj.weight": (0.125, 0.2)}  # scale, decay


def updated(**options):
    """Values of the watched weights, and of their averages, before and after each of two updates: {name: 3 arrays}."""
    job = assembled(TinyConfig(**RECIPE, **options))
    update, found = job.train_step.update, {name: [] for kind in ("", "ema.") for name in (kind + n for n in WATCHED)}

    def note():
        arrays = {p.name: p.asnumpy() for p in job.network.get_parameters()} | job.train_step.state()
        for name, values in found.items():
            values.append(arrays[name].astype(np.float64))

    note()
    for gradient in (GRADIENTS[0], np.nan, GRADIENTS[1]):
        vectors = tuple(Tensor(np.full(vector.shape, gradient, np.float32)) for vector in update.optimizer.weights)
        one, lr, limit = (Tensor(np.float32(value)) for value in (1.0, job.rate(0), np.inf))
        update(one, one, vectors, lr, limit, Tensor(np.zeros(2, np.float32)))
        if np.isfinite(gradient):
            note()
    return found


def check(found, step):
    """Compare with `step(weight, gradient, number, scale, decay)` made twice, and averages with d = 1/10, then 0.15."""
    for name, (scale, decay) in WATCHED.items():
        weights, averages = found[name], found[f"ema.{name}"]
        expected = weights[0]
        for t, (gradient, d) in enumerate(zip(GRADIENTS, (0.1, 0.15)), 1):
            expected = step(expected, gradient, t, scale, decay)
            np.testing.assert_allclose(weights[t], expected, rtol=1e-5, atol=1e-6, err_msg=f"{name}, update {t}")
            average = d * averages[t - 1] + (1 - d) * weights[t]
            np.testing.assert_allclose(averages[t], average, rtol=1e-5, atol=1e-6, err_msg=f"ema.{name}, update {t}")


def test_two_updates_by_adamw_are_what_the_keys_say():
    """beta1 0.5 and beta2 0.75: moments corrected 0.5 and 0.25, then 0 and 0.25 x 0.5 ... worked out by hand."""
    # t=1: m = .25 / .5 = .5, v = .0625 / .25 = .25. t=2: m = (.125 - .125) / .75 = 0.
    moments = {1: (0.5, 0.25), 2: (0.0, (0.75 * 0.0625 + 0.25 * 0.0625) / 0.4375)}

    def step(weight, gradient, t, scale, decay):
        m, v = moments[t]
        return weight * (1 - 0.1 * scale * decay) - 0.1 * scale * m / (np.sqrt(v) + 1e-8)

    check(updated(beta1=0.5, beta2=0.75), step)


def test_the_second_moment_forgets_as_beta2_says():
    """beta1 0: the second update divides by the root of (0.75 x 0.0625 + 0.25 x 0.0625) / 0.4375 = 1/7."""

    def step(weight, gradient, t, scale, decay):
        v = {1: 0.25, 2: 1 / 7}[t]
        return weight * (1 - 0.1 * scale * decay) - 0.1 * scale * gradient / np.sqrt(v)

    check(updated(beta1=0.0, beta2=0.75), step)


def test_two_updates_by_sgd_are_what_the_keys_say():
    """momentum 0.5: v = g + wd w, then v = 0.5 v + g + wd w."""
    velocity = {}

    def step(weight, gradient, t, scale, decay):
        v = gradient + decay * weight + (0.5 * velocity[scale, decay] if t > 1 else 0)
        velocity[scale, decay] = v
        return weight - 0.1 * scale * v

    check(updated(optimizer="sgd", momentum=0.5), step)


def test_clipping_and_a_fixed_loss_scale_work_together():
    """Gradients of 0.5, scaled by 8: unscaled to 0.0625 each; clipped to a norm of 0.01 over all 5522 weights."""

    def step(weight, gradient, t, scale, decay):
        return weight - 0.1 * scale * (np.sign(gradient) * 0.01 / np.sqrt(5522) + decay * weight)

    loss_scale = {"amp_level": "O2", "loss_scale_type": "fixed", "loss_scale": 8.0}
    check(updated(optimizer="sgd", momentum=0.0, clip_grad=0.01, **loss_scale), step)


# What may differ when a run goes on; batch_size and global_batch as far as the images of an update stay the same.
FREE = {"resume", "output_dir", "data_dir", "device", "backend", "num_workers", "eval_batch_size", "log_interval"}
FREE |= {"keep_checkpoint_max", "save_steps", "save_minutes", "preempt_signal", "max_bad_share", "max_bad_updates"}
FREE |= {"tensorboard", "batch_size", "global_batch", "jit_level"}
OTHER = {"shifts": (0, 0), "pretrained": "b.ckpt", "dataset": "cifar10", "save_steps": 7, "save_minutes": 7.0}
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


def test_shifts_replace_the_models_own():
    config = TrainConfig(shifts=(0, 1, 0, 1))
    assert config.model_overrides == {"shifts": [0, 1, 0, 1]} and TrainConfig().model_overrides == {}
    assert assembled(config).network.spec.shifts == (0, 1, 0, 1)


def test_drop_path_follows_the_seed_and_spares_frozen_stages():
    def masks(**options):
        return Built(drop_path_rate=0.5, **options).job.masks(np.arange(64), step=3)

    assert np.array_equal(masks(), masks()) and not np.array_equal(masks(), masks(seed=1))
    assert set(masks()[0]) == {1.0} and set(masks()[1]) == {0.0, 2.0}, "two blocks, with rates of 0 and 0.5"
    assert set(masks(freeze_stages=2).ravel()) == {1.0}


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
            Image.fromarray(PLACES[i]).save(tmp_path / split / name / f"{i}.png")
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
