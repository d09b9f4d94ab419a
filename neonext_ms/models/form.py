"""The form of a block: the paper's, and what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import nn

from neonext_ms.checks import whole_number
from neonext_ms.errors import UserError
from neonext_ms.models.mixers import DepthwiseConv, WindowedProduct
from neonext_ms.ops import Group, NeoCell, NeoCellTerms

MIXERS = {"neocell": NeoCell, "depthwise": DepthwiseConv, "wbmm": WindowedProduct}


@dataclass(frozen=True)
class BlockForm:
    """What a block is made of; without arguments the paper's. See `NeoNeXtSpec` for the arguments.

    Raises:
        UserError: parts that do not fit together.
    """

    mixer: str = "neocell"
    rank: int = 1
    group_width: int = 1
    gate: bool = False
    grn: bool = False

    def __post_init__(self):
        if self.mixer not in MIXERS:
            raise UserError(f"unknown mixer {self.mixer!r}: use one of {', '.join(MIXERS)}")
        for name in ("rank", "group_width"):
            whole_number(name, getattr(self, name), 1)
        if self.mixer != "neocell" and self.terms > 1:
            raise UserError(f"rank and group_width are of mixer=neocell, and the mixer is {self.mixer}: leave them out")

    @property
    def terms(self) -> int:
        """Pairs of blocks for every channel of the NeoCell."""
        return self.rank * self.group_width

    def channels(self, dim: int) -> int:
        """Channels of the NeoCell of a block of `dim`, or of what stands in its place."""
        return 2 * dim if self.gate else dim

    def make_mixer(self, groups: Sequence[Group], backend: str, init: str, rng: np.random.Generator) -> nn.Cell:
        """The NeoCell of a block, or what stands in its place, where the first group's block is kernel or window."""
        if self.mixer != "neocell":
            channels = sum(group.channels for group in groups)
            return MIXERS[self.mixer](channels, groups[0].left[0], init, rng)
        if self.terms > 1:
            return NeoCellTerms(groups, self.rank, self.group_width, backend=backend, init=init, seed=rng)
        return NeoCell(groups, backend=backend, init=init, seed=rng)


PAPER = BlockForm()
