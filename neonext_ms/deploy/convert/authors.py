"""The authors' PyTorch code, run from the user's clone of their repository: none of it is part of this package."""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import types
import warnings
from pathlib import Path

from neonext_ms.errors import NotInstalled, UserError

_PACKAGE = Path("ptvision") / "models" / "neonext"


def check_clone(folder: Path):
    """Raises UserError unless the folder holds what `AuthorsCode` imports, and PyTorch is installed."""
    names = ("neonext.py", "neonext_utils.py", "builder.py")
    missing = [name for name in names if not (folder / _PACKAGE / name).exists()]
    if missing:
        raise UserError(
            f"{folder} is not a clone of the authors' repository: it has no {_PACKAGE / missing[0]}; "
            "clone HapKoM/neonext from GitHub and give its folder"
        )
    if importlib.util.find_spec("torch") is None:
        raise NotInstalled("the authors' PyTorch code", "torch")


def network_arguments(network) -> dict:
    """Arguments with which `AuthorsCode.build` makes their network of the structure of ours, a NeoNeXt.

    Raises:
        UserError: their code has no such network.
    """
    spec = network.spec
    spec.refuse_other_forms("network of the authors' code")
    uniform = len(set(spec.kernels)) == 1
    if not uniform and spec.kernels != ("4+7", "4+7", "7", "7") or len(spec.depths) != 4 or spec.in_chans != 3:
        raise UserError(f"the authors' code has no network of kernels {spec.kernels}, in_chans {spec.in_chans}")
    return {
        "num_classes": network.num_classes,
        "per_stage_layers": list(spec.depths),
        "dims": list(spec.dims),
        "shifts": list(spec.shifts),
        "layer_scale_init_value": spec.layer_scale,
        "linear_bias": spec.linear_bias,
        "kernel_spec": spec.kernels[0] if uniform else "default",
    }


class AuthorsCode:
    """Their operator and their networks. For a process of its own: it changes what Python imports.

    Args:
        folder: the clone; its C++ extension is compiled on first use into PyTorch's own cache (half a minute).
    """

    def __init__(self, folder: Path):
        # Their own builder wants CUDA; PyTorch's builds the same source for the CPU.
        builder = types.ModuleType("extension_builder.builder")
        builder.CUDAOpBuilder = _Builder
        sys.modules["extension_builder"] = types.ModuleType("extension_builder")
        sys.modules["extension_builder.builder"] = builder
        sys.path.insert(0, str(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # theirs was written for an older PyTorch
            self._networks = importlib.import_module("ptvision.models.neonext.neonext")
            self._utils = importlib.import_module("ptvision.models.neonext.neonext_utils")

    def cell(self, spec: str, channels: int, shift: int):
        """Their NeoCell, (N, C, H, W) to the same."""
        return self._utils.NeoCellCPP(self._utils.get_kernel_spec(spec, channels, shift))

    def network(self, model: str):
        """Their network of that name with their defaults: the paper's variant, 1000 classes."""
        if not hasattr(self._networks, model):
            raise UserError(f"the authors have no network {model!r}: use neonext_t, _s, _b, _l or _xl with --authors")
        with contextlib.redirect_stdout(io.StringIO()):  # they print their settings
            return getattr(self._networks, model)()

    def build(self, arguments: dict, state):
        """Their network for evaluation.

        Args:
            arguments: from `network_arguments`.
            state: file of its state dict, as torch.load takes it. Strict: every parameter comes from there.
        """
        import torch

        with contextlib.redirect_stdout(io.StringIO()):
            network = self._networks.NeoNeXt(**arguments)
        network.load_state_dict(torch.load(state, weights_only=True))
        return network.eval()


class _Builder:
    """As much of their builder as importing their package takes."""

    def __init__(self, name: str, src_root: str):
        self.name, self.src_root = name, src_root

    def load(self):
        from torch.utils.cpp_extension import load

        sources = [os.path.join(self.src_root, source) for source in self.sources()]
        return load(f"{self.name}_cpp_module", sources, extra_cflags=["-O3"])
