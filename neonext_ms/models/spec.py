"""What a NeoNeXt is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from neonext_ms.checks import plain, whole_number
from neonext_ms.errors import UserError
from neonext_ms.models.form import PAPER, BlockForm
from neonext_ms.ops import parse_spec


@dataclass(frozen=True)
class NeoNeXtSpec:
    """What a NeoNeXt is made of.

    Args:
        depths: blocks of each stage.
        dims: channels of each stage.
        kernels: block sizes of each stage's NeoCells, as `parse_spec` reads them ("4+7").
        shifts: shift step of each stage's NeoCells.
        linear_bias: biases in the blocks' pointwise layers.
        layer_scale: initial value of the layer scale; 0 is none.
        in_chans: channels of the image.
        mixer: what mixes a block's pixels: "neocell", or to compare with it "depthwise" (a convolution of k x k) or
            "wbmm" (windows of k x k that divide the plane), with one k of `kernels` a stage, and without shifts.
        rank, group_width: terms of the NeoCells for every input channel, and input channels of every output channel;
            see `NeoCellTerms`.
        gate: the NeoCell is behind fc1, and half of what fc1 gives multiplies its output; see `GatedMLP`.
        grn: global response normalisation before fc2, as in ConvNeXt V2; see `GRN`.

    Raises:
        UserError (a ValueError): values that make no network.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    kernels: tuple[str, ...] = ("4+7", "4+7", "7", "7")
    shifts: tuple[int, ...] = (1, 1, 1, 0)
    linear_bias: bool = False
    layer_scale: float = 0.0
    in_chans: int = 3
    mixer: str = "neocell"
    rank: int = 1
    group_width: int = 1
    gate: bool = False
    grn: bool = False

    def __post_init__(self):
        for field in ("depths", "dims", "kernels", "shifts"):
            value = tuple(plain(entry) for entry in getattr(self, field))
            object.__setattr__(self, field, value)
            if len(value) != len(self.depths) or not value:
                raise UserError(f"{field} must have one entry for each stage, got {value} for depths {self.depths}")
        object.__setattr__(self, "in_chans", whole_number("in_chans", self.in_chans, 1))
        if min(self.depths) < 1 or min(self.dims) < 1:
            raise UserError(
                f"a stage needs at least one block and one channel, got depths {self.depths}, dims {self.dims}"
            )

        self._check_mixer()

    def _check_mixer(self):
        if self.form.mixer == "neocell":
            return
        if any(self.shifts):
            zeros = (0,) * len(self.depths)
            raise UserError(f"mixer={self.mixer} has no shifts, got {self.shifts}: give shifts {zeros}")
        for kernel in self.kernels:
            if not str(kernel).isdecimal() or self.mixer == "depthwise" and int(kernel) % 2 == 0:
                odd = "an odd " * (self.mixer == "depthwise") or "one "
                raise UserError(f"mixer={self.mixer} takes {odd}number a stage in kernels, got {self.kernels}")

    @property
    def form(self) -> BlockForm:
        """That of all blocks."""
        return BlockForm(self.mixer, self.rank, self.group_width, self.gate, self.grn)

    def stage_groups(self, stage: int):
        """Channel groups of the NeoCells in a stage (0-based)."""
        return parse_spec(self.kernels[stage], self.form.channels(self.dims[stage]), self.shifts[stage])

    def mixer_size(self, stage: int) -> int:
        """Weights of the NeoCell of a block in a stage (0-based), or of what stands in its place."""
        if self.mixer == "neocell":
            blocks = (g.channels * (g.left[0] * g.left[1] + g.right[0] * g.right[1]) for g in self.stage_groups(stage))
            return self.form.terms * sum(blocks)
        (group,) = self.stage_groups(stage)
        side = group.left[0] if self.mixer == "depthwise" else 2 * group.left[0] - 1
        return group.channels * side**2

    def pointwise_sizes(self, stage: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(inputs, outputs) of fc1 and of fc2 of a block in a stage (0-based)."""
        dim = self.dims[stage]
        return (dim, 4 * dim), (2 * dim if self.gate else 4 * dim, dim)

    def refuse_other_forms(self, what: str, taken: Sequence[str] = ()):
        """UserError where the blocks are not the paper's, for which alone there is `what`.

        Args:
            what: is not there for others.
            taken: names of parts of the form that may have any value all the same, such as "gate".

        Raises:
            UserError: names the other parts.
        """
        form = {key: value for key, value in vars(self.form).items() if key not in taken}
        if other := [f"{key}={value}" for key, value in form.items() if value != getattr(PAPER, key)]:
            also = f", also with {', '.join(taken)}" if taken else ""
            raise UserError(
                f"there is no {what} for networks with {', '.join(other)}: only for blocks of the paper's form{also}"
            )
