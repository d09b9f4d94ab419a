"""What can be exported in which form, and how far the file's logits may be from the checkpoint's."""

from dataclasses import dataclass, field

import numpy as np

from neonext_ms.errors import UserError

WEIGHTS = ("float32", "float16")
# ONNX's operator sets: from that which MindSpore writes to the newest that every allowed onnx and onnxruntime knows.
OPSETS = range(11, 22)
# MindSpore splits anything larger into several files, and ONNX's format ends there.
LARGEST = {".mindir": 1 << 30, ".onnx": (1 << 31) - 1}

# Of the largest |logit|.
RELATIVE_LIMIT = 1e-5  # rounding in float32, when the order of additions is free
ONNX_LIMIT = 1e-4  # another runtime's arithmetic
TANH_LIMIT = 1e-2  # the tanh form of GELU
HALF_LIMIT = 3e-2  # rounding in float16


@dataclass(frozen=True)
class Form:
    """How a network is exported.

    Args:
        suffix: .mindir or .onnx.
        folded: the graph of `fold`; else the network as it was trained.
        gelu: "exact" or "tanh".
        weights: "float32" or "float16".
        key: to encrypt the file with, or None.
        opset: ONNX's operator set, of OPSETS; None for the first of them, and for MindIR.

    Raises:
        UserError: the format does not have this.
    """

    suffix: str
    folded: bool
    gelu: str
    weights: str
    key: bytes | None = field(repr=False)
    opset: int | None = None

    def __post_init__(self):
        from neonext_ms.deploy.fold.graph import GELUS

        if self.weights not in WEIGHTS:
            raise UserError(f"unknown weights {self.weights!r}: use one of {', '.join(WEIGHTS)}")
        if self.gelu not in GELUS:
            raise UserError(f"unknown GELU {self.gelu!r}: use one of {', '.join(GELUS)}")
        plain = (self.gelu, self.weights) == ("exact", "float32")
        if not self.folded and (self.suffix == ".onnx" or not plain):
            raise UserError("ONNX, the tanh GELU and float16 weights need the folded graph: leave folding on")
        if self.key and self.suffix == ".onnx":
            raise UserError("ONNX has no encryption, so the file would be readable: encrypt a .mindir file")
        if self.opset is not None and self.suffix != ".onnx":
            raise UserError(f"opset={self.opset} is of ONNX, a .mindir file has none: leave it out")
        if self.suffix == ".onnx":
            object.__setattr__(self, "opset", OPSETS[0] if self.opset is None else self.opset)
            if self.opset not in OPSETS:
                raise UserError(f"opset must be one of {OPSETS[0]} to {OPSETS[-1]}, got {self.opset}")

    @property
    def limit(self) -> float:
        """How far a file's logits may be from the checkpoint's, against the largest of them."""
        if self.weights == "float16":
            return HALF_LIMIT
        if self.gelu == "tanh":
            return TANH_LIMIT
        return ONNX_LIMIT if self.suffix == ".onnx" else RELATIVE_LIMIT

    def check_size(self, network, side: int, name: str):
        """Refuse what one file cannot hold.

        Args:
            network: to export.
            side: of the images, in pixels.
            name: of its checkpoint, for messages.

        Raises:
            UserError: it is too large; names a form that may do.
        """
        values = sum(parameter.size for parameter in network.get_parameters())
        if self.folded:
            values += _laid_out(network.spec, side)
        size, largest = values * np.dtype(self.weights).itemsize, LARGEST[self.suffix]
        if size >= largest:
            way_out = "ONNX, " if self.suffix == ".mindir" else ""
            raise UserError(
                f"{name} has {size / (1 << 30):.2f} GiB of {self.weights} weights, but one {self.suffix} "
                f"file holds less than {largest / (1 << 30):.0f} GiB: use {way_out}float16 weights or a smaller model"
            )


def _laid_out(spec, side: int) -> int:
    """Values in the matrices A and B of the blocks, which are laid out for every channel: (C, H, H) and (C, W, W)."""
    from neonext_ms.models.layers import check_input_size

    sizes = check_input_size(side, side, len(spec.dims))
    channels = map(spec.form.channels, spec.dims)
    return sum(depth * c * (h * h + w * w) for depth, c, (h, w) in zip(spec.depths, channels, sizes))
