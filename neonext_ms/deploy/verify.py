"""Proof that an exported file computes what the checkpoint does: it is run in a new process, on its own.

A process that has just exported a network still holds the network; only a new one shows that the file is enough.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from neonext_ms.errors import UserError

# Of the largest |logit|: rounding in float32, when the order of additions is free.
RELATIVE_LIMIT = 1e-5

_NEW_PROCESS = "import sys; from neonext_ms.deploy.verify import run; run(*sys.argv[1:])"


def verify(mindir: Path, images: np.ndarray, logits: np.ndarray, batches: list[int], device: str) -> dict:
    """Run a MindIR in a new process and compare.

    Args:
        mindir: the file; the new process works, and leaves its files, in its folder.
        images: (n, 3, S, S) float32.
        logits: (n, K) float32, what the checkpoint says to them.
        batches: sizes of the batches to run one after another; they add up to n.
        device: "CPU" or "Ascend".

    Returns:
        images (n), largest_difference (of any logit), limit (RELATIVE_LIMIT x the largest |logit|).

    Raises:
        UserError: the file does not load or run, or its logits differ by more than the limit.
    """
    inputs, outputs = mindir.with_name("inputs.npz"), mindir.with_name("outputs.npy")
    np.savez(inputs, *np.split(images, np.cumsum(batches)[:-1]))
    _run_in_new_process(mindir, inputs, outputs, device)
    result = np.load(outputs)
    if result.shape != logits.shape:
        raise UserError(f"the exported file gives outputs of shape {result.shape}, the checkpoint {logits.shape}")
    difference = float(np.abs(result - logits).max())
    limit = RELATIVE_LIMIT * float(np.abs(logits).max())
    # Not "difference > limit", which is false when either is not a number.
    if not difference <= limit:
        raise UserError(
            f"the exported file's logits differ from the checkpoint's by {difference:.3g} on {len(images)} images, "
            f"more than {limit:.3g}: it was not kept"
        )
    return {"images": len(images), "largest_difference": difference, "limit": limit}


def _run_in_new_process(mindir: Path, inputs: Path, outputs: Path, device: str):
    # The package need not be installed: it may have been imported from the working directory, which is another one now.
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # Whatever told this process that it is one worker of several does not hold for the new one.
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("MS_", "RANK_"))}
    process = subprocess.run(
        [sys.executable, "-c", _NEW_PROCESS, mindir.name, inputs.name, outputs.name, device],
        cwd=mindir.parent,
        env={**alone, "PYTHONPATH": paths, "GLOG_v": os.environ.get("GLOG_v", "3")},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise UserError(f"the exported file does not load and run in a new process ({lines[-1]}): it was not kept")


def run(mindir: str, inputs: str, outputs: str, device: str):
    """What the new process does: run the file on every batch in inputs (.npz), write all logits to outputs (.npy)."""
    import mindspore as ms

    ms.set_device(device)
    graph = ms.nn.GraphCell(ms.load(mindir))
    with np.load(inputs) as batches:
        logits = [graph(ms.Tensor(batches[f"arr_{i}"])).asnumpy() for i in range(len(batches))]
    np.save(outputs, np.concatenate(logits))
