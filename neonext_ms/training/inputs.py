"""The data of a run, as its configuration describes it."""

from neonext_ms.data import Loader, Mixing, Preprocess, RandomErasing, Source, TrainTransform, open_source
from neonext_ms.data.channels import for_channels
from neonext_ms.data.sources.subset import Subset
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.config import TrainConfig


def open_sources(config: TrainConfig) -> tuple[Source, Source]:
    """Training and validation split; UserError when they cannot be opened."""
    train, val = (
        source if count is None else Subset(source, count)
        for split, count in (("train", config.train_images), ("val", config.val_images))
        for source in [open_source(config.dataset, config.data_dir, split)]
    )
    if train.multi_label and config.loss != "bce":
        raise UserError(f"images of {train.name} may have several classes: use loss=bce, got {config.loss}")
    return train, val


def describe_data(train: Source, val: Source) -> dict:
    """What a resumed run, and every rank, must find again: of each split the samples, the classes and the listing."""
    return {
        split: {"samples": len(source), "classes": len(source.class_names), "listing": source.listing()}
        for split, source in (("training", train), ("validation", val))
    }


def preprocess(config: TrainConfig, source: Source) -> Preprocess:
    """What is done to every image in evaluation, and what checkpoints carry."""
    has = len(source.mean)
    channels = config.in_chans or has
    if channels != has and {channels, has} != {1, 3}:
        raise UserError(f"in_chans (={channels}) does not fit {source.name}, whose images have {has} channels")
    mean, std = config.mean or for_channels(source.mean, channels), config.std or for_channels(source.std, channels)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise UserError(f"{name} must have a number for each of the {channels} channels, got {tuple(values)}")
    return Preprocess(config.image_size, mean, std, config.crop_pct, config.interpolation)


def train_transform(config: TrainConfig, source: Source) -> TrainTransform:
    """The augmentation of one training image."""
    return TrainTransform(
        preprocess(config, source),
        random_crop=config.random_crop,
        crop_padding=config.crop_padding,
        scale=config.scale,
        ratio=config.ratio,
        hflip=config.hflip,
        color_jitter=config.color_jitter,
        auto_augment=config.auto_augment,
        erasing=RandomErasing(config.re_prob, config.re_scale, config.re_ratio),
    )


def train_loader(config: TrainConfig, source: Source, ranks: Ranks) -> Loader:
    """Augmented, mixed and shuffled batches of this rank, each its share of an update."""
    return Loader(
        source,
        train_transform(config, source),
        config.batch_size * config.micro_batches(ranks.world),
        training=True,
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        num_workers=config.num_workers,
        mixing=Mixing(config.mixup, config.cutmix, config.mixup_switch_prob, config.label_smoothing),
        aug_repeats=config.aug_repeats,
        class_balance=config.class_balance,
        max_bad_share=config.max_bad_share,
    )
