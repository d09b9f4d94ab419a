"""Training that begins with the weights of another run."""

from pathlib import Path

from neonext_ms.checkpoint.network import assign_pretrained, load_trained
from neonext_ms.checkpoint.store import Checkpoint
from neonext_ms.errors import UserError
from neonext_ms.training.consistency import digest_of_arrays


def load_pretrained(network, path: Path, class_names: list[str]) -> tuple[str, str]:
    """Take a checkpoint's weights; the classifier stays as it is, freshly drawn, where the classes are others.

    The weights fit any resolution and any shifts: a network for 384 pixels is given shifts of its own and loads what
    was trained at 224.

    Args:
        network: NeoNeXt with as many outputs as there are class names.
        path: of the checkpoint, or the model folder.
        class_names: of the data set to train on.

    Returns:
        one line that says what was done, and what tells these weights from others.

    Raises:
        UserError: no checkpoint, or one whose weights do not fit otherwise.
    """
    trained = load_trained(path)
    card = trained.card
    pixels, shifts = card.preprocess.image_size, card.model.overrides.get("shifts")
    said = f"begins with {path} ({card.model.name}, {pixels} pixels" + (f", shifts {shifts})" if shifts else ")")
    new_head = list(card.class_names) != list(class_names)
    if new_head:
        said += f"; the head is drawn anew: {len(class_names)} classes, not those {len(card.class_names)}"
    before, now = card.preprocess.channels, network.spec.in_chans
    if before != now:
        how = "is summed over its channels" if now == 1 else "takes its channels in turn"
        said += f"; the stem, for {before} channels, {how} for {now}"
    assign_pretrained(network, trained, new_head)
    return said, digest_of_weights(trained)


def digest_of_weights(trained: Checkpoint) -> str:
    """SHA-256 of a trained model's weights, in whatever file they are."""
    return digest_of_arrays(trained.weights).hex()


def freeze_stages(network, count: int):
    """Make the stem and the first stages, with the down-samplings between them, a constant function.

    They get no gradients, and their BatchNorms use the running statistics and keep them. (Nothing in them is dropped
    either: see `drop_path_rates`.)

    Args:
        network: NeoNeXt, before its training step is made.
        count: of stages; 0 leaves everything trainable.

    Raises:
        UserError: more stages than there are.
    """
    from neonext_ms.models.layers import BatchNorm

    depths = network.spec.depths
    if count > len(depths):
        raise UserError(f"freeze_stages (={count}) is more than the {len(depths)} stages of the network")
    if count == 0:
        return
    for part in (network.stem, *list(network.stages)[:count], *list(network.downsamples)[: count - 1]):
        for parameter in part.get_parameters():
            parameter.requires_grad = False
        for _, cell in part.cells_and_names():
            if isinstance(cell, BatchNorm):
                cell.use_batch_statistics = False
