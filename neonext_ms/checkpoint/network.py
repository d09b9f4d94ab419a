"""From a checkpoint to the network that it was saved from, and weights into networks."""

from pathlib import Path

import numpy as np

from neonext_ms.checkpoint.store import load_weights
from neonext_ms.errors import UserError


def assign_weights(network, parameters: dict[str, np.ndarray], source: str):
    """Set every parameter of a network, strictly: same names, shapes and types.

    Raises:
        UserError: names the first difference, and how many there are.
    """
    import mindspore as ms

    own = {p.name: p for p in network.get_parameters()}
    check_same({name: p.asnumpy() for name, p in own.items()}, parameters, source, "the network")
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(parameters[name]))


def check_same(own: dict[str, np.ndarray], arrays: dict[str, np.ndarray], source: str, target: str):
    """Refuse arrays of other names, shapes or types than one's own; `target` says for messages what those belong to.

    Raises:
        UserError: names the first difference, and how many there are.
    """
    differences = [f"{name} is missing" for name in own if name not in arrays]
    differences += [f"{name} is not part of {target}" for name in arrays if name not in own]
    for name in (name for name in own if name in arrays):
        value, expected = arrays[name], own[name]
        if value.shape != expected.shape or value.dtype != expected.dtype:
            differences.append(f"{name} is {value.shape} {value.dtype}, expected {expected.shape} {expected.dtype}")
    if differences:
        raise UserError(f"{source} does not fit {target}, {len(differences)} differences, the first: {differences[0]}")


def load_network(path: Path, **overrides):
    """(network, manifest): the model that a checkpoint was saved from, with its weights, in evaluation mode.

    Args:
        path: of the checkpoint.
        overrides: arguments of `create_model` that do not change the weights, such as backend.
    """
    from neonext_ms.models import create_model

    parameters, manifest = load_weights(path)
    model = manifest["model"]
    network = create_model(model["name"], model["num_classes"], seed=0, **{**model["overrides"], **overrides})
    assign_weights(network, parameters, str(path))
    return network.set_train(False), manifest


def load_features(checkpoint: str | Path, **overrides):
    """A checkpoint's network without its head: (N, 3, H, W) to the outputs of all stages, (N, dims[i], H_i, W_i).

    Its `feature_info` tells channels and reduction of each; H and W need not be those that it was trained on. It is a
    Cell like any other: part of a larger network, it trains with it.

    Args:
        checkpoint: .ckpt file with its manifest.
        overrides: arguments of `create_model` that do not change the weights, such as backend or shifts.

    Raises:
        UserError: a checkpoint that cannot be used.
    """
    from neonext_ms.models import create_model

    weights, manifest = load_weights(Path(checkpoint))
    model = manifest["model"]
    arguments = {**model["overrides"], **overrides, "features_only": True}
    network = create_model(model["name"], model["num_classes"], seed=0, **arguments)
    weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    assign_weights(network, weights, str(checkpoint))
    return network.set_train(False)
