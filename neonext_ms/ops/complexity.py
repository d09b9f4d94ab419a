"""What a NeoCell costs, in multiply-accumulates (paper, section 3.6)."""

from collections.abc import Sequence

from neonext_ms.ops.groups import Group, output_size


def patchwise_macs(groups: Sequence[Group], h: int, w: int) -> int:
    """Multiply-accumulates of one image when only the blocks are multiplied (Eq. 5): left product, then right.

    Every one of the H' x W values between the products takes h_in of them, every output value w_in. For k x k blocks
    that is 2 k C H W.
    """
    h_out, w_out = output_size(groups, h, w)
    return sum(g.channels * (h_out * w * g.left[1] + h_out * w_out * g.right[0]) for g in groups)


def dense_macs(groups: Sequence[Group], h: int, w: int) -> int:
    """Multiply-accumulates of one image as two matmuls with the full block-diagonal matrices, zeros included."""
    h_out, w_out = output_size(groups, h, w)
    return sum(g.channels for g in groups) * (h_out * h * w + h_out * w * w_out)


def depthwise_macs(channels: int, kernel: int, h: int, w: int) -> int:
    """Multiply-accumulates of one image through a depthwise kernel x kernel convolution of stride 1 (Eq. 4)."""
    return channels * kernel * kernel * h * w
