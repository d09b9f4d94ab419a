"""Proof that an exported file computes what the checkpoint does: it is run in a new process, on its own.

A process that has just exported a network still holds the network; only a new one shows that the file is enough.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from neonext_ms.deploy.artefact import open_mindir, open_onnx
from neonext_ms.errors import UserError

# Of the largest |logit|.
RELATIVE_LIMIT = 1e-5  # rounding in float32, when the order of additions is free
ONNX_LIMIT = 1e-4  # another runtime's arithmetic
TANH_LIMIT = 1e-2  # the tanh form of GELU
HALF_LIMIT = 3e-2  # rounding in float16

_NEW_PROCESS = "import sys; from neonext_ms.deploy.export.verify import run; run(*sys.argv[1:])"


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
        images: (n, 3, S, S) float32.
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
    _run_in_new_process(model, inputs, outputs, device, key)
    result = np.load(outputs)
    if result.shape != logits.shape:
        raise UserError(f"the exported file gives outputs of shape {result.shape}, the checkpoint {logits.shape}")
    difference = float(np.abs(result - logits).max())
    limit = relative_limit * float(np.abs(logits).max())
    # Not "difference > limit", which is false when either is not a number.
    if not difference <= limit:
        raise UserError(
            f"the exported file's logits differ from the checkpoint's by {difference:.3g} on {len(images)} images, "
            f"more than {limit:.3g}: it was not kept"
        )
    return {"images": len(images), "largest_difference": difference, "limit": limit}


def _run_in_new_process(model: Path, inputs: Path, outputs: Path, device: str, key: bytes | None):
    # The package need not be installed: it may have been imported from the working directory, which is another one now.
    root = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # Whatever told this process that it is one worker of several does not hold for the new one.
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("MS_", "RANK_"))}
    process = subprocess.run(
        [sys.executable, "-c", _NEW_PROCESS, model.name, inputs.name, outputs.name, device],
        cwd=model.parent,
        input=key.hex() if key else "",  # neither its arguments nor its environment, which other programs can see
        env={**alone, "PYTHONPATH": paths, "GLOG_v": os.environ.get("GLOG_v", "3")},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise UserError(f"the exported file does not load and run in a new process ({lines[-1]}): it was not kept")


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
