"""One table over all keys of the configuration: a value that is not the default, where it is to arrive, and what is to
stand there, written by hand.
"""

import signal
from functools import cached_property
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.assemble import make_steps
from neonext_ms.training.run.folder import RunFolder, open_folder
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.signals import StopRequest
from neonext_ms.training.state import RunState
from tests.support.tiny import TINY, TinyConfig, assembled


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
    criterion = property(lambda self: self.job.train_step._cells[0].gradient.criterion)
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
    "train_images": (500, lambda b: (len(b.plan.source), len(b.val_plan.source)), (500, 360)),
    "val_images": (36, lambda b: (len(b.plan.source), len(b.val_plan.source)), (1437, 36)),
    "image_size": (64, lambda b: (b.transform.image_size, b.val_plan.transform.image_size), (64, 64)),
    "in_chans": (1, lambda b: (b.job.network.spec.in_chans, b.transform.preprocess.channels), (1, 1)),
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
    "random_crop": (
        "resized",
        lambda b: (b.transform.random_crop, b.val_plan.transform.crop_pct),
        ("resized", 0.875),
    ),
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
    "loss": ("bce", lambda b: type(b.criterion).__name__, "BinaryCrossEntropy"),
    "class_weights": (  # 142 of the 1437 digits in training are zeros
        "balanced",
        lambda b: b.criterion.weights is not None and round(float(b.criterion.weights.asnumpy()[0]), 3),
        1.012,
    ),
    "class_balance": (0.5, lambda b: b.plan.class_balance, 0.5),
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
        lambda b: b.job.network.stages[0][0].norm_branch.of_batch.forward.func.rsplit(":", 1)[1],
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
        lambda b: list(Reporter(b.config, b.run_folder, 1, Progress(1, 1, 1)).trackers.told),
        ["tensorboard"],
    ),
    "trackers": (
        ("wandb", "mlflow"),
        lambda b: list(Reporter(b.config, b.run_folder, 1, Progress(1, 1, 1)).trackers.told),
        ["wandb", "mlflow"],
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
ALL = {key: ({}, *row) for key, row in TABLE.items()} | BESIDE
