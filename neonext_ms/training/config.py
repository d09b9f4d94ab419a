"""What a training run is told: one flat, typed configuration. Plain Python, so that mistakes are found at once.

All that there is to say about a key stands in one place: type, default, range, who may have another value (see
`keys.key`), and below it the text that --help shows.
"""

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from neonext_ms.errors import UserError
from neonext_ms.ops.precision import matmul_precision
from neonext_ms.runtime.run_folder import CONFIG_HEADER
from neonext_ms.texts import read_yaml
from neonext_ms.training import keys
from neonext_ms.training.keys import FREE, Range, key

AT_LEAST_0, AT_LEAST_1 = Range(least=0), Range(least=1)
SHARE = Range(least=0, below=1)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the outcome of a training run."""

    model: str = "neonext_pico"
    """a name that `neonext profile` lists."""
    shifts: tuple[int, ...] | None = None
    """shift step of each stage instead of the model's own."""
    structure: dict[str, Any] | None = None
    """of the model, where it is to have another one: fields of NeoNeXtSpec, such as '{dims: [16, 32, 64, 128]}'."""
    neocell_init: Literal["neo", "normal", "identity"] = "neo"
    """NeoInit, the random-normal baseline of the paper's ablation, or NeoInit without its noise."""
    backend: Literal["auto", "fused", "dense", "patchwise"] = key("auto", on_resume=FREE)
    """formulation of the NeoCells; auto takes the fastest that is available."""
    pretrained: str | None = key(None, on_ranks=FREE)
    """checkpoint whose weights training begins with; where its classes are others, the head is drawn anew."""
    freeze_stages: int = key(0, AT_LEAST_0)
    """the stem and so many stages stay as they are."""
    dataset: str = "digits"
    """digits (built in), cifar10, cifar100, mnist, fashion_mnist, kmnist, emnist_letters and others, folder with train/
    and val/, multilabel (with train.csv and val.csv), mindrecord (packed), or one of your own."""
    data_dir: str | None = key(None, on_resume=FREE, on_ranks=FREE)
    """where the data set is; none for digits."""
    train_images: int | None = key(None, AT_LEAST_1)
    """of the training split so many, spread evenly over it; null is all."""
    val_images: int | None = key(None, AT_LEAST_1)
    """likewise of the validation split, in the run's own evaluations."""
    image_size: int = key(32, AT_LEAST_1)
    """side of the network's input in pixels."""
    in_chans: int | None = key(None, AT_LEAST_1)
    """channels of the network's input: 1 takes colour in grey; null is what the data set has, 3 for image files."""
    mean: tuple[float, ...] | None = None
    """of the channels (0..1), a number for each, for normalisation; the data set's usual one if null."""
    std: tuple[float, ...] | None = None
    """likewise."""
    crop_pct: float | None = None
    """share of the resized short side that the evaluation's centre crop keeps; null is 0.875 for random_crop=resized,
    which enlarges what is trained on, and otherwise 1."""
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    """of every resize."""
    random_crop: Literal["none", "pad", "resized"] = "none"
    """training crop: none, pad (shift by up to crop_padding) or resized (Inception style)."""
    crop_padding: int = key(4, AT_LEAST_0)
    """pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """least and greatest share of the area for random_crop=resized."""
    ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """least and greatest aspect ratio for random_crop=resized."""
    hflip: float = 0.0
    """probability of a horizontal flip."""
    color_jitter: float = 0.0
    """brightness, contrast and saturation change by factors of up to 1 -/+ this; 0 is off."""
    auto_augment: str | None = None
    """RandAugment policy in timm's notation, such as rand-m9-mstd0.5-inc1; null is off."""
    re_prob: float = 0.0
    """probability of random erasing, which fills a rectangle with noise."""
    re_scale: tuple[float, float] = (0.02, 0.3333333333333333)
    """least and greatest share of the area for random erasing."""
    re_ratio: tuple[float, float] = (0.3, 3.3333333333333335)
    """least and greatest aspect ratio for random erasing."""
    mixup: float = 0.0
    """parameter of mixup's Beta distribution; 0 is off."""
    cutmix: float = 0.0
    """parameter of cutmix's Beta distribution; 0 is off."""
    mixup_switch_prob: float = 0.5
    """probability of cutmix instead of mixup when both are on."""
    label_smoothing: float = 0.1
    """share of the target spread over all classes."""
    loss: Literal["cross_entropy", "bce"] = "cross_entropy"
    """bce asks for each class whether it is in the image: binary cross-entropy; needed where images have several."""
    threshold: float = key(0.5, Range(above=0, below=1))
    """probability above which a class is said to be in an image, where one may have several."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: classes of few images count as much in the loss as those of many."""
    class_balance: float = key(0.0, Range(least=0, most=1))
    """of uneven classes: one of n images is shown in proportion to n ** (1 - class_balance); 1 shows all as often."""
    teacher: str | None = key(None, on_resume=FREE)
    """trained model to learn from beside the labels: checkpoint, model folder, .mindir, or .onnx of any network; on
    resume it may lie elsewhere, but must be the same."""
    distill: Literal["soft", "hard"] = "soft"
    """what is learnt of the teacher: its probabilities, or its answer."""
    distill_alpha: float = key(0.5, Range(least=0, most=1))
    """share of the teacher in the loss; the labels have the rest."""
    distill_temperature: float = key(1.0, Range(above=0))
    """by which the logits of both are divided where probabilities are compared."""
    aug_repeats: int = 1
    """times that a sample comes in a global batch, each time augmented in another way."""
    batch_size: int = key(64, AT_LEAST_1, on_resume=FREE)
    """images that each device takes at once."""
    global_batch: int | None = key(None, AT_LEAST_1, on_resume=FREE)
    """images of an update of the weights, over all devices; where batch_size on every device is less, gradients are
    accumulated. Null is batch_size on every device, once."""
    eval_batch_size: int = key(100, AT_LEAST_1, on_resume=FREE)
    """images an evaluation step on each device."""
    num_workers: int = key(1, AT_LEAST_0, on_resume=FREE, on_ranks=FREE)
    """processes that prepare batches, for each device; 0 prepares them in the training loop."""
    max_bad_share: float = key(0.01, on_resume=FREE)
    """of the samples; when more of them cannot be read, the run stops."""
    epochs: int = key(20, AT_LEAST_1)
    """passes over the training data."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw, or sgd with momentum."""
    lr: float = key(1e-3, Range(above=0))
    """peak learning rate, after warm-up."""
    lr_base_batch: int | None = key(None, AT_LEAST_1)
    """global batch that lr is meant for: with another it is scaled linearly; null takes lr as it is."""
    layer_decay: float = key(1.0, Range(above=0, most=1))
    """what the learning rate of each layer is of that of the one above it, the head's being lr; 1 is off."""
    min_lr: float = key(0.0, AT_LEAST_0)
    """learning rate at the end."""
    warmup_epochs: float = key(1.0, AT_LEAST_0)
    """epochs of linear warm-up; may be fractional."""
    weight_decay: float = key(0.05, AT_LEAST_0)
    """on matrices only: not on norms, biases and layer scale."""
    clip_grad: float = key(0.0, AT_LEAST_0)
    """greatest global norm of the gradients, to which larger ones are scaled down; 0 is off."""
    momentum: float = key(0.9, SHARE)
    """of sgd."""
    beta1: float = key(0.9, SHARE)
    """of adamw."""
    beta2: float = key(0.999, SHARE)
    """of adamw."""
    ema_decay: float = key(0.0, SHARE)
    """of the moving average of the weights, which is evaluated beside them; 0 is off."""
    amp_level: Literal["O0", "O2", "O3"] = "O0"
    """O0 computes in float32; O2 in amp_dtype, but norms, head and loss in float32; O3 BatchNorm also in amp_dtype.
    Weights and their updates are always float32."""
    amp_dtype: Literal["float16", "bfloat16"] = "float16"
    """bfloat16 needs an NPU."""
    matmul_precision: Literal["highest", "bfloat16"] | None = None
    """of MLPs and pointwise layers on a CPU: highest multiplies in float32; bfloat16 rounds what enters a product, sums
    stay float32, which some processors do in half the time. Null is NEONEXT_MATMUL_PRECISION, or highest."""
    recompute: bool = key(False, on_resume=FREE)
    """compute the MLPs of the blocks a second time in the backward pass: less memory, more time, the same results."""
    parallel_optimizer: bool = key(False, on_resume=FREE)
    """each rank keeps and updates a part of the optimizer's state and averages: less memory, the same traffic; without
    effect on one rank."""
    jit_level: Literal["O0", "O1"] = key("O1", on_resume=FREE)
    """MindSpore's on an NPU: O1 fuses element-wise operators, O0 launches each; without effect on a CPU."""
    loss_scale_type: Literal["dynamic", "fixed"] = "dynamic"
    """in float16, fixed, or dynamic: halved when a gradient overflows, which skips the update, and doubled after
    loss_scale_window updates without."""
    loss_scale: float = key(65536.0, AT_LEAST_1)
    """the fixed, or the first one."""
    loss_scale_window: int = key(2000, AT_LEAST_1)
    """updates."""
    sync_bn: bool = False
    """take BatchNorm's batch statistics over all devices; needs NPUs."""
    drop_path_rate: float = key(0.0, SHARE)
    """of the last block; grows linearly from 0."""
    seed: int = key(0, Range(least=0, below=2**63))
    """of weights, data order, augmentation and drop path."""
    val_interval: int = key(1, AT_LEAST_1)
    """epochs from one evaluation (and checkpoint) to the next; the last epoch is always evaluated."""
    keep_checkpoint_max: int = key(3, AT_LEAST_1, on_resume=FREE)
    """newest checkpoints to keep, beside the best."""
    save_steps: int = key(0, AT_LEAST_0, on_resume=FREE)
    """updates from one checkpoint to the next, besides those after evaluations; 0 is off."""
    save_minutes: float = key(0.0, AT_LEAST_0, on_resume=FREE)
    """likewise in minutes."""
    preempt_signal: str | None = key(None, on_resume=FREE)
    """name of a signal, such as SIGUSR1, that stops the run as SIGTERM does: with a checkpoint."""
    max_bad_updates: int = key(10, AT_LEAST_1, on_resume=FREE)
    """updates in a row that may be skipped, mostly because they are not numbers; then the run stops."""
    spike_factor: float = key(5.0, AT_LEAST_0)
    """a loss above this times the median of the last 100 is reported as a spike; 0 is off."""
    skip_spikes: bool = False
    """whether such an update changes nothing."""
    log_interval: int = key(10, AT_LEAST_1, on_resume=FREE)
    """steps from one progress report to the next."""
    tensorboard: bool = key(False, on_resume=FREE)
    """also write the metrics for TensorBoard, into the run's folder tensorboard; needs tensorboardX."""
    trackers: tuple[Literal["swanlab", "wandb", "mlflow"], ...] = key((), on_resume=FREE)
    """also tell these programs, which write into the run folder; one that fails is left out."""
    profile_steps: str | None = key(None, on_resume=FREE)
    """range of updates, such as 10-15, that are profiled into the run's folder profile; null is off."""
    device: Literal["auto", "CPU", "Ascend"] = key("auto", on_resume=FREE)
    """where to run; auto takes an Ascend NPU if there is one."""
    output_dir: str | None = key(None, on_resume=FREE, on_ranks=FREE)
    """run folder, must not hold a run yet; null makes a new one below runs/."""
    resume: str | None = key(None, on_resume=FREE, on_ranks=FREE)
    """a run folder or one of its checkpoints to go on from, or auto: the run in output_dir if there is one."""

    def __post_init__(self):
        for name in ("data_dir", "output_dir", "pretrained", "resume", "teacher"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, os.path.expanduser(getattr(self, name)))
        keys.check(self)
        keys.steps(self.profile_steps, "profile_steps")
        if self.matmul_precision is None:  # a run that goes on must not depend on the environment
            object.__setattr__(self, "matmul_precision", matmul_precision())
        if self.crop_pct is None:
            object.__setattr__(self, "crop_pct", 0.875 if self.random_crop == "resized" else 1.0)
        if self.min_lr > self.lr:
            raise UserError(f"lr must not be below min_lr (={self.min_lr}), got {self.lr}")
        if self.warmup_epochs > self.epochs:
            raise UserError(f"warmup_epochs (={self.warmup_epochs}) is more than epochs (={self.epochs})")

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
    def tracker_names(self) -> tuple[str, ...]:
        """Those of `run.trackers` that are told."""
        return (*["tensorboard"] * self.tensorboard, *self.trackers)

    @property
    def model_overrides(self) -> dict:
        """Arguments of `create_model` that change the network's weights or what they mean; kept in checkpoints."""
        return {**(self.structure or {}), **({} if self.shifts is None else {"shifts": list(self.shifts)})}

    def to_yaml(self) -> str:
        """A complete configuration file that `--config` reads back; it leaves output_dir open, for a run of its own."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        values["output_dir"] = values["resume"] = None
        return CONFIG_HEADER + yaml.safe_dump(values, sort_keys=False)

    @classmethod
    def add_options(cls, parser):
        """Give a jsonargparse parser an option for every key: its text, and whether a run that goes on may differ."""
        from jsonargparse import set_parsing_settings

        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        parser.add_class_arguments(cls, as_group=False)
        for action in parser._actions:
            if action.dest in keys.free(cls, "on_resume") - {"resume", "output_dir"}:
                action.help += " Free on resume."

    @classmethod
    def from_yaml(cls, path: Path) -> "TrainConfig":
        """Read a configuration file; keys that are left out keep their defaults."""
        return cls.from_text(read_yaml(path)[0])

    @classmethod
    def from_text(cls, text: str) -> "TrainConfig":
        """From YAML, as of a configuration file."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(exit_on_error=False)
        cls.add_options(parser)
        return cls.from_namespace(parser.parse_string(text))

    @classmethod
    def from_namespace(cls, namespace) -> "TrainConfig":
        """From parsed arguments, ignoring what is not a field."""
        return cls(**{field.name: getattr(namespace, field.name) for field in fields(cls)})
