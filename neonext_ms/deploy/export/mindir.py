"""A network as MindIR, through MindSpore's exporter."""

from pathlib import Path

from neonext_ms.checkpoint.description import ENCRYPTION
from neonext_ms.deploy.export.limits import Form


def write_mindir(network, path: Path, shape: list[int | None], form: Form):
    """Write a network as MindIR.

    Args:
        network: NeoNeXt in evaluation, with a classifier; of the dense backend if it is not folded.
        path: of the file.
        shape: of the input, (N, c, S, S) float32; N None for any.
        form: folded or not, gelu, weights, key.

    Raises:
        UserError: what `fold` refuses.
    """
    import mindspore as ms

    from neonext_ms.deploy.fold.graph import fold

    if form.folded:
        network = fold(network, shape[-1], form.gelu, getattr(ms, form.weights), backend="dense")
    x = ms.Tensor(shape=shape, dtype=ms.float32)
    options = {"enc_key": form.key, "enc_mode": ENCRYPTION} if form.key else {}
    ms.export(network, x, file_name=str(path), file_format="MINDIR", **options)
