"""From the gradients of an update to new weights, inside the graph."""

from mindspore import mint, nn, ops

from neonext_ms.ops.backend import compiled
from neonext_ms.runtime.collectives import PartOfSum, SumOverRanks
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.optim.loss_scale import LEAST
from neonext_ms.training.statistics import Statistics


class MeanOverRanks(nn.Cell):
    """Averages vectors over all ranks, in few messages.

    Args:
        ranks: of the job.
        parts: whether each of them gets its own part of every mean alone.

    Inputs:
        vectors: tuple of (N,) float32.

    Outputs:
        (N,) vectors, the same on every rank; or (N / ranks,) ones.
    """

    def __init__(self, ranks: Ranks, parts: bool = False):
        super().__init__(auto_prefix=False)
        self.share = 1 / ranks.world
        self.sum = PartOfSum(ranks) if parts else SumOverRanks(ranks)

    def construct(self, vectors):
        means = ()
        for vector in vectors:
            means = (*means, self.sum(vector) * self.share)
        return means


class Clip(nn.Cell):
    """Says whether gradients may be applied, and times what.

    Args:
        max_norm: greatest global norm of the gradients; 0 is no limit.
        loss_scale: a LossScale, by which the gradients are multiplied, or None.

    Inputs:
        loss: float32 scalar.
        squares: what `sum_of_squares` gives of all gradients, vectors of groups of parameters; of ranks that share,
            the sum of theirs.
        limit: float32 scalar.

    Outputs:
        factor: that unscales and clips them.
        norm: their global norm before clipping.
        finite: bool scalar, False where loss or gradients are no numbers, or the loss is above the limit.
        scale: that they were multiplied by; one that is dynamic is another one now.
    """

    def __init__(self, max_norm: float = 0.0, loss_scale=None):
        super().__init__(auto_prefix=False)
        self.max_norm = max_norm
        self.loss_scale = loss_scale
        self.map = ops.HyperMap()
        squares = compiled("sum_of_squares", "auto")
        self.squares = squares() if squares else _squares

    def sum_of_squares(self, gradients):
        """float32 scalar; part of a graph."""
        return ops.addn(self.map(self.squares, gradients))

    def construct(self, loss, squares, limit):
        # A copy by an operator that does nothing: a bare Parameter would show the scale of the next update (MindSpore
        # 2.10), and a product with 1 is left out of the graph.
        scale = ops.ones_like(squares) if self.loss_scale is None else ops.maximum(self.loss_scale.scale, LEAST)
        norm = ops.sqrt(squares) / scale
        numbers = ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))
        finite = ops.logical_and(numbers, loss <= limit)
        factor = 1 / scale
        if self.max_norm > 0:
            factor = factor * self.max_norm / ops.maximum(norm, self.max_norm)
        if self.loss_scale is not None:
            norm = ops.depend(norm, self.loss_scale(numbers))  # a spike says nothing about the scale
        return factor, norm, finite, scale


class Update(nn.Cell):
    """Averages gradients over devices, decides whether they are numbers, clips and applies them.

    A gradient or loss that is not finite, on any device, changes nothing: no weight, no state of the optimizer, no
    running statistic of BatchNorm, no average; it halves a dynamic loss scale. The decision is computed from what all
    devices share, so all take the same; it is arithmetic instead of a branch, so that the host need not wait for it.

    Where ranks share the optimizer's state, each gets the mean gradient of its part and updates that. The norm is that
    of all gradients, but for the rounding of its sum of squares: that is a sum of the ranks' sums then.

    Args:
        network: with BatchNorm, whose running statistics the forward passes have changed already.
        optimizer: a Cell of (gradients, lr, finite, factor).
        ranks: of the job.
        clip: a Clip.
        ema: an EMA of the network, or None.

    Inputs:
        loss, gradients: means over the images of this device; gradients as the optimizer joins them.
        correct: number of its right answers.
        lr: float32 scalar.
        limit: float32 scalar; an update with a loss above it changes nothing either.
        flags: float32 vector, what this rank has to tell.

    Outputs:
        float32 vector: the fields of `StepMetrics`, then the sums of all ranks' flags.
    """

    def __init__(self, network, optimizer, ranks: Ranks, clip: Clip, ema=None):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.world = ranks.world
        self.shared = optimizer.shared
        self.reducer = MeanOverRanks(ranks, optimizer.shared) if ranks.world > 1 else None
        self.all_reduce = ops.AllReduce() if ranks.world > 1 else None
        self.clip = clip
        self.ema = ema
        self.statistics = Statistics(network)

    def stateful(self) -> list:
        """The Cells with `state` and `load_state` that a resumed run needs besides the network."""
        return [cell for cell in (self.optimizer, self.clip.loss_scale, self.ema) if cell is not None]

    def construct(self, loss, correct, gradients, lr, limit, flags):
        if self.reducer is not None:
            gradients = self.reducer(gradients)
        squares = self.clip.sum_of_squares(gradients)
        if self.all_reduce is not None:
            told = (loss / self.world, correct)
            if self.shared:
                told = (*told, squares)
            total = self.all_reduce(ops.concat([ops.stack(told), flags]))
            loss, correct = mint.select(total, 0, 0), mint.select(total, 0, 1)
            if self.shared:
                squares = mint.select(total, 0, 2)
            flags = mint.narrow(total, 0, len(told), flags.shape[0])
        factor, norm, finite, scale = self.clip(loss, squares, limit)
        weights = self.optimizer(gradients, lr, finite, factor)
        statistics = self.statistics(finite)
        if self.ema is not None:
            weights = self.ema(weights, statistics, finite)
        loss = ops.depend(loss, (weights, statistics))
        return ops.concat([ops.stack([loss, correct, norm, finite.astype(loss.dtype), scale]), flags])


def _squares(gradient):
    return ops.sum(ops.square(gradient))
