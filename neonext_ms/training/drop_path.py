"""Drop path (stochastic depth) as an input of the network.

The masks are computed on the host from (seed, step, position in the global batch). A framework's random operator could
neither be resumed nor give the same masks for another number of workers.
"""

import numpy as np


def drop_path_rates(maximum: float, blocks: int, frozen: int = 0) -> tuple[float, ...]:
    """Rates that grow linearly from 0 in the first block to the maximum in the last; 0 in the first `frozen` ones."""
    return tuple(maximum * i / max(blocks - 1, 1) if i >= frozen else 0.0 for i in range(blocks))


def drop_path_masks(rates, positions: np.ndarray, seed: int, step: int) -> np.ndarray:
    """What each block's branch is multiplied with, for each image: 0, or 1 / (1 - rate) so that the mean stays.

    Args:
        rates: probability of dropping a block's branch, one a block.
        positions: (n,) integers, the images' positions in the global batch.
        seed, step: of the run; every step draws anew.

    Returns:
        (blocks, n) float32.
    """
    # One row of the stream for each position: what an image gets depends neither on its rank nor on the batch size.
    generator = np.random.Generator(np.random.Philox(key=[seed, step]))
    uniform = generator.random((int(np.max(positions)) + 1, len(rates)), np.float32)[positions].T
    rates = np.asarray(rates, np.float32)[:, None]
    return ((uniform >= rates) / (1 - rates)).astype(np.float32)
