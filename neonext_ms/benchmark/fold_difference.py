"""How far folding moves a network's logits: rounding, for every member of the family.

Networks of full size with scales and offsets as training leaves them and statistics of their own, on noise.
"""

from collections.abc import Sequence

import mindspore as ms
import numpy as np

from neonext_ms.benchmark.timing import Progress
from neonext_ms.deploy.fold.graph import FoldedNeoNeXt, gelu_cell
from neonext_ms.deploy.fold.weights import fold_weights
from neonext_ms.markdown import table
from neonext_ms.models import create_model
from neonext_ms.models.layers import KEPT, BatchNorm
from neonext_ms.models.neonext import NeoNeXt


def trained_like(network: NeoNeXt, seed: int = 0) -> NeoNeXt:
    """The network in evaluation, its vectors drawn anew: far from 0 and 1, none alike."""
    rng = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        if parameter.ndim == 1:
            offset = parameter.name.endswith(("beta", "bias", "moving_mean"))
            value = rng.normal(0, 0.5, parameter.shape) if offset else rng.uniform(0.3, 1.7, parameter.shape)
            parameter.set_data(ms.Tensor(value.astype(np.float32)))
    return network.set_train(False)


def settle_statistics(network: NeoNeXt, x: ms.Tensor):
    """Set every norm's statistics to those of x (N, C, H, W), whatever they were; leaves the network in evaluation.

    With others a gated network at its full depth overflows: each block has products of its values.
    """
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, BatchNorm)]
    statistics = [each for norm in norms for each in (norm.moving_mean, norm.moving_variance)]
    for each in statistics:
        each.set_data(ms.Tensor(np.zeros(each.shape, np.float32)))
    network.set_train(True)(x)
    for each in statistics:
        each.set_data(ms.Tensor(each.asnumpy() / np.float32(1 - KEPT)))
    network.set_train(False)


def relative_difference(result: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of two arrays of one shape, finite ones, against the largest |value| expected."""
    assert result.shape == expected.shape and np.isfinite([result, expected]).all()
    return float(np.abs(result - expected).max() / np.abs(expected).max())


def fold_differences(name: str, sizes: Sequence[int], **overrides) -> list[float]:
    """`relative_difference` of the folded logits from the network's, for one image of each size.

    Args:
        name, overrides: of the model, as for `create_model`.
        sizes: sides of the images in pixels.
    """
    network = trained_like(create_model(name, seed=1, **overrides))
    images = [
        ms.Tensor(np.random.default_rng(2).standard_normal((1, 3, size, size)).astype(np.float32)) for size in sizes
    ]
    settle_statistics(network, images[0])
    weights = fold_weights(network)
    differences = []
    for x, size in zip(images, sizes):
        folded = FoldedNeoNeXt(weights, size, gelu_cell("exact")).set_train(False)
        differences.append(relative_difference(folded(x).asnumpy(), network(x).asnumpy()))
    return differences


def benchmark_fold(models: Sequence[str], sizes: Sequence[int]) -> list[dict]:
    """`fold_differences` of models by name.

    Returns:
        a row a model and size: model, image_size, difference (against the largest logit).

    Raises:
        UserError: an unknown model, or a size that it cannot take.
    """
    mode = ms.get_context("mode")
    # Nothing is compiled: a graph of each network would take longer than to run it once.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    progress = Progress(len(models))
    rows = []
    try:
        for name in models:
            progress.begin(name)
            progress.show("folding", 0)
            differences = fold_differences(name, sizes)
            rows += [
                {"model": name, "image_size": size, "difference": difference}
                for size, difference in zip(sizes, differences)
            ]
    finally:
        ms.set_context(mode=mode)
    return rows


def fold_table(rows: Sequence[dict]) -> str:
    """The rows of `benchmark_fold` as a Markdown table, and the largest of them."""
    sizes = list(dict.fromkeys(row["image_size"] for row in rows))
    found = {(row["model"], row["image_size"]): f"{row['difference']:.1e}" for row in rows}
    lines = [("model", *(f"{size} pixels" for size in sizes))]
    lines += [(name, *(found[name, size] for size in sizes)) for name in dict.fromkeys(row["model"] for row in rows)]
    largest = max(row["difference"] for row in rows)
    return f"{table(lines)}\n\nLargest difference of the folded logits: {largest:.1e} of the largest logit."
