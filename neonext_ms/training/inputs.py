"""The data of a run, as its configuration describes it."""

from neonext_ms.data import Loader, Mixing, Preprocess, Source, TrainTransform, open_source
from neonext_ms.errors import UserError
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.distributed import Ranks


def open_sources(config: TrainConfig) -> tuple[Source, Source]:
    """Training and validation split.

    Raises:
        UserError: they cannot be opened, or have different classes.
    """
    train, val = (open_source(config.dataset, config.data_dir, split) for split in ("train", "val"))
    if train.class_names != val.class_names:
        odd = sorted(set(train.class_names) ^ set(val.class_names))
        raise UserError(f"{train.name} and {val.name} have different classes: {', '.join(odd[:5])} only in one of them")
    return train, val


def preprocess(config: TrainConfig, source: Source) -> Preprocess:
    """What is done to every image in evaluation, and what checkpoints carry."""
    mean, std = config.mean or source.mean, config.std or source.std
    return Preprocess(config.image_size, mean, std, config.crop_pct, config.interpolation)


def train_loader(config: TrainConfig, source: Source, ranks: Ranks) -> Loader:
    """Augmented, mixed and shuffled batches of this rank."""
    transform = TrainTransform(
        preprocess(config, source), config.random_crop, config.crop_padding, config.scale, config.ratio, config.hflip
    )
    return Loader(
        source,
        transform,
        config.batch_size,
        training=True,
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        num_workers=config.num_workers,
        mixing=Mixing(config.mixup, config.label_smoothing),
    )


def eval_loader(source: Source, transform: Preprocess, batch_size: int, num_workers: int, ranks: Ranks) -> Loader:
    """Batches in order, every sample once over all ranks."""
    return Loader(
        source, transform, batch_size, training=False, rank=ranks.rank, world=ranks.world, num_workers=num_workers
    )
