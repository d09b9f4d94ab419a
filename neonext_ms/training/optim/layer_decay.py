"""Learning rates that fall from the head to the stem, for fine-tuning (https://arxiv.org/abs/2106.08254)."""

from collections.abc import Sequence

from neonext_ms.errors import UserError


def layer_of(name: str, depths: Sequence[int]) -> int:
    """Depth of a parameter: 0 in the stem, a layer a block, then the head; a down-sampling counts to the next block."""
    part, _, rest = name.partition(".")
    if part == "stem":
        return 0
    if part == "head":
        return sum(depths) + 1
    stage, _, rest = rest.partition(".")
    if part == "downsamples":
        return 1 + sum(depths[: int(stage) + 1])
    if part == "stages":
        return 1 + sum(depths[: int(stage)]) + int(rest.partition(".")[0])
    raise UserError(f"parameter {name} belongs to no layer: layer_decay needs the parameters of a NeoNeXt")


def layer_lr_scales(parameters, depths: Sequence[int], decay: float) -> tuple[float, ...]:
    """What the learning rate of each parameter is multiplied with: 1 in the head, `decay` times less a layer below.

    Args:
        parameters: of a NeoNeXt.
        depths: blocks of its stages.
        decay: in (0, 1]; 1 is the same rate everywhere.
    """
    return tuple(decay ** (sum(depths) + 1 - layer_of(p.name, depths)) for p in parameters)
