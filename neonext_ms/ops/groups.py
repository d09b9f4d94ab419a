"""Channel groups of a NeoCell: block sizes, shifts, output sizes. Plain Python, no framework.

Letters: N images, C channels, H x W input plane, H' x W' output plane, k block size, s shift.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neonext_ms.checks import plain
from neonext_ms.errors import UserError


@dataclass(frozen=True)
class Group:
    """Channels that share their block sizes.

    Args:
        channels: number of channels C_g.
        left: (h_out, h_in), the shape of each channel's left block.
        right: (w_in, w_out), the shape of each channel's right block.
        shift: (left, right) shift steps d. With d > 0 the channels are split into (k - 1) // d + 1 sub-groups and
            sub-group i is shifted by i * d rows or columns (paper, section 3.5). Square blocks only, d < k.
    """

    channels: int
    left: tuple[int, int]
    right: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    def __post_init__(self):
        object.__setattr__(self, "channels", plain(self.channels))
        for field in ("left", "right", "shift"):
            object.__setattr__(self, field, tuple(map(plain, getattr(self, field))))
        sizes = (self.channels, *self.left, *self.right)
        if any(type(v) is not int or v < 1 for v in sizes):
            raise UserError(f"channels and block sizes must be integers of at least 1, got {self!r}")
        for side, block, step in (("left", self.left, self.shift[0]), ("right", self.right, self.shift[1])):
            if type(step) is not int or step < 0:
                raise UserError(f"the {side} shift must be an integer of at least 0, got {step!r}")
            if step and block[0] != block[1]:
                raise UserError(f"the {side} shift is {step}, but only square blocks can be shifted, got {block}")
            if step >= block[0] and step:
                raise UserError(f"the {side} shift (={step}) must be smaller than the block size (={block[0]})")

    def __str__(self) -> str:
        """Channels, block sizes in and out, and shift where there is one: "48 x 7x7 shifted by 1"."""
        sides = (self.left[1], self.right[0]), (self.left[0], self.right[1])
        blocks = " to ".join("x".join(map(str, side)) for side in sides[: 1 + (sides[0] != sides[1])])
        steps = dict.fromkeys(self.shift)  # one number where both are alike
        return f"{self.channels} x {blocks}" + (f" shifted by {', '.join(map(str, steps))}" if any(steps) else "")

    @classmethod
    def square(cls, k: int, channels: int, shift: int = 0) -> "Group":
        """A group of k x k blocks on both sides, shifted alike."""
        return cls(channels, (k, k), (k, k), (shift, shift))

    @classmethod
    def resample(cls, size_in: int, size_out: int, channels: int) -> "Group":
        """A group that turns every `size_in` rows and columns into `size_out` (paper, section 3.2)."""
        return cls(channels, (size_out, size_in), (size_in, size_out))

    @classmethod
    def from_dict(cls, fields: Mapping[str, int]) -> "Group":
        """Read one of the three dictionary forms of the authors' code.

        `{kernel, channels, shift}`, `{h_in, h_out, w_in, w_out, channels, shift}` or
        `{kernel_a, kernel_b, channels, shift_a, shift_b}`; shifts may be left out.
        """
        names = set(fields)
        if {"kernel", "channels"} <= names <= {"kernel", "channels", "shift"}:
            return cls.square(fields["kernel"], fields["channels"], fields.get("shift", 0))
        if (
            {"h_in", "h_out", "w_in", "w_out", "channels"}
            <= names
            <= {*("h_in", "h_out", "w_in", "w_out", "channels", "shift")}
        ):
            left, right = (fields["h_out"], fields["h_in"]), (fields["w_in"], fields["w_out"])
            shift = fields.get("shift", 0)
            return cls(fields["channels"], left, right, (shift, shift))
        if {"kernel_a", "kernel_b", "channels"} <= names <= {"kernel_a", "kernel_b", "channels", "shift_a", "shift_b"}:
            a, b = fields["kernel_a"], fields["kernel_b"]
            shift = (fields.get("shift_a", 0), fields.get("shift_b", 0))
            return cls(fields["channels"], (a, a), (b, b), shift)
        raise UserError(
            f"cannot read a channel group from the keys {sorted(names)}: expected kernel, channels[, shift]; or h_in, "
            "h_out, w_in, w_out, channels[, shift]; or kernel_a, kernel_b, channels[, shift_a, shift_b]"
        )

    def left_runs(self) -> list[tuple[int, int, int]]:
        """Runs (first, last + 1, s) of the group's channels whose left blocks have the same shift s in rows."""
        return _shift_runs(self.channels, self.left[0], self.shift[0])

    def right_runs(self) -> list[tuple[int, int, int]]:
        """Runs (first, last + 1, s) of the group's channels whose right blocks have the same shift s in columns."""
        return _shift_runs(self.channels, self.right[0], self.shift[1])

    def output_size(self, h: int, w: int) -> tuple[int, int]:
        """(H', W') of an H x W plane: floor(H * h_out / h_in), floor(W * w_out / w_in)."""
        return h * self.left[0] // self.left[1], w * self.right[1] // self.right[0]


def _shift_runs(channels: int, k: int, step: int) -> list[tuple[int, int, int]]:
    """Split channels into sub-groups of equal shift, the remainder to the last; empty sub-groups are left out."""
    count = (k - 1) // step + 1 if step else 1
    size = channels // count
    starts = [i * size for i in range(count)] + [channels]
    return [(starts[i], starts[i + 1], i * step) for i in range(count) if starts[i] < starts[i + 1]]


def parse_spec(spec: str, channels: int, shift: int = 0) -> list[Group]:
    """Split channels evenly over the square block sizes of a spec such as "4+7".

    Args:
        spec: block sizes joined by "+". Every group gets channels // groups channels, the last also the remainder.
        channels: C, all channels of the cell.
        shift: step of the shift in every group; 0 is no shift. A 1 x 1 block has nothing to shift and takes 0.
    """
    if not isinstance(spec, str) or not re.fullmatch(r"[1-9]\d*(\+[1-9]\d*)*", spec):
        raise UserError(f"a block spec is block sizes joined by '+', such as '4+7' or '7', got {spec!r}")
    kernels = [int(k) for k in spec.split("+")]
    size = channels // len(kernels)
    if size < 1:
        raise UserError(f"the spec {spec!r} needs at least {len(kernels)} channels, got {channels}")
    counts = [size] * (len(kernels) - 1) + [channels - size * (len(kernels) - 1)]
    return [Group.square(k, count, shift if k > 1 else 0) for k, count in zip(kernels, counts)]


def output_size(groups: Sequence[Group], h: int, w: int) -> tuple[int, int]:
    """(H', W') that all groups give for an H x W plane; UserError when they disagree or the output is empty."""
    sizes = {group.output_size(h, w) for group in groups}
    if len(sizes) > 1:
        raise UserError(f"the groups of a cell must agree on the output size, but {h} x {w} becomes {sorted(sizes)}")
    (size,) = sizes
    if min(size) < 1:
        raise UserError(f"an input of {h} x {w} gives an empty output of {size[0]} x {size[1]}: use a larger input")
    return size


def cell_output_size(shape: Sequence[int], channels: int, sizes) -> tuple[int, int]:
    """(H', W') of an input for a cell of `channels`, whose first group has blocks of `sizes`; UserError if unfit."""
    if len(shape) != 4:
        raise UserError(f"NeoCell takes an input of the shape (N, C, H, W), got {tuple(shape)}")
    if shape[1] != channels:
        raise UserError(f"NeoCell has {channels} channels, but the input has {shape[1]} (its shape is N, C, H, W)")
    return plane_output_size(shape[2:], sizes)


def plane_output_size(plane: Sequence[int], sizes) -> tuple[int, int]:
    """(H', W') of an (H, W) plane for blocks of `sizes`, left and right; UserError if the output is empty."""
    return output_size([Group(1, *sizes)], *plane)
