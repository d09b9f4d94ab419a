"""What ranks tell each other, as Cells: CPUs have kernels for collectives in graphs, and none for those outside."""

from mindspore import mint, nn, ops

# MindSpore's AllReduce for CPUs has failed now and then with 10 million values and more.
MOST_ON_CPU = 2**22


class SumOverRanks(nn.Cell):
    """Sums a vector over all ranks.

    Args:
        ranks: the job's `Ranks`.

    Inputs:
        vector: float32 (N,).

    Outputs:
        (N,), the same on every rank.
    """

    def __init__(self, ranks):
        super().__init__(auto_prefix=False)
        self.most = MOST_ON_CPU if ranks.device == "CPU" else 0
        self.all_reduce = ops.AllReduce()

    def construct(self, vector):
        if self.most == 0 or vector.shape[0] <= self.most:
            return self.all_reduce(vector)
        sums = ()
        for piece in mint.split(vector, self.most):
            sums = (*sums, self.all_reduce(piece))
        return ops.concat(sums)


class PartOfSum(nn.Cell):
    """Sums a vector over all ranks, of which each gets the part that is its own: rank 0 the first one.

    Args:
        ranks: the job's `Ranks`.

    Inputs:
        vector: float32 (N,), N a multiple of their number.

    Outputs:
        (N / ranks,).
    """

    def __init__(self, ranks):
        super().__init__(auto_prefix=False)
        self.ranks = ranks
        # CPUs have no kernel for it (MindSpore 2.10).
        self.reduce_scatter = ops.ReduceScatter() if ranks.device == "Ascend" else None
        self.sum = SumOverRanks(ranks)

    def construct(self, vector):
        if self.reduce_scatter is not None:
            return self.reduce_scatter(vector)
        size = vector.shape[0] // self.ranks.world
        return mint.narrow(self.sum(vector), 0, self.ranks.rank * size, size)


class Gather(nn.Cell):
    """Lays the vectors of all ranks end to end.

    Args:
        ranks: the job's `Ranks`.

    Inputs:
        part: float32 (n,), as long on every rank.

    Outputs:
        (ranks n,), the same on every rank.
    """

    def __init__(self, ranks):
        super().__init__(auto_prefix=False)
        self.world = ranks.world
        self.most = MOST_ON_CPU // ranks.world if ranks.device == "CPU" else 0
        self.all_gather = ops.AllGather()

    def construct(self, part):
        if self.most == 0 or part.shape[0] <= self.most:
            return self.all_gather(part)
        rows = ()
        for piece in mint.split(part, self.most):
            rows = (*rows, ops.reshape(self.all_gather(piece), (self.world, -1)))
        return ops.reshape(ops.concat(rows, 1), (-1,))
