"""Parameters laid end to end, so that one operator does for all of them what would take one for each.

A network has hundreds of small parameters, and an NPU waits for its host at every launch.
"""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, mint, nn, ops

from neonext_ms.ops.backend import compiled
from neonext_ms.runtime.collectives import Gather
from neonext_ms.runtime.ranks import Ranks


class Flat(nn.Cell):
    """Parameters as one vector, (N,) for N values in all.

    Vectors beside them may be shared by the ranks of a job, of which each holds a part, (P,): P = N for one rank; for
    more, zeros behind the values make N a multiple of their number.

    Args:
        parameters: at least one.
        ranks: that share, or None.
    """

    def __init__(self, parameters, ranks: Ranks | None = None):
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.sizes = tuple(parameter.size for parameter in self.parameters)
        self.ranks = ranks or Ranks(0, 1, "CPU")
        self.padding = -sum(self.sizes) % self.ranks.world
        self.zeros = Tensor(np.zeros(self.padding, np.float32)) if self.padding else None
        self.gather = Gather(ranks) if ranks else None
        # Not a loop: a graph nests a loop's turns, and a large network has more parameters than it nests.
        self.map = ops.HyperMap()
        joined = compiled("join", "auto")
        self.joined = joined() if joined else None

    def join(self, tensors):
        """Tensors of the parameters' shapes as one vector; part of a graph, as `put` is."""
        if self.joined is None:
            return self._concatenated(tensors)
        return self.joined(tensors if self.zeros is None else (*tensors, self.zeros))

    def values(self):
        """The parameters' values as one vector; part of a graph."""
        # Not by a compiled operator, which might read a Parameter before it is assigned (MindSpore 2.10).
        return self._concatenated(self.parameters)

    def _concatenated(self, tensors):
        vectors = self.map(_ravel, tensors)
        return ops.concat(vectors if self.zeros is None else (*vectors, self.zeros))

    def read(self) -> Tensor:
        """The same, outside of graphs; of ranks that share, this one's part."""
        return self._part([parameter.asnumpy() for parameter in self.parameters])

    def put(self, vector):
        """Set the parameters to the values of a vector, or of the ranks' parts; these are views where there are any."""
        if self.gather is not None:
            vector = self.gather(vector)
        if self.padding:
            return self.map(_put, self.parameters, mint.split(vector, (*self.sizes, self.padding))[:-1])
        return self.map(_put, self.parameters, mint.split(vector, self.sizes))

    def vector(self, name: str) -> Parameter:
        """A Parameter (N,) of zeros beside them that is not trained."""
        return _zeros(sum(self.sizes) + self.padding, name)

    def part(self, name: str) -> Parameter:
        """Such a Parameter (P,), this rank's."""
        return _zeros((sum(self.sizes) + self.padding) // self.ranks.world, name)

    def named(self, prefix: str, part: Parameter) -> dict[str, np.ndarray]:
        """Its values as <prefix>.<parameter's name>, in the parameters' shapes; on a CPU, views.

        Of ranks that share, all values: each of them has to ask.
        """
        values = np.split(self.ranks.gather(part.asnumpy()).ravel(), np.cumsum(self.sizes))
        return {f"{prefix}.{p.name}": value.reshape(p.shape) for p, value in zip(self.parameters, values)}

    def load(self, prefix: str, part: Parameter, arrays: dict[str, np.ndarray]):
        """Set such a Parameter to what `named` has given."""
        part.set_data(self._part([arrays[f"{prefix}.{p.name}"] for p in self.parameters]))

    def _part(self, arrays: list[np.ndarray]) -> Tensor:
        values = np.concatenate([*(array.ravel() for array in arrays), np.zeros(self.padding, np.float32)])
        return Tensor(values.reshape(self.ranks.world, -1)[self.ranks.rank])


def _zeros(size: int, name: str) -> Parameter:
    return Parameter(Tensor(np.zeros(size, np.float32)), name=name, requires_grad=False)


def _ravel(tensor):
    return ops.reshape(tensor, (-1,))


def _put(parameter, part):
    # By copy_ and not by assign, which Ascend launches on the slow path of operators compiled at first use.
    return parameter.copy_(ops.reshape(part, parameter.shape))
