"""What the graph must know of the AscendC operators' tiling before it calls them.

The truth is `ascend_kernels/common/neo_cell_tiling.h`, compiled into the installed package, which offers no function
to ask. These three mirror it; the tests hold them to the header over many shapes.

Letters: N images, C channels, H x W plane, H' x W' output plane.
"""

_FRACTAL = 16  # rows and columns of the cube's unit
_OPERAND = 64  # fractals in half of L0A or L0B
_RESULT = 128  # fractals in L0C
_MOST_CORES = 24  # cube cores of the largest chip
_KRON_DEPTH = 64  # largest plane for which the Kronecker operator pays
_KRON_IMAGES = 72  # fewest images for which it pays
_MOST_STRIDE = 65535  # of a load


def gradient_splits(n: int, c: int) -> int:
    """S, the parts of N whose dA and dB the gradient operator returns apart."""
    return 1 if c >= _MOST_CORES else min(n, _MOST_CORES // c)


def prefers_kron(shape: tuple[int, int, int, int], out: tuple[int, int]) -> bool:
    """Whether the Kronecker operator is the faster forward of (N, C, H, W) to planes of out = (H', W')."""
    n, c, h, w = shape
    h_out, w_out = out
    small = h * w <= _KRON_DEPTH and h_out * w_out <= _KRON_DEPTH
    return small and n >= _KRON_IMAGES and c * h * w <= _MOST_STRIDE


def shape_refusal(h: int, w: int, h_out: int, w_out: int) -> str:
    """Why forward or gradient cannot serve the planes, or "" where both do. The gradient has the narrower limits."""
    planes = f"planes of {h} x {w} to {h_out} x {w_out}"
    if min(h, w, h_out, w_out) < 2:
        return f"the AscendC operators do not take {planes}: a side of one pixel"
    h, w, h_out, w_out = (-(-size // _FRACTAL) for size in (h, w, h_out, w_out))
    operand = max(h * w, h_out * w, h_out * w_out, h_out * h, w * w_out)
    result = h_out * h + w * w_out + w * max(h_out, h)
    if operand > _OPERAND or result > _RESULT:
        return f"the AscendC operators do not take {planes}: at most 96 x 96 fit the chip's buffers"
    return ""
