"""The trained network as a source of features for other tasks."""

from pathlib import Path

from neonext_ms.checkpoint.store import assign_weights, load_weights
from neonext_ms.models import create_model
from neonext_ms.models.neonext import NeoNeXt


def load_features(checkpoint: str | Path, **overrides) -> NeoNeXt:
    """A checkpoint's network without its head: (N, 3, H, W) to the outputs of all stages, (N, dims[i], H_i, W_i).

    Its `feature_info` tells channels and reduction of each; H and W need not be those that it was trained on. It is a
    Cell like any other: part of a larger network, it trains with it.

    Args:
        checkpoint: .ckpt file with its manifest.
        overrides: arguments of `create_model` that do not change the weights, such as backend or shifts.

    Raises:
        UserError: a checkpoint that cannot be used.
    """
    weights, manifest = load_weights(Path(checkpoint))
    model = manifest["model"]
    arguments = {**model["overrides"], **overrides, "features_only": True}
    network = create_model(model["name"], model["num_classes"], seed=0, **arguments)
    weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    assign_weights(network, weights, str(checkpoint))
    return network.set_train(False)
