"""Validation images in batches."""

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.data import Loader, Preprocess, Source
from neonext_ms.runtime.ranks import Ranks

MAX_BAD_SHARE = 0.5  # of the images that cannot be read, where nobody gives another limit


def eval_loader(
    source: Source, transform: Preprocess, batch_size: int, num_workers: int, ranks: Ranks, max_bad_share: float = 0.0
) -> Loader:
    """Batches in order, every sample once over all ranks.

    Args:
        source, transform, batch_size, num_workers, max_bad_share: see `Loader`.
        ranks: of the job.
    """
    return Loader(
        source,
        transform,
        batch_size,
        training=False,
        rank=ranks.rank,
        world=ranks.world,
        num_workers=num_workers,
        max_bad_share=max_bad_share,
    )


def validation_loader(
    card: ModelCard,
    ranks: Ranks,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Loader:
    """Batches of a validation split as a model takes them.

    Args:
        card: of the model.
        ranks: of the job.
        dataset, data_dir: see `validation_source`, also for what is raised.
        batch_size, num_workers, max_bad_share: see `Loader`.
    """
    source = card.validation_source(dataset, data_dir)
    return eval_loader(source, card.preprocess, batch_size, num_workers, ranks, max_bad_share)
