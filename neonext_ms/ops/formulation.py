"""What all formulations of NeoCell have in common: how they are made and called."""

from collections.abc import Sequence

from mindspore import Tensor, nn, ops

from neonext_ms.ops.groups import Group, cell_output_size, plane_output_size


class Formulation(nn.Cell):
    """Y[n, c] = A[c] @ X[n, c] @ B[c] (+ bias[c]), computed in one of several ways that agree in every gradient.

    Args:
        groups: channel groups.
        has_bias: whether a bias will be given.

    Inputs:
        x: (N, C, H, W) of a type and shape that `serves` accepts; or (N, C D, H, W), where D planes in a row are each
            channel's and meet the same blocks (then without a bias).
        left, right: per group the blocks (C_g, h_out, h_in) and (C_g, w_in, w_out), of any float type.
        bias: (C,), or None without a bias.

    Outputs:
        (N, C, H', W') or (N, C D, H', W'), type of x.
    """

    def __init__(self, groups: Sequence[Group], has_bias: bool):
        super().__init__()
        self.has_bias = has_bias
        self.channels = sum(group.channels for group in groups)
        self.sizes = (groups[0].left, groups[0].right)
        self.scales_right = all(group.right == (1, 1) for group in groups)
        self.left_runs = tuple(tuple(group.left_runs()) for group in groups)
        self.right_runs = tuple(tuple(group.right_runs()) for group in groups)

    def serves(self, x) -> bool:
        """Whether this formulation takes x; decided when a graph is compiled."""
        return True

    def check(self, x):
        """Refuse an x that NeoCell does not take, which has one plane a channel.

        Raises:
            UserError: other channels than the cell's, or an empty output.
        """
        _cell_output_size(x.shape, self.channels, self.sizes)

    def output_size(self, x) -> tuple[int, int, int]:
        """(D, H', W') for an x of D planes a channel."""
        return x.shape[1] // self.channels, *_plane_output_size(x.shape[2:], self.sizes)


def repeated(blocks: Tensor, copies: int) -> Tensor:
    """(C, r, q) -> (C copies, r, q), the copies of each channel in a row."""
    if copies == 1:
        return blocks
    r, q = blocks.shape[1:]
    return ops.reshape(ops.tile(ops.expand_dims(blocks, 1), (1, copies, 1, 1)), (-1, r, q))


def add_bias(y: Tensor, bias) -> Tensor:
    """(N, C, H', W') with a value a channel added in the type of y, unless bias is None."""
    return y if bias is None else y + ops.reshape(bias.astype(y.dtype), (1, -1, 1, 1))


# Constants of the graph, so that a wrong input is refused when the graph is compiled.
_cell_output_size = ops.constexpr(cell_output_size)
_plane_output_size = ops.constexpr(plane_output_size)
