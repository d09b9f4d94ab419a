"""How far folding moves a network's logits: rounding, for every member of the family.

    python -m neonext_ms.benchmark.fold_difference [--models neonext_t ...] [--image_sizes 224 384]

Networks of full size with statistics, scales and offsets as training leaves them, on noise.
"""

import argparse
from collections.abc import Sequence

import mindspore as ms
import numpy as np

from neonext_ms.deploy.fold.graph import FoldedNeoNeXt, gelu_cell
from neonext_ms.deploy.fold.weights import fold_weights
from neonext_ms.models import create_model, list_models
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


def relative_difference(result: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of two arrays of one shape, against the largest |value| expected."""
    assert result.shape == expected.shape
    return float(np.abs(result - expected).max() / np.abs(expected).max())


def fold_differences(name: str, sizes: Sequence[int], **overrides) -> list[float]:
    """`relative_difference` of the folded logits from the network's, for one image of each size.

    Args:
        name, overrides: of the model, as for `create_model`.
        sizes: sides of the images in pixels.
    """
    network = trained_like(create_model(name, seed=1, **overrides))
    weights = fold_weights(network)
    differences = []
    for size in sizes:
        x = ms.Tensor(np.random.default_rng(2).standard_normal((1, 3, size, size)).astype(np.float32))
        folded = FoldedNeoNeXt(weights, size, gelu_cell("exact")).set_train(False)
        differences.append(relative_difference(folded(x).asnumpy(), network(x).asnumpy()))
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=list_models(), default=list_models())
    parser.add_argument("--image_sizes", nargs="+", type=int, default=[224, 384])
    options = parser.parse_args()
    # Nothing is compiled: a graph of each network would take longer than to run it once.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    worst = 0.0
    for name in options.models:
        differences = fold_differences(name, options.image_sizes)
        worst = max(worst, *differences)
        each = ", ".join(f"{size} pixels {value:.1e}" for size, value in zip(options.image_sizes, differences))
        print(f"{name}: {each}", flush=True)
    print(f"largest: {worst:.1e} of the largest logit")


if __name__ == "__main__":
    main()
