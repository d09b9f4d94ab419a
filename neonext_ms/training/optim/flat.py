"""Parameters laid end to end, so that one operator does for all of them what would take one for each.

A network has hundreds of small parameters, and an NPU waits for its host at every launch.
"""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, mint, nn, ops


class Flat(nn.Cell):
    """Parameters as one vector, (N,) for N values in all.

    Args:
        parameters: at least one.
    """

    def __init__(self, parameters):
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.sizes = tuple(parameter.size for parameter in self.parameters)
        # Not a loop: a graph nests a loop's turns, and a large network has more parameters than it nests.
        self.map = ops.HyperMap()

    def join(self, tensors):
        """Tensors of the parameters' shapes as one vector; part of a graph, as `put` is."""
        return ops.concat(self.map(_ravel, tensors))

    def values(self):
        """The parameters' values as one vector; part of a graph."""
        return self.join(self.parameters)

    def read(self) -> Tensor:
        """The same, outside of graphs."""
        return Tensor(np.concatenate([parameter.asnumpy().ravel() for parameter in self.parameters]))

    def put(self, vector):
        """Set the parameters to the parts of a vector, which are views where the device has them."""
        return self.map(_put, self.parameters, mint.split(vector, self.sizes))

    def vector(self, name: str) -> Parameter:
        """A Parameter (N,) of zeros beside them that is not trained."""
        return Parameter(Tensor(np.zeros(sum(self.sizes), np.float32)), name=name, requires_grad=False)

    def named(self, prefix: str, vector: Parameter) -> dict[str, np.ndarray]:
        """The parts of such a Parameter as <prefix>.<parameter's name>, in the parameters' shapes; on a CPU, views."""
        parts = np.split(vector.asnumpy(), np.cumsum(self.sizes)[:-1])
        return {f"{prefix}.{p.name}": part.reshape(p.shape) for p, part in zip(self.parameters, parts)}

    def load(self, prefix: str, vector: Parameter, arrays: dict[str, np.ndarray]):
        """Set such a Parameter to what `named` has given."""
        parts = [arrays[f"{prefix}.{p.name}"].ravel() for p in self.parameters]
        vector.set_data(Tensor(np.concatenate(parts)))


def _ravel(tensor):
    return ops.reshape(tensor, (-1,))


def _put(parameter, part):
    # By copy_ and not by assign, which Ascend launches on the slow path of operators compiled at first use.
    return parameter.copy_(ops.reshape(part, parameter.shape))
