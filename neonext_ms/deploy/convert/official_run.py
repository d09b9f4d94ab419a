"""The authors' own PyTorch code beside ours: the same samples through both, in processes of their own.

Needs PyTorch, ninja, a C++ compiler and a clone of the authors' repository (github.com/HapKoM/neonext).
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from neonext_ms.deploy.convert.authors import AuthorsCode, check_clone, network_arguments
from neonext_ms.deploy.convert.torch_file import torch_bytes
from neonext_ms.errors import UserError
from neonext_ms.runtime.fresh_process import FreshProcessError, run_in_fresh_process

# Of the largest |logit|: another order of additions through some twenty blocks.
RELATIVE_LIMIT = 1e-4
SAMPLES = 2


def compare(network, state: dict[str, np.ndarray], side: int, clone: Path) -> dict:
    """Logits of a network and of the authors' network with the same weights, on noise.

    Args:
        network: ours, with its weights set.
        state: the same weights under the authors' names.
        side: of the samples, in pixels.
        clone: of the authors' repository.

    Returns:
        samples, largest_difference, limit (RELATIVE_LIMIT x the largest |logit|), torch (its version).

    Raises:
        UserError: the authors' code does not run, or its logits differ by more than the limit.
    """
    import mindspore as ms

    check_clone(clone)
    arguments = network_arguments(network)
    x = np.random.default_rng(0).standard_normal((SAMPLES, 3, side, side)).astype(np.float32)
    ms.set_context(mode=ms.GRAPH_MODE)
    ours = network.set_train(False)(ms.Tensor(x)).asnumpy()
    with tempfile.TemporaryDirectory(prefix="neonext_ms-") as name:
        folder = Path(name)
        np.save(folder / "x.npy", x)
        (folder / "weights.pt").write_bytes(torch_bytes(state))
        (folder / "arguments.json").write_text(json.dumps(arguments))
        try:
            run_in_fresh_process(run, str(clone.resolve()), folder=folder)
        except FreshProcessError as error:
            raise UserError(f"the authors' code does not run here ({error}): nothing was written") from None
        theirs = np.load(folder / "logits.npy")
        version = (folder / "version.txt").read_text()
    difference, limit = float(np.abs(ours - theirs).max()), RELATIVE_LIMIT * float(np.abs(theirs).max())
    if not difference <= limit:  # also where either is not a number
        raise UserError(
            f"the authors' network gives other logits, by {difference:.3g}, more than {limit:.3g}: nothing was written"
        )
    return {"samples": SAMPLES, "largest_difference": difference, "limit": limit, "torch": version}


def run(clone: str):
    """What the new process does: weights.pt and x.npy of the working directory to logits.npy."""
    import torch

    network = AuthorsCode(Path(clone)).build(json.loads(Path("arguments.json").read_text()), "weights.pt")
    with torch.no_grad():
        logits = network(torch.from_numpy(np.load("x.npy")))
    np.save("logits.npy", logits.numpy())
    Path("version.txt").write_text(torch.__version__)
