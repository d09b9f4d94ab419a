"""Validation images in batches."""

from neonext_ms.data import Loader, Preprocess, Source
from neonext_ms.runtime.ranks import Ranks


def eval_loader(
    source: Source, transform: Preprocess, batch_size: int, num_workers: int, ranks: Ranks, max_bad_share: float = 0.0
) -> Loader:
    """Batches in order, every sample once over all ranks."""
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
