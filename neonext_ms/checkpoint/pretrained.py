"""Networks by name, with fresh weights or those of a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING

from neonext_ms.checkpoint.network import assign_pretrained, described, load_trained, refuse_larger
from neonext_ms.checks import whole_number
from neonext_ms.errors import UserError

if TYPE_CHECKING:
    from neonext_ms.models.neonext import NeoNeXt


def create_model(
    name: str,
    num_classes: int | None = None,
    seed: int | None = None,
    *,
    pretrained: str | Path | None = None,
    **overrides,
) -> "NeoNeXt":
    """Build a network.

    Args:
        name: one of `list_models()`. "neonext_t" is the paper's Table 1, "neonext_t_v2" the released weights' network,
            "neonext_t_v3" that with a gate.
        num_classes: outputs; 0 for pooled features. None for those of pretrained, or 1000. A classifier of another
            number than pretrained has is drawn anew.
        seed: of the initial weights; the same seed gives the same weights on every machine.
        pretrained: checkpoint (.ckpt) or model folder whose weights the network gets.
        overrides: fields of `NeoNeXtSpec` (in_chans, shifts, kernels, ...) or arguments of `NeoNeXt` (drop_path_rate,
            features_only, out_indices, backend, init); those that pretrained was made with need not be given. For
            another in_chans than it has, its stem is fitted as timm does: summed for grey, else repeated in turn.

    Returns:
        the network in evaluation mode, with `default_cfg`: input size, mean, std and others by timm's names.

    Raises:
        UserError: an unknown name or override, or weights that do not fit the network.
    """
    from neonext_ms.models import create_model as build

    if num_classes is not None:
        num_classes = whole_number("num_classes", num_classes, 0)
    if pretrained is None:
        return build(name, 1000 if num_classes is None else num_classes, seed, **overrides)
    trained = load_trained(pretrained)
    model = trained.card.model
    if name != model.name:
        raise UserError(f"{pretrained} holds a {model.name}, not a {name}: create that one")
    classes = model.num_classes if num_classes is None else num_classes
    refuse_larger(trained.card, trained.weights)
    network = build(name, classes, seed, **{**model.overrides, **overrides})
    assign_pretrained(network, trained, new_head=classes != model.num_classes)
    return described(network, trained.card)
