"""Networks by name, with fresh weights or those of a trained model."""

from pathlib import Path

from neonext_ms.checkpoint.network import assign_pretrained, load_trained, refuse_larger
from neonext_ms.errors import UserError


def create_model(
    name: str,
    num_classes: int | None = None,
    seed: int | None = None,
    *,
    pretrained: str | Path | None = None,
    **overrides,
):
    """Build a network.

    Args:
        name: one of `list_models()`. "neonext_t" is the paper's Table 1, "neonext_t_v2" the released weights' network.
        num_classes: outputs; 0 for pooled features. None for those of pretrained, or 1000. A classifier of another
            number than pretrained has is drawn anew.
        seed: of the initial weights; the same seed gives the same weights on every machine.
        pretrained: checkpoint (.ckpt) or model folder whose weights the network gets; it is then in evaluation mode.
        overrides: fields of `NeoNeXtSpec` (shifts, kernels, ...) or arguments of `NeoNeXt` (drop_path_rate,
            features_only, backend, init); those that pretrained was made with need not be given.

    Raises:
        UserError: an unknown name or override, or weights that do not fit the network.
    """
    from neonext_ms.models import create_model as build

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
    return network.set_train(False)
