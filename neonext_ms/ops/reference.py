"""The truth: NeoCell forward and gradients in float64 NumPy, written as the paper's equation.

    Y[n, c] = A[c] @ X[n, c] @ B[c]                     (paper, section 3.4)

A[c] and B[c] are windows of infinite block-diagonal matrices whose blocks are channel c's small learnable matrices.
Everything fast in this project is tested against this file. It is slow on purpose: one loop over the channels, one
element of A and B at a time.
"""

from collections.abc import Sequence

import numpy as np

from neonext_ms.ops.groups import Group, output_size


def block_diagonal(block: np.ndarray, rows: int, cols: int, shift: int = 0) -> np.ndarray:
    """Window of the infinite block-diagonal matrix, with one block corner at (shift, shift).

    Args:
        block: (r, q), repeated along the diagonal.
        rows, cols: size of the window.
        shift: rows and columns above and left of that corner hold the end of the block before it.

    Returns:
        (rows, cols) float64.
    """
    r, q = block.shape
    window = np.zeros((rows, cols))
    for i in range(rows):
        for j in range(cols):
            if (i - shift) // r == (j - shift) // q:
                window[i, j] = block[(i - shift) % r, (j - shift) % q]
    return window


def fold_block_gradient(window: np.ndarray, r: int, q: int, shift: int = 0) -> np.ndarray:
    """Adjoint of `block_diagonal`: the sum over all copies of the block. (rows, cols) -> (r, q), type of window."""
    block = np.zeros((r, q), window.dtype)
    for i, j in np.ndindex(window.shape):
        if (i - shift) // r == (j - shift) // q:
            block[(i - shift) % r, (j - shift) % q] += window[i, j]
    return block


def _channels(groups: Sequence[Group]):
    """Yield (channel, group index, index within the group, left shift, right shift)."""
    first = 0
    for g, group in enumerate(groups):
        shift_left = {c: s for start, stop, s in group.left_runs() for c in range(start, stop)}
        shift_right = {c: s for start, stop, s in group.right_runs() for c in range(start, stop)}
        for c in range(group.channels):
            yield first + c, g, c, shift_left[c], shift_right[c]
        first += group.channels


def neocell(x, left, right, groups: Sequence[Group], bias=None, dtype=np.float64) -> np.ndarray:
    """Forward pass.

    Args:
        x: (N, C, H, W).
        left: per group (C_g, h_out, h_in).
        right: per group (C_g, w_in, w_out).
        bias: (C,) or None.
        dtype: of the arithmetic. What a lower precision loses in this naive form is the measure for faster forms.

    Returns:
        (N, C, H', W') of dtype.
    """
    x = np.asarray(x, dtype)
    n, c, h, w = x.shape
    h_out, w_out = output_size(groups, h, w)
    y = np.zeros((n, c, h_out, w_out), dtype)
    for channel, g, i, s, t in _channels(groups):
        a = block_diagonal(left[g][i], h_out, h, s).astype(dtype)
        b = block_diagonal(right[g][i], w, w_out, t).astype(dtype)
        y[:, channel] = a @ x[:, channel] @ b
    return y if bias is None else y + np.asarray(bias, dtype).reshape(1, c, 1, 1)


def neocell_gradients(x, left, right, groups: Sequence[Group], dy, dtype=np.float64):
    """Gradients of sum(Y * dY).

    Args:
        x, left, right, dtype: as for `neocell`.
        dy: (N, C, H', W').

    Returns:
        dx (N, C, H, W), dleft and dright (lists, shapes of left and right), dbias (C,); all of dtype.
    """
    x, dy = np.asarray(x, dtype), np.asarray(dy, dtype)
    h, w = x.shape[2:]
    h_out, w_out = dy.shape[2:]
    dx = np.zeros(x.shape, dtype)
    dleft = [np.zeros(np.shape(block), dtype) for block in left]
    dright = [np.zeros(np.shape(block), dtype) for block in right]
    for channel, g, i, s, t in _channels(groups):
        a = block_diagonal(left[g][i], h_out, h, s).astype(dtype)
        b = block_diagonal(right[g][i], w, w_out, t).astype(dtype)
        x_c, dy_c = x[:, channel], dy[:, channel]
        dx[:, channel] = a.T @ dy_c @ b.T
        da = np.einsum("nij,nkj->ik", dy_c @ b.T, x_c)
        db = np.einsum("nji,njk->ik", a @ x_c, dy_c)
        dleft[g][i] = fold_block_gradient(da, *dleft[g][i].shape, s)
        dright[g][i] = fold_block_gradient(db, *dright[g][i].shape, t)
    return dx, dleft, dright, dy.sum((0, 2, 3))


def _volumes(groups, shape):
    """Yield (channel, group, index in it, sizes of P, A and B), each as (rows, cols, shift)."""
    d, h, w = shape
    h_out, w_out = output_size([group.plane for group in groups], h, w)
    d_out, _ = output_size([group.along for group in groups], d, 1)
    along = _channels([group.along for group in groups])
    for (channel, g, i, s, t), (*_, r, _) in zip(_channels([group.plane for group in groups]), along):
        yield channel, g, i, (d_out, d, r), (h_out, h, s), (w, w_out, t)


def neocell_3d(x, depth, left, right, groups) -> np.ndarray:
    """Y[n, c] = P[c] along the depth, A[c] along the rows and B[c] along the columns of X[n, c].

    Args:
        x: (N, C, D, H, W).
        depth, left, right: per group (C_g, d_out, d_in), (C_g, h_out, h_in) and (C_g, w_in, w_out).
        groups: of a NeoCell3d.

    Returns:
        (N, C, D', H', W') float64.
    """
    x = np.asarray(x, np.float64)
    channels = []
    for channel, g, i, *sizes in _volumes(groups, x.shape[2:]):
        p, a, b = (block_diagonal(blocks[g][i], *size) for blocks, size in zip((depth, left, right), sizes))
        channels.append(np.einsum("ed,gh,ndhw,wv->negv", p, a, x[:, channel], b, optimize=True))
    return np.stack(channels, 1)


def neocell_3d_gradients(x, depth, left, right, groups, dy):
    """Gradients of sum(Y * dY).

    Args:
        x, depth, left, right, groups: as for `neocell_3d`.
        dy: (N, C, D', H', W').

    Returns:
        dx, and ddepth, dleft and dright as lists; float64.
    """
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    dx = np.zeros(x.shape)
    gradients = [[np.zeros(np.shape(block)) for block in blocks] for blocks in (depth, left, right)]
    for channel, g, i, *sizes in _volumes(groups, x.shape[2:]):
        p, a, b = (block_diagonal(blocks[g][i], *size) for blocks, size in zip((depth, left, right), sizes))
        x_c, dy_c = x[:, channel], dy[:, channel]
        dx[:, channel] = np.einsum("ed,gh,negv,wv->ndhw", p, a, dy_c, b, optimize=True)
        windows = (
            np.einsum("negv,gh,ndhw,wv->ed", dy_c, a, x_c, b, optimize=True),
            np.einsum("negv,ed,ndhw,wv->gh", dy_c, p, x_c, b, optimize=True),
            np.einsum("negv,ed,gh,ndhw->wv", dy_c, p, a, x_c, optimize=True),
        )
        for blocks, window, (*_, shift) in zip(gradients, windows, sizes):
            blocks[g][i] = fold_block_gradient(window, *blocks[g].shape[1:], shift)
    return dx, *gradients


def terms(x, left, right, groups: Sequence[Group], inputs, dtype=np.float64) -> np.ndarray:
    """Y[n, o] = sum over t of A[o, t] @ X[n, inputs[t][o]] @ B[o, t].

    Args:
        x, groups, dtype: as for `neocell`.
        left, right: for every term what `neocell` takes.
        inputs: (T, C) integers, the input channel of every term and output channel.

    Returns:
        (N, C, H', W') of dtype.
    """
    return sum(neocell(np.asarray(x)[:, c], a, b, groups, None, dtype) for c, a, b in zip(inputs, left, right))


def terms_gradients(x, left, right, groups: Sequence[Group], inputs, dy, dtype=np.float64):
    """Gradients of sum(Y * dY).

    Args:
        x, left, right, groups, inputs, dtype: as for `terms`.
        dy: (N, C, H', W').

    Returns:
        dx (N, C, H, W), and dleft and dright, for every term a list as left and right.
    """
    dx = np.zeros(np.shape(x), dtype)
    dleft, dright = [], []
    for channels, a, b in zip(inputs, left, right):
        dinput, da, db, _ = neocell_gradients(np.asarray(x)[:, channels], a, b, groups, dy, dtype)
        np.add.at(dx, (slice(None), channels), dinput)
        dleft.append(da)
        dright.append(db)
    return dx, dleft, dright
