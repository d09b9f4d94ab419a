"""NeoCell with several terms a channel: of higher rank, and over a group of input channels.

One term is the paper's cell. A zero-padded K x K depthwise convolution is K terms whose blocks are as large as the
plane (one for each singular value of its kernel); with A = w I and B = I the terms of a group of channels are a grouped
1 x 1 convolution.
"""

from collections.abc import Sequence

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, ops

from neonext_ms.checks import whole_number
from neonext_ms.errors import UserError
from neonext_ms.ops.assembly import assemble
from neonext_ms.ops.dense import DenseNeoCell
from neonext_ms.ops.formulation import Formulation, add_bias
from neonext_ms.ops.groups import Group
from neonext_ms.ops.matmul import matmul
from neonext_ms.ops.neocell import NeoCell, fresh_blocks, generator


class NeoCellTerms(NeoCell):
    """Y[n, o] = sum over terms t of A[o, t] @ X[n, in(o, t)] @ B[o, t] (+ bias[o]).

    There are rank * width terms. The channels lie in groups of `width`; terms t = 0, 1, ... take the channel itself,
    the next one of its group, and so on around the group, `rank` times. With rank and width 1 it is `NeoCell`, bit for
    bit. All terms of a channel have its block sizes and its shift.

    The first term starts as NeoCell's; the left blocks of all others start at zero (the right ones do not, so that
    there are gradients): training starts as that of the paper's cell.

    Args:
        groups, has_bias, backend, init, seed: as for `NeoCell`.
        rank: terms for every input channel; 1 is the paper's.
        width: input channels of every output channel; 1 is the paper's (depthwise).

    Inputs, Outputs:
        as for `NeoCell`.

    Raises:
        UserError (a ValueError): as `NeoCell`; rank or width below 1; channels that width does not divide.

    Parameters are named as NeoCell's, one set of groups after the other: with G groups, term t has left.<t * G + group>
    and right.<t * G + group>.
    """

    def __init__(self, groups: Sequence[Group], rank=1, width=1, has_bias=False, backend="auto", init="neo", seed=None):
        for name, value in (("rank", rank), ("width", width)):
            whole_number(f"the {name} of a NeoCell", value, 1)
        several, rng = rank * width > 1, generator(seed)
        super().__init__(groups, has_bias and not several, backend, init, rng)
        if self.channels % width:
            raise UserError(f"the width (={width}) of a NeoCell must divide its {self.channels} channels")
        self.rank, self.width = rank, width
        if several:
            self._add_terms(has_bias, init, rng)
        # One pair of products in place of one for every term.
        pair = several and isinstance(self.portable, DenseNeoCell)
        self.pair = DenseTerms(self.groups, rank, width) if pair else None

    def _add_terms(self, has_bias: bool, init: str, rng: np.random.Generator):
        """The blocks of all terms but the first, and the bias of their sum."""
        left, right = list(self.left), list(self.right)
        for _ in range(1, self.rank * self.width):
            for group in self.groups:
                zeros = Tensor(np.zeros((group.channels, *group.left), np.float32))
                left.append(Parameter(zeros, name=f"left.{len(left)}"))
            right += fresh_blocks(self.groups, "right", init, rng, len(right))
        self.left, self.right = ParameterTuple(left), ParameterTuple(right)
        self.bias = Parameter(Tensor(np.zeros(self.channels, np.float32)), name="bias") if has_bias else None

    def construct(self, x):
        if self.rank * self.width == 1:
            return super().construct(x)
        self.portable.check(x)
        inputs = _around_groups(x, self.width)
        if self.fused is not None and self.fused.serves(x):
            y = self._sum(self.fused, inputs)
        elif self.pair is not None:
            y = self.pair(inputs, self.left, self.right)
        else:
            y = self._sum(self.portable, inputs)
        return add_bias(y, self.bias)

    def _sum(self, formulation, inputs):
        """Every term by a formulation of NeoCell. Each reads its input where it is: nothing is stacked."""
        count = len(self.groups)
        y = formulation(inputs[0], self.left[:count], self.right[:count], None)
        for t in range(1, self.rank * self.width):
            first, last = t * count, (t + 1) * count
            y = y + formulation(inputs[t % self.width], self.left[first:last], self.right[first:last], None)
        return y


class DenseTerms(Formulation):
    """All terms as one pair of products: the rows of A of all ranks beneath one another, the right matrices stacked.

    Args:
        groups: channel groups of a term.
        rank, width: as for `NeoCellTerms`.

    Inputs:
        inputs: for each of `width` the input planes (N, C, H, W).
        left, right: blocks of all terms.
    """

    def __init__(self, groups: Sequence[Group], rank: int, width: int):
        super().__init__(groups, False)
        self.rank, self.width = rank, width
        self.left_runs, self.right_runs = self.left_runs * (rank * width), self.right_runs * (rank * width)

    def construct(self, inputs, left, right):
        x = inputs[0]
        c, h, w = x.shape[1:]
        _, h_out, w_out = self.output_size(x)
        a = assemble([block.astype(x.dtype) for block in left], self.left_runs, h_out, h)
        b = assemble([block.astype(x.dtype) for block in right], self.right_runs, w, w_out)
        # Rows of A in the order (H', rank), so that A X is already (H', rank W): each rank beside the other.
        a = ops.transpose(ops.reshape(a, (self.rank, self.width, c, h_out, h)), (1, 2, 3, 0, 4))
        b = ops.transpose(ops.reshape(b, (self.rank, self.width, c, w, w_out)), (2, 1, 0, 3, 4))
        products = []
        for i in range(self.width):
            rows = ops.reshape(a[i], (1, c, h_out * self.rank, h))
            products.append(ops.reshape(matmul(rows, inputs[i]), (-1, c, h_out, self.rank * w)))
        u = products[0] if self.width == 1 else ops.concat(products, 3)
        return matmul(u, ops.reshape(b, (1, c, -1, w_out)))


def _around_groups(x: Tensor, width: int):
    """For i = 0 to width - 1: x with the channels of every group of `width` moved around by i, by slices alone."""
    if width == 1:
        return (x,)
    c, h, w = x.shape[1:]
    grouped = ops.reshape(x, (-1, c // width, width, h, w))
    moved = (x,)
    for i in range(1, width):
        turned = ops.concat((grouped[:, :, i:], grouped[:, :, :i]), 2)
        moved = (*moved, ops.reshape(turned, (-1, c, h, w)))
    return moved
