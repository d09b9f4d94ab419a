"""Layers of NeoNeXt. Activations are (N, C, H, W) throughout; every layer is a matrix product or element-wise."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from neonext_ms.errors import UserError
from neonext_ms.models.form import PAPER
from neonext_ms.models.pointwise import MLP, GatedMLP, Pointwise
from neonext_ms.ops import Group, NeoCell
from neonext_ms.ops.backend import compiled, on_ascend

EPS, KEPT = 1e-5, 0.9  # of every BatchNorm, as in the paper's code


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm over N, H, W with the paper's constants: new statistic = 0.9 old + 0.1 batch.

    `in_float32` says whether float16 inputs are normalised in float32; the output has the type of the input. An NPU's
    operators sum float16 in float32 by themselves, and need no copy of it; none takes bfloat16. (MindSpore's newer
    BatchNormExt does, but changes the running statistics behind a graph's back.) On a CPU compiled operators, which are
    always in float32, compute it. The backend is that of NeoCell.
    """

    def __init__(self, channels: int, backend="auto"):
        super().__init__(channels, eps=EPS, momentum=KEPT)
        fused = compiled("batch_norm", backend)
        self.fused = fused(EPS, KEPT) if fused else None
        self.in_float32 = True
        self.sums_in_float32 = on_ascend()

    def __repr__(self):
        return f"BatchNorm({self.num_features})"

    def of_batch(self) -> bool:
        """Whether inputs are normalised by their own statistics."""
        return self.training if self.use_batch_statistics is None else self.use_batch_statistics

    def construct(self, x):
        if self.fused is not None and self.fused.serves(x):
            values = self.gamma, self.beta, self.moving_mean, self.moving_variance
            return self.fused(x, *values, self.of_batch())
        if x.dtype == ms.bfloat16 or (self.in_float32 and not self.sums_in_float32):
            return super().construct(x.astype(ms.float32)).astype(x.dtype)
        return super().construct(x)


class Stem(nn.Cell):
    """Space-to-depth by 4, channels in the order (c, dy, dx), then pointwise and BatchNorm (paper, section 4)."""

    patch = 4

    def __init__(self, in_chans: int, dim: int, backend, rng: np.random.Generator):
        super().__init__()
        self.proj = Pointwise(in_chans * self.patch**2, dim, False, rng, backend)
        self.norm = BatchNorm(dim, backend)

    def construct(self, x):
        return self.norm(self.proj(space_to_depth(x)))


def space_to_depth(x):
    """(N, c, 4 H, 4 W) -> (N, 16 c, H, W), channels in the order (c, dy, dx)."""
    p = Stem.patch
    c, h, w = x.shape[1:]
    x = ops.transpose(ops.reshape(x, (-1, c, h // p, p, w // p, p)), (0, 1, 3, 5, 2, 4))
    return ops.reshape(x, (-1, c * p * p, h // p, w // p))


class Block(nn.Cell):
    """x + drop_path(layer_scale(fc2(gelu(fc1(bn(neocell(x))))))) with a hidden width of 4 C, or of another form.

    Args:
        groups: channel groups of the NeoCell, C channels, with a gate 2 C.
        rng: draws the initial weights.
        linear_bias: biases in fc1 and fc2.
        layer_scale: initial value of the learnable scale of the branch, a value a channel; 0 is no scale.
        backend: of the NeoCell and the MLP; "dense" keeps the whole block to MindSpore's own operators.
        init: of the NeoCell.
        form: what stands in NeoCell's place (and is called neocell all the same), gate, GRN.

    Inputs:
        x: (N, C, H, W).
        keep: (N,) or None, what the branch of each image is multiplied with: 0 for a dropped one.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        rng: np.random.Generator,
        linear_bias=False,
        layer_scale=0.0,
        backend="auto",
        init="neo",
        form=PAPER,
    ):
        super().__init__()
        dim = sum(group.channels for group in groups) // form.channels(1)
        self.gated = form.gate
        self.neocell = form.make_mixer(groups, backend, init, rng)
        self.norm = BatchNorm(dim, backend)
        if form.gate:
            mlp = GatedMLP(dim, self.neocell, linear_bias, rng, backend, form.grn)
        else:
            mlp = MLP(dim, 4 * dim, linear_bias, rng, backend, form.grn)
        # Parts of the block as well, and before the MLP: a parameter is named by the first way to it, and fc1.weight is
        # its name in all checkpoints. Inserted, because assigning a cell renames what is in it.
        self.fc1, self.fc2, self.grn = mlp.fc1, mlp.fc2, mlp.grn
        self.insert_child_to_cell("mlp", mlp)
        scale = Tensor(np.full(dim, layer_scale, np.float32))
        self.layer_scale = Parameter(scale, name="layer_scale") if layer_scale else None
        plain = not (form.gate or form.grn)
        branch, norm_branch = (compiled(kind, backend) if plain else None for kind in ("branch", "norm_branch"))
        self.branch = branch() if branch else None
        self.norm_branch = norm_branch(EPS, KEPT) if norm_branch else None
        gate = compiled("gated_branch", backend) if form.gate and not form.grn else None
        self.gate = gate() if gate else None
        self.halves = compiled("halves", backend)() if gate else None

    def construct(self, x, keep=None):
        return self.rest(x, x if self.gated else self.neocell(x), keep)

    def rest(self, x, y, keep):
        """The block behind its NeoCell, whose output y is; with a gate, which has it in the MLP, y is x."""
        # MindSpore's mixed precision puts a Cell of its own in the norm's place.
        if self.norm_branch is not None and hasattr(self.norm, "of_batch") and self.norm_branch.serves(y):
            weights = *self.fc1.values(y), *self.fc2.values(y, self.layer_scale)
            norm = self.norm.gamma, self.norm.beta, self.norm.moving_mean, self.norm.moving_variance
            return self.norm_branch(x, y, norm, self.norm.of_batch(), weights, keep)
        y = self.norm(y)
        if self.gate is not None and self.halves.serves(y):
            u, v = self.halves(y, *self.fc1.values(y))
            return self.gate(x, u, self.neocell(v), *self.fc2.values(y, self.layer_scale), keep)
        if self.branch is not None and self.branch.serves(y):
            return self.branch(x, y, *self.fc1.values(y), *self.fc2.values(y, self.layer_scale), keep)
        y = self.mlp(y)
        if self.layer_scale is not None:
            y = y * ops.reshape(self.layer_scale.astype(x.dtype), (1, -1, 1, 1))
        if keep is not None:
            y = y * ops.reshape(keep.astype(x.dtype), (-1, 1, 1, 1))
        return x + y


class Downsample(nn.Cell):
    """Between stages: pointwise at full resolution, NeoCell 2 -> 1 in both directions, BatchNorm (paper, section 4)."""

    def __init__(self, in_dim: int, dim: int, backend, init, rng: np.random.Generator):
        super().__init__()
        self.proj = Pointwise(in_dim, dim, False, rng, backend)
        self.neocell = NeoCell([Group.resample(2, 1, dim)], backend=backend, init=init, seed=rng)
        self.norm = BatchNorm(dim, backend)

    def construct(self, x):
        return self.norm(self.neocell(self.proj(x)))


class Head(nn.Cell):
    """Global average pooling, LayerNorm (eps 1e-6), and a linear layer unless there are no classes.

    Inputs:
        x: (N, C, H, W).

    Outputs:
        (N, num_classes), or the normalised features (N, C) when num_classes is 0; float32, as they are computed.
    """

    def __init__(self, dim: int, num_classes: int, rng: np.random.Generator):
        super().__init__()
        self.norm = LayerNorm((dim,), epsilon=1e-6)
        self.fc = Linear(dim, num_classes, rng) if num_classes else None

    def construct(self, x):
        x = self.norm(ops.mean(x.astype(ms.float32), (2, 3)))
        return x if self.fc is None else self.fc(x)

    def reset(self, dim: int, num_classes: int, rng: np.random.Generator):
        """Draw the linear layer anew, or remove it when num_classes is 0; its parameters keep their names."""
        self.fc = Linear(dim, num_classes, rng) if num_classes else None
        for parameter in self.fc.get_parameters() if self.fc else ():
            parameter.name = f"head.fc.{parameter.name.rpartition('.')[2]}"


class LayerNorm(nn.LayerNorm):
    """MindSpore's, which `print` shows without all that its parameters are."""

    def __repr__(self):
        return f"LayerNorm({self.normalized_shape[0]})"


class Linear(nn.Dense):
    """A dense layer whose weight and bias start uniform in +-1/sqrt(in_channels), drawn from rng."""

    def __init__(self, in_channels: int, out_channels: int, rng: np.random.Generator):
        bound = in_channels**-0.5
        weight = rng.uniform(-bound, bound, (out_channels, in_channels)).astype(np.float32)
        bias = rng.uniform(-bound, bound, out_channels).astype(np.float32)
        super().__init__(in_channels, out_channels, weight_init=Tensor(weight), bias_init=Tensor(bias))


def check_images(rank: int, channels: int, last: int, expected: int):
    """Refuse an input that is no batch of images of a network.

    Args:
        rank: number of its dimensions.
        channels, last: its second and its last; anything where there are not so many.
        expected: channels of the network's images.

    Raises:
        UserError: names what is expected, and the way there from the usual other orders.
    """
    shape = f"images of shape (N, {expected}, H, W)"
    if rank != 4:
        hint = ", one image as images[None]" if rank == 3 else ""
        raise UserError(f"the network takes {shape}{hint}, got an input of {rank} dimensions")
    if channels != expected:
        hint = ": bring (N, H, W, C) into this order by transpose(0, 3, 1, 2)" if last == expected else ""
        raise UserError(f"the network takes {shape}, got {channels} channels{hint}")


def check_image_type(dtype: str):
    """Refuse images that are not floating-point numbers of a type that the operators have; dtype: its name.

    Raises:
        UserError: names what is expected.
    """
    if dtype.lower() not in ("float16", "float32", "bfloat16"):
        raise UserError(f"the network takes float32 or float16 images, normalised, got {dtype}: use astype")


def check_input_size(h: int, w: int, stages: int) -> tuple[tuple[int, int], ...]:
    """(H, W) of every stage for an h x w image.

    Raises:
        UserError: the stem cannot cut it into 4 x 4 cells, or a down-sampling has nothing left to halve.
    """
    smallest = Stem.patch * 2 ** (stages - 1)
    rule = f"use heights and widths that are multiples of {Stem.patch} and at least {smallest} pixels"
    if h % Stem.patch or w % Stem.patch or min(h, w) < Stem.patch:
        raise UserError(
            f"the stem cannot cut an image of {h} x {w} pixels into {Stem.patch} x {Stem.patch} cells: {rule}"
        )
    sizes = [(h // Stem.patch, w // Stem.patch)]
    for stage in range(2, stages + 1):
        h_in, w_in = sizes[-1]
        if min(h_in, w_in) < 2:
            raise UserError(
                f"an image of {h} x {w} pixels is {h_in} x {w_in} after stage {stage - 1}, which the down-sampling to "
                f"stage {stage} cannot halve: {rule}"
            )
        sizes.append((h_in // 2, w_in // 2))
    return tuple(sizes)
