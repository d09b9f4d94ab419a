"""From a checkpoint to the network that it was saved from, and weights into networks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neonext_ms.checkpoint.card import ModelCard
from neonext_ms.checkpoint.fields import readable
from neonext_ms.checkpoint.folder import read_folder
from neonext_ms.checkpoint.store import Checkpoint, load_checkpoint
from neonext_ms.errors import UserError

if TYPE_CHECKING:
    from neonext_ms.models.neonext import NeoNeXt

HEAD = ("head.fc.weight", "head.fc.bias")  # the classifier
STEM = "stem.proj.weight"
HEAD_NORM = ("head.norm.gamma", "head.norm.beta")


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
    differences += [f"{readable(name)} is not part of {target}" for name in arrays if name not in own]
    for name in (name for name in own if name in arrays):
        value, expected = arrays[name], own[name]
        if value.shape != expected.shape or value.dtype != expected.dtype:
            differences.append(f"{name} is {value.shape} {value.dtype}, expected {expected.shape} {expected.dtype}")
    if differences:
        raise UserError(f"{source} does not fit {target}, {len(differences)} differences, the first: {differences[0]}")


def assign_pretrained(network, trained: Checkpoint, new_head: bool = False):
    """Set a network's parameters to those of a trained model, whose stem is fitted to another number of channels.

    Args:
        network: NeoNeXt; without a classifier, or without a head, it takes what it has.
        trained: whose weights fit it.
        new_head: leave its classifier as it is.

    Raises:
        UserError: the weights do not fit; names the first difference.
    """
    from neonext_ms.models.layers import Stem

    left_out = () if network.head and network.head.fc else HEAD if network.head else (*HEAD, *HEAD_NORM)
    weights = {name: value for name, value in trained.weights.items() if name not in left_out}
    had, wanted = trained.card.preprocess.channels, network.spec.in_chans
    if had != wanted and STEM in weights and weights[STEM].shape == (network.spec.dims[0], had * Stem.patch**2):
        weights[STEM] = fit_stem(weights[STEM], had, wanted)
    if new_head:
        weights |= {p.name: p.asnumpy() for p in network.get_parameters() if p.name in HEAD}
    assign_weights(network, weights, str(trained.path))


def fit_stem(weight: np.ndarray, channels: int, wanted: int) -> np.ndarray:
    """The stem's weight for images of another number of channels, as timm has it.

    For grey it is the sum over the channels: the same outputs as of the image in equal channels. Else the channels come
    in turn, scaled so that their sum stays as large.

    Args:
        weight: (dim, channels * 16), in the order (c, dy, dx).
        channels: of the images that it is for.
        wanted: channels that it shall be for.
    """
    planes = weight.reshape(len(weight), channels, -1)
    if wanted == 1:
        planes = planes.sum(1, keepdims=True)
    else:
        planes = planes[:, np.arange(wanted) % channels] * np.float32(channels / wanted)
    return planes.reshape(len(weight), -1)


def build_with(trained: Checkpoint, **overrides):
    """The network that a trained model was saved from, with its weights, in evaluation mode.

    Args:
        trained: from `load_trained`.
        overrides: arguments of `create_model` that do not change the weights, such as backend or shifts; with
            features_only the weights of the head are left out.

    Raises:
        UserError: its weights are not those of the network that its card describes.
    """
    refuse_larger(trained.card, trained.weights)
    network = trained.card.build(**overrides)
    assign_pretrained(network, trained)
    return described(network, trained.card)


def described(network, card: ModelCard):
    """The network with the `default_cfg` of what it was made from; class names only where it has as many classes."""
    from neonext_ms.models.registry import default_cfg

    names = card.class_names if network.num_classes == len(card.class_names) else None
    network.default_cfg = default_cfg(card.model.name, network, card.preprocess, names)
    return network


def with_kernels(network, card: ModelCard, kernels: Sequence[str], backend: str = "auto"):
    """(network, card) of the same trained model with blocks of other sizes; arguments as of `resample_network`."""
    from neonext_ms.models.resample import resample_network

    made = resample_network(network, kernels, backend).set_train(False)
    own = {"kernels": list(made.spec.kernels), "shifts": list(made.spec.shifts)}
    return made, replace(card, model=replace(card.model, overrides={**card.model.overrides, **own}))


def load_trained(path: str | Path) -> Checkpoint:
    """The weights and the card of a checkpoint or a model folder; errors as of `load_checkpoint` and `read_folder`."""
    path = Path(path).expanduser()
    return read_folder(path) if path.is_dir() else load_checkpoint(path, with_state=False)


def load_network(path: str | Path, **overrides) -> "tuple[NeoNeXt, ModelCard]":
    """(network, card) of a checkpoint or a model folder; arguments and errors as of `load_trained`, `build_with`."""
    trained = load_trained(path)
    return build_with(trained, **overrides), trained.card


def load_features(checkpoint: str | Path, **overrides) -> "NeoNeXt":
    """A trained network without its head: (N, c, H, W) to the outputs of all stages, (N, dims[i], H_i, W_i).

    Its `feature_info` tells channels and reduction of each; H and W need not be those that it was trained on. It is a
    Cell like any other: part of a larger network, it trains with it.

    Args:
        checkpoint: .ckpt file with its manifest, or a model folder.
        overrides: arguments of `create_model` that do not change the weights, such as backend or shifts.

    Raises:
        UserError: a checkpoint that cannot be used.
    """
    return load_network(checkpoint, **{**overrides, "features_only": True})[0]


def refuse_larger(card: ModelCard, weights: dict[str, np.ndarray]):
    """Before a network is built: a card can ask for one of any size, whatever the file beside it holds.

    Raises:
        UserError: the network has more weights than there are, or there is no such network.
    """
    spec, classes = card.spec(), card.model.num_classes
    blocks = [
        depth * (spec.mixer_size(i) + sum(inputs * outputs for inputs, outputs in spec.pointwise_sizes(i)))
        for i, depth in enumerate(spec.depths)
    ]
    least, there = sum(blocks) + classes * spec.dims[-1], sum(value.size for value in weights.values())
    if least > there:
        raise UserError(
            f"{card.source} holds {there} weights, but the {card.model.name} that its card describes has more than "
            f"{least}: they do not belong together"
        )
