"""The authors' PyTorch networks and ours: the same parameters under other names."""

import re

import numpy as np

# A batch counter of PyTorch's BatchNorm, without effect here: new statistics have a fixed share.
COUNTER = "num_batches_tracked"

_LINEAR = {"weight": "weight", "bias": "bias"}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_NEOCELL = {"weight_a.#": "left.#", "weight_b.#": "right.#"}
# Their module, ours, and their parameters by the names of ours. @ stands for a number that they count from 1 and we
# from 0, # for one that both count from 0.
_MODULES = [
    ("stem.conv", "stem.proj", _LINEAR),
    ("stem.norm", "stem.norm", _NORM),
    ("stage_@.#.ops.content.neocell", "stages.@.#.neocell", _NEOCELL),
    ("stage_@.#.ops.content.norm", "stages.@.#.norm", _NORM),
    ("stage_@.#.ops.content.fc_1", "stages.@.#.fc1", _LINEAR),
    ("stage_@.#.ops.content.fc_2", "stages.@.#.fc2", _LINEAR),
    ("stage_@.#.ops.content", "stages.@.#", {"layer_scale.gamma": "layer_scale"}),
    ("downsample_@.conv", "downsamples.@.proj", _LINEAR),
    ("downsample_@.neocell", "downsamples.@.neocell", _NEOCELL),
    ("downsample_@.norm_1", "downsamples.@.norm", _NORM),
    ("head.ln", "head.norm", _NORM),
    ("head.fc", "head.fc", _LINEAR),
]
_TO_OURS = [(f"{theirs}.{a}", f"{ours}.{b}") for theirs, ours, leaves in _MODULES for a, b in leaves.items()]
_TO_THEIRS = [(ours, theirs) for theirs, ours in _TO_OURS]


def our_name(name: str) -> str | None:
    """Of a parameter of the authors' network; None if it has none of their names."""
    return _translate(name, _TO_OURS, -1)


def official_name(name: str) -> str | None:
    """The authors' name of one of our parameters; None if it is not one of ours."""
    return _translate(name, _TO_THEIRS, 1)


def our_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape here of what the authors' network holds under this name: their 1 x 1 convolutions are matrices."""
    return shape[:2] if name.endswith("conv.weight") and shape[2:] == (1, 1) else shape


def official_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The other way round: shape that the authors' network has for this name of theirs."""
    return (*shape, 1, 1) if name.endswith("conv.weight") and len(shape) == 2 else shape


def official_state(values: dict[str, np.ndarray], counters: dict[str, int]) -> dict[str, np.ndarray]:
    """A state dict as the authors' network has it, of all our parameters in its order.

    Args:
        values: parameters by our names.
        counters: by the authors' names; 0 where one is not given.
    """
    state = {}
    for name, value in values.items():
        theirs = official_name(name)
        state[theirs] = value.reshape(official_shape(theirs, value.shape))
        if theirs.endswith(".running_var"):
            counter = theirs.replace("running_var", COUNTER)
            state[counter] = np.array(counters.get(counter, 0), np.int64)
    return state


def _translate(name: str, rules: list[tuple[str, str]], step: int) -> str | None:
    for source, target in rules:
        found = re.fullmatch(re.sub("[@#]", r"(\\d+)", source.replace(".", r"\.")), name)
        if found:
            for kind, number in zip(re.findall("[@#]", source), found.groups()):
                target = target.replace(kind, str(int(number) + step * (kind == "@")), 1)
            return target
    return None
