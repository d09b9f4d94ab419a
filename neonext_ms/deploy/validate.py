"""Accuracy of a trained model in whatever form it is deployed: of an exported file, that of the file itself."""

import math
from pathlib import Path

from neonext_ms.deploy.opening import open_model
from neonext_ms.errors import UserError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.evaluation.loader import validation_loader
from neonext_ms.runtime.ranks import join_ranks


def validate(
    model: Path, device: str = "auto", key: bytes | None = None, matmul_precision: str | None = None, **options
) -> dict:
    """Evaluate a .ckpt, .mindir or .onnx on a validation split, its own if none is named, with its own preprocessing.

    Args:
        model: of the file; key, matmul_precision: as for `open_model`.
        device: auto, CPU or Ascend.
        options: dataset, data_dir, batch_size, num_workers, max_bad_share, as for `validation_loader`.

    Returns:
        what `evaluate` does, and model, dataset, and unreadable (images that are left out, because they cannot be
        read).

    Raises:
        UserError: a model that cannot be used, a data set with other classes, or outputs that are no numbers.
    """
    ranks = join_ranks(device)
    opened = open_model(model, key, matmul_precision)
    loader = validation_loader(opened.card, ranks, **options)
    result = evaluate(opened, loader, ranks, threshold=opened.card.threshold)
    if not math.isfinite(result["loss"]):
        raise UserError(f"{model}: the network's outputs are not finite numbers: export it with float32 weights")
    source = loader.source
    return {
        "model": str(model),
        "dataset": source.name,
        **result,
        "unreadable": len(source) - result["images"],
    }
