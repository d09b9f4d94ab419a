"""NeoCell as a network layer (paper, section 3)."""

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn

from neonext_ms.errors import UserError
from neonext_ms.ops.backend import backend_reason, compiled
from neonext_ms.ops.dense import DenseNeoCell
from neonext_ms.ops.formulation import Formulation
from neonext_ms.ops.groups import Group, output_size
from neonext_ms.ops.init import neo_init, normal_init
from neonext_ms.ops.patchwise import PatchwiseNeoCell

INITS = ("neo", "normal", "identity")
BACKENDS = ("auto", "fused", "dense", "patchwise")


class NeoCell(nn.Cell):
    """Y[n, c] = A[c] @ X[n, c] @ B[c] (+ bias[c]) with block-diagonal A and B, one small block a channel and side.

    The same weights serve planes of any size: a block is repeated along the diagonal, truncated at the lower right
    edge, and wrapped at the upper left one where its channel is shifted.

    Args:
        groups: channel groups, or a spec's `parse_spec("4+7", channels, shift)`.
        has_bias: add one learnable value a channel (the paper's optional bias; the released networks have none).
        backend: "fused" (the compiled kernel: on a CPU, with a C++ compiler; on an Ascend 910B or 910_93, with the
            package of `ascend_kernels/`), "dense" (block-diagonal matrices and two matmuls; portable, exportable),
            "patchwise" (the paper's Eq. 1, slow) or "auto" (fused where it is available, else dense, with one warning
            that says why). All agree in forward and gradients.
        init: "neo" (NeoInit, section 3.7), "identity" (NeoInit without its noise) or "normal" (the ablation's baseline,
            section 4.2).
        seed: of the initial values: an int, a NumPy Generator to draw from, or None for NumPy's global generator,
            which `mindspore.set_seed` seeds.

    Inputs:
        x: (N, C, H, W), float32 or float16; bfloat16 on an NPU. Parameters of another type are cast to it, except by
            the compiled kernels, which take them as they are and sum in float32. An input that the kernels do not
            serve (on an NPU: float32, planes one pixel wide or above 96 x 96) takes "dense", with one warning.

    Outputs:
        (N, C, H', W') with H' = floor(H * h_out / h_in), W' = floor(W * w_out / w_in); type of x.

    Raises:
        UserError (a ValueError): groups that disagree on the output size, an unknown backend or init, "fused" where
            there is none, an input with another number of channels, or one that gives an empty output.

    Parameters are named left.<group> (C_g, h_out, h_in), right.<group> (C_g, w_in, w_out) and bias (C,).
    """

    def __init__(self, groups: Sequence[Group], has_bias=False, backend="auto", init="neo", seed=None):
        super().__init__()
        self.groups = _checked_groups(groups)
        self.fused, self.portable = formulations(self.groups, has_bias, backend)
        self.backend = "fused" if self.fused else "dense" if backend == "auto" else backend
        self.backend_reason = backend_reason(backend)
        self.channels = self.portable.channels
        rng = generator(seed)
        self.left = ParameterTuple(fresh_blocks(self.groups, "left", init, rng))
        self.right = ParameterTuple(fresh_blocks(self.groups, "right", init, rng))
        self.bias = Parameter(Tensor(np.zeros(self.channels, np.float32)), name="bias") if has_bias else None

    def __repr__(self):
        groups = ", ".join(map(str, self.groups))
        return f"{type(self).__name__}({groups}, backend={self.backend!r})"

    def construct(self, x):
        self.portable.check(x)  # before a compiled operator would fail
        if self.fused is not None and self.fused.serves(x):
            return self.fused(x, self.left, self.right, self.bias)
        return self.portable(x, self.left, self.right, self.bias)


def _checked_groups(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups as a tuple; UserError unless they give one output size for every input."""
    groups = tuple(groups)
    if not groups or not all(isinstance(group, Group) for group in groups):
        raise UserError(f"NeoCell needs a list of Groups, for example parse_spec('4+7', 96, shift=1), got {groups!r}")
    # Outputs agree for every input when they agree for one that all blocks divide.
    h = int(np.prod([group.left[1] for group in groups]))
    w = int(np.prod([group.right[0] for group in groups]))
    output_size(groups, h, w)
    return groups


def formulations(groups: Sequence[Group], has_bias: bool, backend: str) -> tuple[Formulation | None, Formulation]:
    """The compiled formulation that a backend asks for, None without one, and the one for all that it does not serve.

    Raises:
        UserError: an unknown backend, or "fused" where there is none.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown NeoCell backend {backend!r}: use one of {', '.join(BACKENDS)}")
    fused = compiled("neocell", backend)
    portable = PatchwiseNeoCell if backend == "patchwise" else DenseNeoCell
    return fused(groups, has_bias) if fused else None, portable(groups, has_bias)


def fresh_blocks(groups: Sequence[Group], side: str, init: str, rng: np.random.Generator, first=0) -> list[Parameter]:
    """Freshly initialised blocks of one side, a parameter for each group, numbered from `first` on.

    Raises:
        UserError: an unknown init.
    """
    if init not in INITS:
        raise UserError(f"unknown NeoCell initialisation {init!r}: use one of {', '.join(INITS)}")
    parameters = []
    for i, group in enumerate(groups, first):
        rows, cols = getattr(group, side)
        if init != "normal":
            value = neo_init(group.channels, rows, cols, rng, noise=float(init == "neo"))
        else:
            value = normal_init(group.channels, rows, cols, rng, outputs=rows if side == "left" else cols)
        parameters.append(Parameter(Tensor(value), name=f"{side}.{i}"))
    return parameters


def generator(seed) -> np.random.Generator:
    """A generator from an int, a generator, or NumPy's global state."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(np.random.randint(2**31) if seed is None else seed)
