"""A trained network folded into a graph of nothing but MindSpore's own operators: matmul, add, GELU, mean.

Activations are (C, H, N, W), the batch between rows and columns. Every product is then a plain one, with no operand
copied for each image and none transposed: left matrices take (C, H, N W), right ones (C, H N, W), pointwise layers
(C, H N W), whose rows a gate splits in two and multiplies. The stem's space-to-depth makes this order in its one
transpose, and the classifier's product ends it. A batch of any size is never an axis that a product has to broadcast.
"""

import math

import numpy as np
from mindspore import Tensor, float32, nn, ops

from neonext_ms.deploy.fold.compiled import CompiledNeoNeXt, constant
from neonext_ms.deploy.fold.weights import FoldedBlock, FoldedCell, FoldedDownsample, FoldedWeights, fold_weights
from neonext_ms.errors import UserError
from neonext_ms.models.layers import Stem, check_input_size
from neonext_ms.models.neonext import NeoNeXt
from neonext_ms.ops.assembly import assemble_constants
from neonext_ms.ops.backend import compiled

GELUS = ("exact", "tanh")

_matmul = ops.MatMul()


def fold(network: NeoNeXt, image_size: int, gelu: str = "exact", dtype=float32, backend: str = "auto") -> nn.Cell:
    """The same function as a trained network in evaluation, with fewer operations and for images of one size.

    Args:
        network: with a classifier; it is left as it is.
        image_size: side of the images in pixels.
        gelu: "exact" (the error function, which it was trained with) or "tanh" (its usual approximation, by up to
            5e-4).
        dtype: of weights and arithmetic, float32 or float16.
        backend: as for `NeoCell`: "dense" is the portable graph that can be exported; "auto" is the compiled operators
            where all of them are, for the exact GELU in float32, and else the portable graph.

    Raises:
        UserError: no classifier, an image size that the network cannot take, an unknown gelu, compiled operators that
            are insisted on and not there.
    """
    check_input_size(image_size, image_size, len(network.spec.dims))
    if (gelu, dtype) == ("exact", float32) and compiled("residual_mlp", backend):
        return CompiledNeoNeXt(fold_weights(network)).set_train(False)
    return FoldedNeoNeXt(fold_weights(network), image_size, gelu_cell(gelu, dtype), dtype).set_train(False)


def gelu_cell(form: str, dtype=float32, erf=None) -> nn.Cell:
    """The activation in one of its two forms; erf is the primitive for the error function, ops.Erf unless given.

    Raises:
        UserError: another form.
    """
    if form not in GELUS:
        raise UserError(f"unknown GELU {form!r}: use one of {', '.join(GELUS)}")
    return nn.GELU(approximate=True) if form == "tanh" else ErfGELU(dtype, erf or ops.Erf())


class ErfGELU(nn.Cell):
    """x (1 + erf(x / sqrt(2))) / 2 in the order of operations that compilers of graphs know as GELU and fuse."""

    def __init__(self, dtype, erf):
        super().__init__()
        self.erf = erf
        # Tensors: with Python's numbers other operators are recorded (Muls, Divs), which not every converter knows.
        self.root, self.one, self.half = (Tensor(value, dtype) for value in (math.sqrt(2), 1.0, 0.5))

    def construct(self, x):
        return x * (self.erf(x / self.root) + self.one) * self.half


class FoldedNeoNeXt(nn.Cell):
    """The folded network for images of one size, in evaluation.

    Args:
        weights: from `fold_weights`.
        image_size: side of the images in pixels.
        gelu: a Cell for the activation.
        dtype: of weights and arithmetic, float32 or float16; LayerNorm and logits are float32.

    Inputs:
        x: (N, in_chans, image_size, image_size) float32, any N.

    Outputs:
        (N, K) float32.

    Raises:
        UserError: an image size that the network cannot take.
    """

    def __init__(self, weights: FoldedWeights, image_size: int, gelu: nn.Cell, dtype=float32):
        super().__init__()
        sizes = check_input_size(image_size, image_size, len(weights.stages))
        self.dtype = dtype
        self.stem = _Stem(weights.stem, weights.stem_bias, sizes[0], dtype)
        layers = []
        for i, (stage, size) in enumerate(zip(weights.stages, sizes)):
            if i:
                layers.append(_Downsample(weights.downsamples[i - 1], sizes[i - 1], dtype))
            layers += [(_GatedBlock if block.gated else _Block)(block, size, gelu, dtype) for block in stage]
        self.layers = nn.SequentialCell(layers)
        self.head = _Head(weights, sizes[-1], dtype)

    def construct(self, x):
        return self.head(self.layers(self.stem(x.astype(self.dtype))))


class _Stem(nn.Cell):
    """(N, c, 4 H, 4 W) -> (C, H N W)."""

    def __init__(self, weight, bias, size, dtype):
        super().__init__()
        self.size = size
        self.weight, self.bias = constant(weight, "weight", dtype), constant(bias[:, None], "bias", dtype)

    def construct(self, x):
        p, (h, w) = Stem.patch, self.size
        c = x.shape[1]
        x = ops.transpose(ops.reshape(x, (-1, c, h, p, w, p)), (1, 3, 5, 2, 0, 4))
        return _matmul(self.weight, ops.reshape(x, (c * p * p, -1))) + self.bias


class _NeoCell(nn.Cell):
    """(C, H N W) -> (C, H' N W')."""

    def __init__(self, cell: FoldedCell, size, dtype):
        super().__init__()
        self.channels = sum(group.channels for group in cell.groups)
        self.size = size
        left, right = _matrices(cell, *size)
        self.left, self.right = constant(left, "left", dtype), constant(right, "right", dtype)
        self.bias = None if cell.bias is None else constant(cell.bias[:, None], "bias", dtype)
        self.product = ops.BatchMatMul()

    def construct(self, x):
        c, (h, w) = self.channels, self.size
        x = self.product(self.left, ops.reshape(x, (c, h, -1)))
        x = ops.reshape(self.product(ops.reshape(x, (c, -1, w)), self.right), (c, -1))
        return x if self.bias is None else x + self.bias


class _Block(nn.Cell):
    """(C, H N W) -> (C, H N W)."""

    def __init__(self, block: FoldedBlock, size, gelu, dtype):
        super().__init__()
        self.neocell = _NeoCell(block.neocell, size, dtype)
        self.act = gelu
        self.fc1, self.bias1 = constant(block.fc1, "fc1", dtype), constant(block.bias1[:, None], "bias1", dtype)
        self.fc2 = constant(block.fc2, "fc2", dtype)
        self.bias2 = None if block.bias2 is None else constant(block.bias2[:, None], "bias2", dtype)

    def construct(self, x):
        return self.residual(x, self.act(self.hidden(self.neocell(x))))

    def hidden(self, x):
        """(C, H N W) -> (4 C, H N W)."""
        return _matmul(self.fc1, x) + self.bias1

    def residual(self, x, y):
        """x with what fc2 makes of y."""
        y = _matmul(self.fc2, y)
        return x + (y if self.bias2 is None else y + self.bias2)


class _GatedBlock(_Block):
    """(C, H N W) -> (C, H N W), whose NeoCell is behind fc1."""

    def construct(self, x):
        u, v = ops.split(self.hidden(x), self.fc2.shape[1])
        return self.residual(x, self.act(u) * self.neocell(v))


class _Downsample(nn.Cell):
    """(C, H N W) -> (2 C, H' N W')."""

    def __init__(self, downsample: FoldedDownsample, size, dtype):
        super().__init__()
        self.proj = constant(downsample.proj, "proj", dtype)
        self.neocell = _NeoCell(downsample.neocell, size, dtype)

    def construct(self, x):
        return self.neocell(_matmul(self.proj, x))


class _Head(nn.Cell):
    """(C, H N W) -> (N, K).

    Means and LayerNorm are float32, and yet no value on the way is larger than the largest feature or the number of
    channels, so that a converter may make float16 of them: values are divided before they are summed, and LayerNorm
    is of features divided by the largest of their image, with an epsilon divided alike.
    """

    def __init__(self, weights: FoldedWeights, size, dtype, norm_dtype=float32):
        super().__init__()
        self.size = size
        self.channels = len(weights.head)
        self.share = Tensor(1 / math.prod(size), norm_dtype)
        self.root_of_epsilon = Tensor(math.sqrt(weights.head_epsilon), norm_dtype)
        self.dtype, self.norm_dtype = dtype, norm_dtype
        self.largest = ops.ReduceMax(keep_dims=True)
        self.weight, self.bias = constant(weights.head, "weight", dtype), constant(weights.head_bias, "bias", dtype)
        self.product = ops.MatMul(transpose_a=True)

    def construct(self, x):
        h, w = self.size
        x = ops.reshape(x, (self.channels, h, -1, w)).astype(self.norm_dtype)
        x = ops.sum(x * self.share, (1, 3))  # on an NPU a kernel of the new kind, which ReduceSum is not
        largest = ops.maximum(self.largest(ops.abs(x), 0), self.root_of_epsilon)
        x = x / largest
        x = x - ops.mean(x, 0, True)
        root = self.root_of_epsilon / largest
        x = x / ops.sqrt(ops.mean(x * x, 0, True) + root * root)
        return (self.product(x.astype(self.dtype), self.weight) + self.bias).astype(float32)


def _matrices(cell: FoldedCell, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """A (C, H', H) and B (C, W, W') of all channels."""
    h_out, w_out = cell.groups[0].output_size(h, w)
    left = assemble_constants(cell.left, [group.left_runs() for group in cell.groups], h_out, h)
    return left, assemble_constants(cell.right, [group.right_runs() for group in cell.groups], w, w_out)
