"""What a training run is told: one flat, typed configuration. Plain Python, so that mistakes are found at once."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import yaml

from neonext_ms.errors import UserError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the outcome of a training run.

    Args:
        model: a name that `neonext profile` lists.
        shifts: shift step of each stage instead of the model's own.
        neocell_init: NeoInit, or the random-normal baseline of the paper's ablation.
        backend: formulation of the NeoCells; auto takes the fastest that is available.
        pretrained: checkpoint whose weights training begins with; where its classes are others, the head is drawn anew.
        freeze_stages: the stem and so many stages stay as they are.
        dataset: built-in handwritten digits, CIFAR binary files, a folder with train/ and val/, or one that was packed.
        data_dir: where the data set is; none for digits.
        image_size: side of the network's input in pixels.
        mean: of the RGB channels (0..1) for normalisation; the data set's usual one if null.
        std: likewise.
        crop_pct: share of the resized short side that the evaluation's centre crop keeps.
        interpolation: of every resize.
        random_crop: training crop: none, pad (shift by up to crop_padding) or resized (Inception style).
        crop_padding: pixels.
        scale: least and greatest share of the area for random_crop=resized.
        ratio: least and greatest aspect ratio for random_crop=resized.
        hflip: probability of a horizontal flip.
        color_jitter: brightness, contrast and saturation change by factors of up to 1 -/+ this; 0 is off.
        auto_augment: RandAugment policy in timm's notation, such as rand-m9-mstd0.5-inc1; null is off.
        re_prob: probability of random erasing, which fills a rectangle with noise.
        re_scale: least and greatest share of the area for random erasing.
        re_ratio: least and greatest aspect ratio for random erasing.
        mixup: parameter of mixup's Beta distribution; 0 is off.
        cutmix: parameter of cutmix's Beta distribution; 0 is off.
        mixup_switch_prob: probability of cutmix instead of mixup when both are on.
        label_smoothing: share of the target spread over all classes.
        aug_repeats: times that a sample comes in a global batch, each time augmented in another way.
        batch_size: images that each device takes at once.
        global_batch: images of an update of the weights, over all devices; where batch_size on every device is less,
            gradients are accumulated. Null is batch_size on every device, once.
        eval_batch_size: images an evaluation step on each device.
        num_workers: processes that prepare batches, for each device; 0 prepares them in the training loop.
        max_bad_share: of the samples; when more of them cannot be read, the run stops.
        epochs: passes over the training data.
        optimizer: adamw, or sgd with momentum.
        lr: peak learning rate, after warm-up.
        lr_base_batch: global batch that lr is meant for: with another it is scaled linearly; null takes lr as it is.
        layer_decay: what the learning rate of each layer is of that of the one above it, the head's being lr; 1 is off.
        min_lr: learning rate at the end.
        warmup_epochs: epochs of linear warm-up; may be fractional.
        weight_decay: on matrices only: not on norms, biases and layer scale.
        clip_grad: greatest global norm of the gradients, to which larger ones are scaled down; 0 is off.
        momentum: of sgd.
        beta1: of adamw.
        beta2: of adamw.
        ema_decay: of the moving average of the weights, which is evaluated beside them; 0 is off.
        amp_level: O0 computes in float32; O2 in amp_dtype, but norms, head and loss in float32; O3 BatchNorm also in
            amp_dtype. Weights and their updates are always float32.
        amp_dtype: bfloat16 needs an NPU.
        loss_scale_type: in float16, fixed, or dynamic: halved when a gradient overflows, which skips the update, and
            doubled after loss_scale_window updates without.
        loss_scale: the fixed, or the first one.
        loss_scale_window: updates.
        sync_bn: take BatchNorm's batch statistics over all devices; needs NPUs.
        drop_path_rate: of the last block; grows linearly from 0.
        seed: of weights, data order, augmentation and drop path.
        val_interval: epochs from one evaluation (and checkpoint) to the next; the last epoch is always evaluated.
        keep_checkpoint_max: newest checkpoints to keep, beside the best.
        save_steps: updates from one checkpoint to the next, besides those after evaluations; 0 is off.
        save_minutes: likewise in minutes.
        preempt_signal: name of a signal, such as SIGUSR1, that stops the run as SIGTERM does: with a checkpoint.
        max_bad_updates: updates in a row that may be skipped, mostly because they are not numbers; then the run stops.
        spike_factor: a loss above this times the median of the last 100 is reported as a spike; 0 is off.
        skip_spikes: whether such an update changes nothing.
        log_interval: steps from one progress report to the next.
        tensorboard: also write the metrics for TensorBoard, into the run's folder tensorboard; needs tensorboardX.
        device: where to run; auto takes an Ascend NPU if there is one.
        output_dir: run folder, must not hold a run yet; null makes a new one below runs/.
        resume: a run folder or one of its checkpoints to go on from, or auto: the run in output_dir if there is one.
    """

    model: str = "neonext_pico"
    shifts: tuple[int, ...] | None = None
    neocell_init: Literal["neo", "normal"] = "neo"
    backend: Literal["auto", "fused", "dense", "patchwise"] = "auto"
    pretrained: str | None = None
    freeze_stages: int = 0
    dataset: Literal["digits", "cifar10", "cifar100", "folder", "mindrecord"] = "digits"
    data_dir: str | None = None
    image_size: int = 32
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_pct: float = 1.0
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    random_crop: Literal["none", "pad", "resized"] = "none"
    crop_padding: int = 4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    hflip: float = 0.0
    color_jitter: float = 0.0
    auto_augment: str | None = None
    re_prob: float = 0.0
    re_scale: tuple[float, float] = (0.02, 0.3333333333333333)
    re_ratio: tuple[float, float] = (0.3, 3.3333333333333335)
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_switch_prob: float = 0.5
    label_smoothing: float = 0.1
    aug_repeats: int = 1
    batch_size: int = 64
    global_batch: int | None = None
    eval_batch_size: int = 100
    num_workers: int = 1
    max_bad_share: float = 0.01
    epochs: int = 20
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    lr_base_batch: int | None = None
    layer_decay: float = 1.0
    min_lr: float = 0.0
    warmup_epochs: float = 1.0
    weight_decay: float = 0.05
    clip_grad: float = 0.0
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    ema_decay: float = 0.0
    amp_level: Literal["O0", "O2", "O3"] = "O0"
    amp_dtype: Literal["float16", "bfloat16"] = "float16"
    loss_scale_type: Literal["dynamic", "fixed"] = "dynamic"
    loss_scale: float = 65536.0
    loss_scale_window: int = 2000
    sync_bn: bool = False
    drop_path_rate: float = 0.0
    seed: int = 0
    val_interval: int = 1
    keep_checkpoint_max: int = 3
    save_steps: int = 0
    save_minutes: float = 0.0
    preempt_signal: str | None = None
    max_bad_updates: int = 10
    spike_factor: float = 5.0
    skip_spikes: bool = False
    log_interval: int = 10
    tensorboard: bool = False
    device: Literal["auto", "CPU", "Ascend"] = "auto"
    output_dir: str | None = None
    resume: str | None = None

    def __post_init__(self):
        for field in fields(self):
            if getattr(self, field.name) is None and field.default is not None:
                raise UserError(f"{field.name} is null: give it a value, or leave it out for {field.default!r}")
        if self.seed >= 2**63:
            raise UserError(f"seed must be below 2^63, got {self.seed}")
        for name, least in (
            *((name, 1) for name in ("batch_size", "eval_batch_size", "epochs", "image_size")),
            *((name, 1) for name in ("val_interval", "keep_checkpoint_max", "log_interval", "max_bad_updates")),
            *((name, 1) for name in ("loss_scale", "loss_scale_window")),
            *((name, 0) for name in ("num_workers", "crop_padding", "min_lr", "warmup_epochs", "seed")),
            *((name, 0) for name in ("weight_decay", "clip_grad", "freeze_stages")),
            *((name, 0) for name in ("save_steps", "save_minutes", "spike_factor")),
        ):
            if not getattr(self, name) >= least:
                raise UserError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.lr > 0 or self.min_lr > self.lr:
            raise UserError(f"lr must be above 0 and not below min_lr (={self.min_lr}), got {self.lr}")
        if self.warmup_epochs > self.epochs:
            raise UserError(f"warmup_epochs (={self.warmup_epochs}) is more than epochs (={self.epochs})")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay must be above 0 and at most 1, got {self.layer_decay}")
        for name in ("global_batch", "lr_base_batch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1 or null, got {getattr(self, name)}")
        for name in ("momentum", "beta1", "beta2", "drop_path_rate", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")

    def micro_batches(self, world: int) -> int:
        """Batches of batch_size that each of `world` devices takes in an update.

        Raises:
            UserError: global_batch does not consist of whole batches on every device.
        """
        at_once = self.batch_size * world
        global_batch = at_once if self.global_batch is None else self.global_batch
        if global_batch % at_once:
            raise UserError(
                f"global_batch (={global_batch}) must be a multiple of batch_size x devices "
                f"(={self.batch_size} x {world}): change one of them"
            )
        return global_batch // at_once

    def peak_lr(self, world: int) -> float:
        """Learning rate after warm-up on `world` devices: by the linear scaling rule if lr_base_batch is given."""
        if self.lr_base_batch is None:
            return self.lr
        return self.lr * self.batch_size * world * self.micro_batches(world) / self.lr_base_batch

    @property
    def model_overrides(self) -> dict:
        """Arguments of `create_model` that change the network's weights or what they mean; kept in checkpoints."""
        return {} if self.shifts is None else {"shifts": list(self.shifts)}

    def to_yaml(self) -> str:
        """A complete configuration file that `--config` reads back; it leaves output_dir open, for a run of its own."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        values["output_dir"] = values["resume"] = None
        return "# Complete configuration of this run: neonext train --config <this file>\n" + yaml.safe_dump(
            values, sort_keys=False
        )

    @classmethod
    def from_yaml(cls, path: Path) -> "TrainConfig":
        """Read a configuration file; keys that are left out keep their defaults."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls)
        return cls.from_namespace(parser.parse_path(str(path)))

    @classmethod
    def from_namespace(cls, namespace) -> "TrainConfig":
        """From parsed arguments, ignoring what is not a field."""
        return cls(**{field.name: getattr(namespace, field.name) for field in fields(cls)})
