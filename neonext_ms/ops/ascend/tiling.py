"""What the graph must know of the AscendC operators' tiling before it calls them.

The truth are the headers in `ascend_kernels/common/`, compiled into the installed package, which offers no function to
ask. These functions mirror them; the tests hold them to the headers over many shapes.

Letters: N images, C channels, H x W plane, H' x W' output plane.
"""

_FRACTAL = 16  # rows and columns of the cube's unit
_OPERAND = 64  # fractals in half of L0A or L0B
_RESULT = 128  # fractals in L0C
_MOST_CORES = 24  # cube cores of the largest chip
_KRON_DEPTH = 64  # largest plane for which the Kronecker operator pays
_KRON_IMAGES = 72  # fewest images for which it pays
_MOST_STRIDE = 65535  # of a load
_TILE = 8  # rows and columns of a product, in fractals
_MOST_SPLITS = 24
_MLP_TILE = 7  # columns of an MLP's strips, in fractals
_MLP_HIDDEN = 1024  # most hidden channels for which a whole MLP in one kernel pays
_MLP_PAIRS = 96  # fewest pairs of strips for which it pays


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


def weight_splits(n: int, k: int, m: int, pixels: int) -> int:
    """S, the parts of N * H * W whose dW (M, K) and db the gradient of a pointwise layer returns apart."""
    strips = _strips(n, pixels, _TILE)
    rows = _ceil(m, _even(_ceil(m, _FRACTAL), _TILE) * _FRACTAL)
    columns = _ceil(k, 2 * _even(_even(_ceil(k, _FRACTAL), 2 * (_TILE - 1)), _TILE - 1) * _FRACTAL)
    tiles, data, part = rows * columns, n * pixels * (k + m) * 2, k * m * 8

    def cost(splits):
        return data * _ceil(splits * tiles, _MOST_CORES) * _MOST_CORES // (splits * tiles) + part * splits

    return min(range(1, min(strips, _MOST_SPLITS) + 1), key=cost)


def prefers_mlp(n: int, c: int, hidden: int, pixels: int) -> bool:
    """Whether one operator is the faster MLP of c channels without gradients."""
    served = not pointwise_refusal(c, hidden, pixels) and hidden <= _MLP_HIDDEN
    return served and _strips(n, pixels, _MLP_TILE) > 2 * (_MLP_PAIRS - 1)


def pointwise_refusal(k: int, m: int, pixels: int) -> str:
    """Why the operators cannot serve a pointwise layer, or "" where they do."""
    if max(k, m, pixels) > _MOST_STRIDE:
        return f"the AscendC operators take at most {_MOST_STRIDE} channels and pixels, given {max(k, m, pixels)}"
    return ""


def _strips(n: int, pixels: int, most: int) -> int:
    """Runs of at most `most` fractals of pixel columns: parts of an image or several images."""
    blocks = _ceil(pixels, _FRACTAL)
    if blocks > most:
        return n * _ceil(pixels, _even(blocks, most) * _FRACTAL)
    return _ceil(n, min(n, most // blocks))


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _even(total: int, most: int) -> int:
    """Size of the parts when `total` is cut into as few as possible of at most `most`."""
    return _ceil(total, _ceil(total, most))
