"""The arithmetic of folding: a trained network's constants multiplied together on the host, in float64.

Every BatchNorm is a scale and an offset a channel and goes into the matrix product beside it: the stem's into the
pointwise layer before it, the blocks' into fc1 after it, the down-samplings' into their NeoCell's left blocks and bias.
The layer scale goes into fc2, the LayerNorm's scale and offset into the classifier.
"""

from dataclasses import dataclass

import numpy as np

from neonext_ms.errors import UserError
from neonext_ms.models.neonext import NeoNeXt
from neonext_ms.ops import Group


@dataclass(frozen=True)
class FoldedCell:
    """A NeoCell: per group its blocks, left (C_g, h_out, h_in) and right (C_g, w_in, w_out); bias (C,) or None."""

    groups: tuple[Group, ...]
    left: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    bias: np.ndarray | None


@dataclass(frozen=True)
class FoldedBlock:
    """x + fc2 @ gelu(fc1 @ neocell(x) + bias1) + bias2; fc1 (4 C, C), fc2 (C, 4 C), bias2 may be None.

    Gated x + fc2 @ (gelu(u) * neocell(v)) + bias2, where fc1 @ x + bias1 is u (2 C rows) above v; fc2 (C, 2 C).
    """

    neocell: FoldedCell
    fc1: np.ndarray
    bias1: np.ndarray
    fc2: np.ndarray
    bias2: np.ndarray | None
    gated: bool


@dataclass(frozen=True)
class FoldedDownsample:
    """neocell(proj @ x), with the bias in the NeoCell; proj (2 C, C)."""

    proj: np.ndarray
    neocell: FoldedCell


@dataclass(frozen=True)
class FoldedWeights:
    """All that a folded network computes with, float64.

    stem (C, 48) with stem_bias (C,); stages: for each its blocks, all but the first preceded by a down-sampling; head
    (C, K) with head_bias (K,), applied to features normalised without scale and offset.
    """

    stem: np.ndarray
    stem_bias: np.ndarray
    downsamples: tuple[FoldedDownsample, ...]
    stages: tuple[tuple[FoldedBlock, ...], ...]
    head: np.ndarray
    head_bias: np.ndarray
    head_epsilon: float


def fold_weights(network: NeoNeXt) -> FoldedWeights:
    """The constants of a trained network, folded.

    Raises:
        UserError: a network without a classifier, which is what gets folded, or of other blocks than the paper's or
            those with a gate.
    """
    if network.features_only or not network.num_classes:
        raise UserError("only a network with a classifier can be folded: create it with num_classes of at least 1")
    network.spec.refuse_other_forms("folding", taken=["gate"])
    scale, offset = _affine(network.stem.norm)
    head, fc = network.head.norm, network.head.fc
    weight = _array(fc.weight)
    return FoldedWeights(
        stem=scale[:, None] * _array(network.stem.proj.weight),
        stem_bias=offset,
        downsamples=tuple(map(_downsample, network.downsamples)),
        stages=tuple(tuple(map(_block, stage)) for stage in network.stages),
        head=(weight * _array(head.gamma)).T,
        head_bias=weight @ _array(head.beta) + _array(fc.bias),
        head_epsilon=head.epsilon,
    )


def _block(block) -> FoldedBlock:
    scale, offset = _affine(block.norm)
    fc1, fc2 = _array(block.fc1.weight), _array(block.fc2.weight)
    bias1 = fc1 @ offset
    if block.fc1.bias is not None:
        bias1 += _array(block.fc1.bias)
    bias2 = None if block.fc2.bias is None else _array(block.fc2.bias)
    if block.layer_scale is not None:
        branch = _array(block.layer_scale)
        fc2 = branch[:, None] * fc2
        bias2 = None if bias2 is None else branch * bias2
    return FoldedBlock(_cell(block.neocell), fc1 * scale, bias1, fc2, bias2, block.gated)


def _downsample(downsample) -> FoldedDownsample:
    return FoldedDownsample(_array(downsample.proj.weight), _cell(downsample.neocell, *_affine(downsample.norm)))


def _cell(cell, scale: np.ndarray | None = None, offset: np.ndarray | None = None) -> FoldedCell:
    """A NeoCell, followed by a scale and an offset a channel where they are given."""
    left, right = [tuple(map(_array, blocks)) for blocks in (cell.left, cell.right)]
    bias = None if cell.bias is None else _array(cell.bias)
    if scale is not None:
        parts = np.split(scale, np.cumsum([group.channels for group in cell.groups])[:-1])
        left = tuple(part[:, None, None] * blocks for part, blocks in zip(parts, left))
        bias = offset if bias is None else scale * bias + offset
    return FoldedCell(cell.groups, left, right, bias)


def _affine(norm) -> tuple[np.ndarray, np.ndarray]:
    """BatchNorm in evaluation is scale * x + offset; both (C,)."""
    scale = _array(norm.gamma) / np.sqrt(_array(norm.moving_variance) + norm.eps)
    return scale, _array(norm.beta) - scale * _array(norm.moving_mean)


def _array(parameter) -> np.ndarray:
    return parameter.asnumpy().astype(np.float64)
