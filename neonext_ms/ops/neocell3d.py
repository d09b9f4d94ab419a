"""NeoCell in three dimensions, for video and volumes: the cell of the paper with one more matrix, along the depth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.ops.groups import Group, output_size
from neonext_ms.ops.neocell import formulations, fresh_blocks, generator


@dataclass(frozen=True)
class Group3d:
    """Channels that share their block sizes, in three dimensions.

    Args:
        channels: number of channels C_g.
        depth: (d_out, d_in), the shape of each channel's block along the depth.
        left, right: (h_out, h_in) and (w_in, w_out), as of a `Group`.
        shift: steps along depth, rows and columns, each as of a `Group`.
    """

    channels: int
    depth: tuple[int, int]
    left: tuple[int, int]
    right: tuple[int, int]
    shift: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self):
        _ = self.plane, self.along  # a Group refuses what is wrong

    @classmethod
    def cube(cls, k: int, channels: int, shift: int = 0) -> "Group3d":
        """A group of k x k blocks on all sides, shifted alike."""
        return cls(channels, (k, k), (k, k), (k, k), (shift,) * 3)

    @classmethod
    def resample(cls, size_in: int, size_out: int, channels: int) -> "Group3d":
        """A group that turns every `size_in` slices, rows and columns into `size_out`."""
        return cls(channels, (size_out, size_in), (size_out, size_in), (size_in, size_out))

    @property
    def plane(self) -> Group:
        """The group's blocks on H x W planes."""
        return Group(self.channels, self.left, self.right, self.shift[1:])

    @property
    def along(self) -> Group:
        """The group's blocks along the depth: left blocks of planes D x (H W), whose right blocks are 1."""
        return Group(self.channels, self.depth, (1, 1), (self.shift[0], 0))


class NeoCell3d(nn.Cell):
    """Y[n, c, d', h', w'] = sum over d, h, w of P[c][d', d] A[c][h', h] X[n, c, d, h, w] B[c][w, w'] (+ bias[c]).

    P, A and B are block-diagonal as in two dimensions. Two products of NeoCell on views of the volume: on its planes
    (N, C D, H, W), and on (N, C, D, H' W') along the depth. Nothing is transposed.

    Args:
        groups: channel groups.
        has_bias, backend, init, seed: as for `NeoCell`.

    Inputs:
        x: (N, C, D, H, W), of the types that `NeoCell` takes.

    Outputs:
        (N, C, D', H', W'), type of x.

    Raises:
        UserError (a ValueError): groups that disagree on the output size, an unknown backend or init, "fused" where
            there is none, an input that is not (N, C, D, H, W), or one that gives an empty output.

    Parameters are named depth.<group> (C_g, d_out, d_in), left.<group>, right.<group> and bias, as those of NeoCell.
    """

    def __init__(self, groups: Sequence[Group3d], has_bias=False, backend="auto", init="neo", seed=None):
        super().__init__()
        self.groups = _checked_groups(groups)
        self.channels = sum(group.channels for group in self.groups)
        planes, along = [group.plane for group in self.groups], [group.along for group in self.groups]
        self.fused_plane, self.plane = formulations(planes, False, backend)
        self.fused_along, self.along = formulations(along, has_bias, backend)
        rng = generator(seed)
        self.left = ParameterTuple(fresh_blocks(planes, "left", init, rng))
        self.right = ParameterTuple(fresh_blocks(planes, "right", init, rng))
        depth = fresh_blocks(along, "left", init, rng)
        for i, parameter in enumerate(depth):
            parameter.name = f"depth.{i}"
        self.depth = ParameterTuple(depth)
        self.ones = tuple(Tensor(np.ones((group.channels, 1, 1), np.float32)) for group in self.groups)
        self.bias = Parameter(Tensor(np.zeros(self.channels, np.float32)), name="bias") if has_bias else None

    def construct(self, x):
        _check_volume(x.shape, self.channels)
        d, h, w = x.shape[2:]
        x = ops.reshape(x, (-1, self.channels * d, h, w))
        plane = _chosen(self.fused_plane, self.plane, x)
        y = plane(x, self.left, self.right, None)
        h_out, w_out = y.shape[2:]
        y = ops.reshape(y, (-1, self.channels, d, h_out * w_out))
        along = _chosen(self.fused_along, self.along, y)
        y = along(y, self.depth, self.ones, self.bias)
        return ops.reshape(y, (-1, self.channels, y.shape[2], h_out, w_out))


def _chosen(fused, portable, x):
    """The compiled formulation where it is there and takes x."""
    return fused if fused is not None and fused.serves(x) else portable


@ops.constexpr
def _check_volume(shape, channels: int):
    if len(shape) != 5 or shape[1] != channels:
        raise UserError(f"this NeoCell3d takes an input of the shape (N, {channels}, D, H, W), got {tuple(shape)}")


def _checked_groups(groups: Sequence[Group3d]) -> tuple[Group3d, ...]:
    """The groups as a tuple; UserError unless they give one output size for every input."""
    groups = tuple(groups)
    if not groups or not all(isinstance(group, Group3d) for group in groups):
        raise UserError(
            f"NeoCell3d needs a list of Group3d, for example [Group3d.cube(4, 96, shift=1)], got {groups!r}"
        )
    # Outputs agree for every input when they agree for one that all blocks divide.
    d, h, w = (
        int(np.prod(sizes)) for sizes in zip(*((g.depth[1], g.left[1], g.right[0]) for g in groups), strict=True)
    )
    output_size([group.plane for group in groups], h, w)
    output_size([group.along for group in groups], d, 1)
    return groups
