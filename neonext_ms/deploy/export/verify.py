"""Proof that an exported file computes what the checkpoint does: it is run in a new process, on its own.

A process that has just exported a network still holds the network; only a new one shows that the file is enough.
"""

import sys
from pathlib import Path

import numpy as np

from neonext_ms.deploy.export.limits import RELATIVE_LIMIT
from neonext_ms.errors import UserError
from neonext_ms.evaluation.exported import open_mindir, open_onnx
from neonext_ms.runtime.fresh_process import FreshProcessError, run_in_fresh_process


def verify(
    model: Path,
    images: np.ndarray,
    logits: np.ndarray,
    batches: list[int],
    device: str,
    relative_limit: float = RELATIVE_LIMIT,
    key: bytes | None = None,
) -> dict:
    """Run an exported file in a new process and compare.

    Args:
        model: .mindir or .onnx file; the new process works, and leaves its files, in its folder.
        images: (n, C, S, S) float32.
        logits: (n, K) float32, what the checkpoint says to them.
        batches: sizes of the batches to run one after another; they add up to n.
        device: "CPU" or "Ascend", where a MindIR runs; an ONNX runs on the CPU.
        relative_limit: of the difference, against the largest |logit|.
        key: of an encrypted file.

    Returns:
        images (n), largest_difference (of any logit), limit (relative_limit x the largest |logit|).

    Raises:
        UserError: the file does not load or run, or its logits differ by more than the limit.
    """
    inputs, outputs = model.with_name("inputs.npz"), model.with_name("outputs.npy")
    np.savez(inputs, *np.split(images, np.cumsum(batches)[:-1]))
    arguments = (model.name, inputs.name, outputs.name, device)
    try:
        run_in_fresh_process(run, *arguments, folder=model.parent, standard_input=key.hex() if key else "")
    except FreshProcessError as error:
        why = f"the exported file does not load and run in a new process ({error})"
        raise UserError(f"{why}: it was not kept") from None
    result = np.load(outputs)
    if result.shape != logits.shape:
        raise UserError(f"the exported file gives outputs of shape {result.shape}, the checkpoint {logits.shape}")
    difference = float(np.abs(result - logits).max())
    limit = relative_limit * float(np.abs(logits).max())
    # An infinite logit makes the limit infinite, and one that is no number any comparison false.
    if not (np.isfinite(result).all() and np.isfinite(logits).all() and difference <= limit):
        raise UserError(
            f"the exported file's logits differ from the checkpoint's by {difference:.3g} on {len(images)} images, "
            f"more than {limit:.3g}: it was not kept"
        )
    return {"images": len(images), "largest_difference": difference, "limit": limit}


def run(model: str, inputs: str, outputs: str, device: str):
    """What the new process does: run the file on every batch in inputs (.npz), write all logits to outputs (.npy).

    An encrypted file's key comes from the standard input, in hexadecimal digits.
    """
    key = bytes.fromhex(sys.stdin.read())
    if model.endswith(".onnx"):
        network = open_onnx(model)
    else:
        import mindspore as ms

        ms.set_device(device)
        network = open_mindir(model, key)
    with np.load(inputs) as batches:
        logits = [network(batches[f"arr_{i}"]) for i in range(len(batches))]
    np.save(outputs, np.concatenate(logits))
