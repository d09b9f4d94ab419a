"""A folded network on the compiled operators of a CPU, for the process that holds it: faster than any exported file.

Activations are (N, C, H, W). A block is two passes: NeoCell, and the MLP with the folded BatchNorm, layer scale, biases
and the addition. With a gate it is three: fc1, NeoCell, and fc2 with the gate and the addition. Nothing here can be
exported: a compiled operator is a library of this machine.
"""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, float16, float32, nn, ops

from neonext_ms.deploy.fold.weights import FoldedBlock, FoldedCell, FoldedDownsample, FoldedWeights
from neonext_ms.models.layers import space_to_depth
from neonext_ms.ops.backend import compiled
from neonext_ms.ops.cpu.packed import pack_weights

_NUMPY_TYPES = {float32: np.float32, float16: np.float16}


class CompiledNeoNeXt(nn.Cell):
    """The folded network in evaluation, float32.

    Args:
        weights: from `fold_weights`.

    Inputs:
        x: (N, in_chans, H, W) float32, of any size that the network takes.

    Outputs:
        (N, K) float32.
    """

    def __init__(self, weights: FoldedWeights):
        super().__init__()
        self.stem = _Pointwise(weights.stem, weights.stem_bias)
        layers = []
        for i, stage in enumerate(weights.stages):
            if i:
                layers.append(_Downsample(weights.downsamples[i - 1]))
            layers += [_Block(block) for block in stage]
        self.layers = nn.SequentialCell(layers)
        self.epsilon = weights.head_epsilon
        self.head, self.head_bias = constant(weights.head, "head"), constant(weights.head_bias, "head_bias")
        self.product = ops.MatMul()

    def construct(self, x):
        x = ops.mean(self.layers(self.stem(space_to_depth(x))), (2, 3))
        x = x - ops.mean(x, 1, True)
        x = x / ops.sqrt(ops.mean(x * x, 1, True) + self.epsilon)
        return self.product(x, self.head) + self.head_bias


class _NeoCell(nn.Cell):
    def __init__(self, cell: FoldedCell):
        super().__init__()
        self.fused = compiled("neocell", "fused")(cell.groups, cell.bias is not None)
        self.left = ParameterTuple([constant(blocks, f"left.{i}") for i, blocks in enumerate(cell.left)])
        self.right = ParameterTuple([constant(blocks, f"right.{i}") for i, blocks in enumerate(cell.right)])
        self.bias = None if cell.bias is None else constant(cell.bias, "bias")

    def construct(self, x):
        return self.fused(x, self.left, self.right, self.bias)


class _Block(nn.Cell):
    def __init__(self, block: FoldedBlock):
        super().__init__()
        self.neocell = _NeoCell(block.neocell)
        self.gated = block.gated
        if block.gated:
            self.halves = compiled("halves", "fused")().forward
            self.gate = compiled("gated_branch", "fused")().branch.forward
        else:
            self.mlp = compiled("residual_mlp", "fused")()
        bias2 = np.zeros(len(block.fc2)) if block.bias2 is None else block.bias2
        self.fc1, self.bias1 = packed(block.fc1, "fc1"), constant(block.bias1, "bias1")
        self.fc2, self.bias2 = packed(block.fc2, "fc2"), constant(bias2, "bias2")

    def construct(self, x):
        if not self.gated:
            return self.mlp(self.neocell(x), self.fc1, self.bias1, self.fc2, self.bias2, x)
        u, v = self.halves(x, self.fc1, self.bias1)
        return self.gate(u, self.neocell(v), self.fc2, self.bias2, x, ops.ones(x.shape[:1], float32))


class _Downsample(nn.Cell):
    def __init__(self, downsample: FoldedDownsample):
        super().__init__()
        self.proj = _Pointwise(downsample.proj)
        self.neocell = _NeoCell(downsample.neocell)

    def construct(self, x):
        return self.neocell(self.proj(x))


class _Pointwise(nn.Cell):
    """(N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None = None):
        super().__init__()
        self.forward = compiled("pointwise", "fused")().forward
        self.weight = packed(weight, "weight")
        self.bias = constant(np.zeros(len(weight)) if bias is None else bias, "bias")

    def construct(self, x):
        return self.forward(x, self.weight, self.bias)


def packed(weight: np.ndarray, name: str) -> Parameter:
    """As `constant`, in the form that products read."""
    return Parameter(pack_weights(constant(weight, name)), name=name, requires_grad=False)


def constant(value: np.ndarray, name: str, dtype=float32) -> Parameter:
    """What is never trained. What dtype cannot hold becomes infinite: outputs that are not finite are refused."""
    with np.errstate(over="ignore"):
        return Parameter(Tensor(value.astype(_NUMPY_TYPES[dtype])), name=name, requires_grad=False)
