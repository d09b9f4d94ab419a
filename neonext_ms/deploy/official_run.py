"""The authors' own PyTorch code beside ours: one sample through both, in processes of their own.

Needs PyTorch, ninja, a C++ compiler and a clone of the authors' repository (github.com/HapKoM/neonext). Their code is
run as it is, but for its set-up of a CUDA compiler.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

from neonext_ms.deploy.torch_file import torch_bytes
from neonext_ms.errors import UserError

# Of the largest |logit|: another order of additions through some twenty blocks.
RELATIVE_LIMIT = 1e-4
SAMPLES = 2

_NEW_PROCESS = "import sys; from neonext_ms.deploy.official_run import run; run(*sys.argv[1:])"
_SOURCE = Path("ptvision", "models", "neonext", "csrc", "neocell.cpp")


def compare(network, state: dict[str, np.ndarray], facts: dict, clone: Path) -> dict:
    """Logits of a network and of the authors' network with the same weights, on noise.

    Args:
        network: ours, with its weights set.
        state: the same weights under the authors' names.
        facts: the manifest's model and preprocess.
        clone: of the authors' repository.

    Returns:
        samples, largest_difference, limit (RELATIVE_LIMIT x the largest |logit|), torch (its version).

    Raises:
        UserError: the authors' code does not run, or its logits differ by more than the limit.
    """
    import mindspore as ms

    if not (clone / _SOURCE).is_file():
        raise UserError(f"{clone} is not a clone of the authors' repository: it has no {_SOURCE}")
    if importlib.util.find_spec("torch") is None:
        raise UserError("comparing with the authors' code needs PyTorch: pip install torch")
    side = facts["preprocess"]["image_size"]
    x = np.random.default_rng(0).standard_normal((SAMPLES, 3, side, side)).astype(np.float32)
    ms.set_context(mode=ms.GRAPH_MODE)
    ours = network.set_train(False)(ms.Tensor(x)).asnumpy()
    with tempfile.TemporaryDirectory(prefix="neonext_ms-") as name:
        folder = Path(name)
        np.save(folder / "x.npy", x)
        (folder / "weights.pt").write_bytes(torch_bytes(state))
        (folder / "arguments.json").write_text(json.dumps(_arguments(network)))
        _run_in_new_process(folder, clone.resolve())
        theirs = np.load(folder / "logits.npy")
        version = (folder / "version.txt").read_text()
    difference, limit = float(np.abs(ours - theirs).max()), RELATIVE_LIMIT * float(np.abs(theirs).max())
    if not difference <= limit:  # also where either is not a number
        raise UserError(
            f"the authors' network gives other logits, by {difference:.3g}, more than {limit:.3g}: nothing was written"
        )
    return {"samples": SAMPLES, "largest_difference": difference, "limit": limit, "torch": version}


def _arguments(network) -> dict:
    """Of the authors' NeoNeXt, for the structure of ours."""
    spec = network.spec
    uniform = len(set(spec.kernels)) == 1
    if not uniform and spec.kernels != ("4+7", "4+7", "7", "7") or len(spec.depths) != 4 or spec.in_channels != 3:
        raise UserError(f"the authors' code has no network of kernels {spec.kernels}, in_channels {spec.in_channels}")
    return {
        "num_classes": network.num_classes,
        "per_stage_layers": list(spec.depths),
        "dims": list(spec.dims),
        "shifts": list(spec.shifts),
        "layer_scale_init_value": spec.layer_scale,
        "linear_bias": spec.linear_bias,
        "kernel_spec": spec.kernels[0] if uniform else "default",
    }


def _run_in_new_process(folder: Path, clone: Path):
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-c", _NEW_PROCESS, str(clone)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise UserError(f"the authors' code does not run here ({lines[-1]}): nothing was written")


def load_official(clone: Path, build: Path, **arguments):
    """The authors' NeoNeXt, a torch.nn.Module; their C++ operator is compiled in the folder build (half a minute)."""
    from torch.utils import cpp_extension

    class Builder:
        """In place of theirs, which insists on CUDA."""

        def __init__(self, **_):
            pass

        def load(self):
            build.mkdir(exist_ok=True)
            return cpp_extension.load("neocell", [str(clone / _SOURCE)], build_directory=str(build))

    builder = types.ModuleType("extension_builder.builder")
    builder.CUDAOpBuilder = Builder
    sys.modules["extension_builder.builder"] = builder
    sys.path.insert(0, str(clone))
    from ptvision.models.neonext.neonext import NeoNeXt

    return NeoNeXt(**arguments)


def run(clone: str):
    """What the new process does: weights.pt and x.npy of the working directory to logits.npy."""
    import torch

    folder = Path.cwd()
    network = load_official(Path(clone), folder / "build", **json.loads((folder / "arguments.json").read_text()))
    # Strict: every parameter of theirs comes from us.
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(np.load(folder / "x.npy")))
    np.save(folder / "logits.npy", logits.numpy())
    (folder / "version.txt").write_text(torch.__version__)
