"""A network as MindIR, through MindSpore's exporter."""

from pathlib import Path

from neonext_ms.deploy.artefact import ENCRYPTION


def write_mindir(network, path: Path, shape: list[int | None], graph: dict, key: bytes | None = None):
    """Write a network as MindIR.

    Args:
        network: NeoNeXt in evaluation, with a classifier; of the dense backend if it is not folded.
        path: of the file.
        shape: of the input, (N, c, S, S) float32; N None for any.
        graph: folded, gelu, weights, as in `export_model`.
        key: to encrypt the file with, or None.

    Raises:
        UserError: what `fold` refuses.
    """
    import mindspore as ms

    from neonext_ms.deploy.fold.graph import fold

    if graph["folded"]:
        network = fold(network, shape[-1], graph["gelu"], getattr(ms, graph["weights"]), backend="dense")
    x = ms.Tensor(shape=shape, dtype=ms.float32)
    options = {"enc_key": key, "enc_mode": ENCRYPTION} if key else {}
    ms.export(network, x, file_name=str(path), file_format="MINDIR", **options)
