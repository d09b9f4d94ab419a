"""What a network has learned, in numbers: its blocks, how far its features see, and where it looks.

The paper's first direction of further work (section 6) is to look at the learned matrices.
"""

from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn

from neonext_ms.models.neonext import NeoNeXt
from neonext_ms.ops.init import averaging_identity


@dataclass(frozen=True)
class Blocks:
    """The learned blocks of one size in one stage.

    Attributes:
        stage: from 1 on.
        size: k.
        left: (n, k, k), A of the channels of all NeoCells of the stage.
        right: (n, k, k), B of the same channels.
    """

    stage: int
    size: int
    left: np.ndarray
    right: np.ndarray

    @property
    def name(self) -> str:
        return f"stage {self.stage}, {self.size} x {self.size}"

    def distances(self) -> np.ndarray:
        """(n,): how far A and B are from the identity, Frobenius norms against its own; their mean."""
        identity = averaging_identity(self.size, self.size)
        norms = [np.linalg.norm(side - identity, axis=(1, 2)) for side in (self.left, self.right)]
        return np.mean(norms, axis=0) / np.linalg.norm(identity)

    def singular_values(self) -> np.ndarray:
        """(2 n, k): those of A and B, the largest first."""
        return np.linalg.svd(np.concatenate([self.left, self.right]), compute_uv=False)

    def stencils(self) -> np.ndarray:
        """(n, k, k): what A X B makes of a plane that is 1 in the middle of a block and 0 elsewhere."""
        middle = self.size // 2
        return self.left[:, :, middle, None] * self.right[:, middle, None, :]


def blocks_of(network: NeoNeXt) -> list[Blocks]:
    """All blocks of the stages' NeoCells, by stage and size; UserError where they are of another form."""
    network.spec.refuse_other_forms("picture of the blocks", taken=["gate"])
    found = []
    for stage, cells in enumerate(network.stages, 1):
        for i, group in enumerate(cells[0].neocell.groups):
            left, right = (
                np.concatenate([getattr(cell.neocell, side)[i].asnumpy() for cell in cells]).astype(np.float64)
                for side in ("left", "right")
            )
            found.append(Blocks(stage, group.left[0], left, right))
    return found


class Stages(nn.Cell):
    """(N, c, H, W) to the outputs of all stages of a network that has a head."""

    def __init__(self, network: NeoNeXt):
        super().__init__()
        self.network = network

    def construct(self, x):
        return self.network.stage_outputs(x)


class _Centres(nn.Cell):
    """The weighted sum of the features in the middle of several outputs, over images and channels."""

    def __init__(self, features: nn.Cell):
        super().__init__()
        self.features = features

    def construct(self, x, weights):
        total = 0
        for i, y in enumerate(self.features(x)):
            h, w = y.shape[2:]
            total = total + weights[i] * y[:, :, h // 2, w // 2].sum()
        return total


def receptive_fields(features: nn.Cell, images: np.ndarray) -> list[np.ndarray]:
    """How much every pixel counts for the features in the middle of a plane (https://arxiv.org/abs/1701.04128).

    Args:
        features: (N, c, H, W) to a tuple of (N, C_i, H_i, W_i), such as `Stages`.
        images: (N, c, H, W) float32.

    Returns:
        (H, W) for each output: |gradient of its channels' sum at (H_i // 2, W_i // 2)|, over channels and images.
    """
    gradient = ms.grad(_Centres(features))
    x = ms.Tensor(images)
    count = len(features(x))
    return [np.abs(gradient(x, ms.Tensor(row)).asnumpy()).sum((0, 1)) for row in np.eye(count, dtype=np.float32)]


def side_of(field: np.ndarray, share: float, outputs: int) -> int:
    """Side in pixels of the smallest square around the middle that holds this share of a receptive field.

    Args:
        field: (S, S).
        share: 0 to 1.
        outputs: H_i = W_i of the plane whose middle the field belongs to.
    """
    middle = int((outputs // 2 + 0.5) * len(field) / outputs)
    far = np.abs(np.arange(len(field)) - middle)
    rings = np.bincount(np.maximum.outer(far, far).ravel(), field.ravel())
    return 2 * int(np.searchsorted(np.cumsum(rings), share * rings.sum() * (1 - 1e-9))) + 1


class _Chosen(nn.Cell):
    """The sum of the logits of chosen classes (N, K, one-hot), from the output of a stage (counted from 0)."""

    def __init__(self, network: NeoNeXt, stage: int):
        super().__init__()
        self.network = network
        self.stage = stage

    def construct(self, x, chosen):
        for i in range(self.stage + 1, len(self.network.stages)):
            x = self.network.downsamples[i - 1](x)
            for cell in self.network.stages[i]:
                x = cell(x)
        return (self.network.forward_head(x) * chosen).sum()


def class_activation(network: NeoNeXt, images: np.ndarray, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a network sees the class that it names (Grad-CAM, https://arxiv.org/abs/1610.02391).

    Args:
        network: with a classifier, in evaluation.
        images: (N, c, H, W) float32.
        stage: whose channels are looked at, from 1 on.

    Returns:
        logits (N, K), and (N, H', W') >= 0: the stage's channels, weighted by the gradients of the largest logit.
    """
    outputs = Stages(network)(ms.Tensor(images))
    features, logits = outputs[stage - 1], network.forward_head(outputs[-1]).asnumpy()
    chosen = np.eye(logits.shape[1], dtype=np.float32)[logits.argmax(1)]
    gradients = ms.grad(_Chosen(network, stage - 1))(features, ms.Tensor(chosen)).asnumpy()
    weights = gradients.sum((2, 3), keepdims=True)
    return logits, np.maximum((weights * features.asnumpy()).sum(1), 0)


def with_convolutions(network: NeoNeXt, seed: int = 0) -> NeoNeXt:
    """Put fresh depthwise 7 x 7 convolutions, ConvNeXt's, in the place of all NeoCells of a network's stages."""
    rng = np.random.default_rng(seed)
    for dim, cells in zip(map(network.spec.form.channels, network.spec.dims), network.stages):
        for cell in cells:
            weight = np.clip(rng.normal(0, 0.02, (dim, 1, 7, 7)), -0.04, 0.04).astype(np.float32)
            made = nn.Conv2d(dim, dim, 7, group=dim, pad_mode="pad", padding=3, weight_init=ms.Tensor(weight))
            for holder in (cell, cell.mlp) if cell.gated else (cell,):  # with a gate the MLP is what calls it
                holder.neocell = made
    return network
