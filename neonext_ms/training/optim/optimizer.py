"""What AdamW and SGD share. The learning rate is an input: the schedule lives on the host, and a run can be resumed."""

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, nn, ops

from neonext_ms.ops.backend import compiled
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.optim.flat import Flat

DECAYED = ("weight", "left", "right")


def weight_decay_mask(parameters) -> tuple[bool, ...]:
    """Whether weight decay applies to each parameter (paper, Table 2).

    It does to the matrices: pointwise and linear weights and NeoCell blocks. It does not to norms, biases and layer
    scale, which are all vectors.
    """
    mask = []
    for parameter in parameters:
        kind = next(part for part in reversed(parameter.name.split(".")) if not part.isdigit())
        decayed = kind in DECAYED
        if decayed != (parameter.ndim > 1):
            raise RuntimeError(f"parameter {parameter.name} {parameter.shape} belongs to no weight-decay group")
        mask.append(decayed)
    return tuple(mask)


def value_or(finite, value, otherwise: float):
    """The value where finite, a float32 scalar."""
    return ops.select(finite, ops.ones((), ms.float32) * value, ops.ones((), ms.float32) * otherwise)


class Optimizer(nn.Cell):
    """What optimisers share: parameters in groups that are treated alike, each group a vector, and state beside them.

    On a CPU a compiled rule changes parameters and state in place, in one pass. Elsewhere MindSpore's operators get, of
    finite = False, gradients of zero, a learning rate of 0 and moments that forget nothing, which changes no bit.

    Args:
        parameters: to update; their names decide which of them decay, see `weight_decay_mask`.
        weight_decay: of those.
        lr_scales: what the learning rate of each parameter is multiplied with; None is 1 for all.
        ranks: of a job that shares weights and state, each rank with a part of every group, which it alone updates
            (https://arxiv.org/abs/1910.02054, stage 1); None shares nothing.

    Attributes:
        parameters: group by group, in the order of the gradients.
        groups: a `Flat` each.
        lr_scales, decays: of each group.
        shared: whether ranks share.
        in_place: the compiled rule for each group, or None; held: how many tensors hold the group's weights for it.
        weights: (N,) of each group, or this rank's part (P,): the parameters' values, which an update changes here and
            then puts there. A graph that read the parameters again after the forward pass would copy every one first.
            There are none where the compiled rule changes the parameters themselves.
    """

    rule: str  # its name among the compiled operators

    def __init__(self, parameters, weight_decay: float, lr_scales=None, ranks: Ranks | None = None):
        super().__init__(auto_prefix=False)
        parameters = list(parameters)
        members = {}
        for parameter, *kind in zip(parameters, lr_scales or [1.0] * len(parameters), weight_decay_mask(parameters)):
            members.setdefault(tuple(kind), []).append(parameter)
        self.weight_decay = weight_decay
        self.lr_scales, self.decays = zip(*members)
        self.shared = ranks is not None
        self.groups = nn.CellList([Flat(group, ranks) for group in members.values()], auto_prefix=False)
        self.parameters = ParameterTuple([p for group in members.values() for p in group])
        in_place = compiled(self.rule, "auto")
        self.held = [1 if self.shared else len(group.sizes) for group in self.groups]
        self.in_place = nn.CellList([*map(in_place, self.held)]) if in_place else None
        self.weights = () if in_place and not self.shared else self.parts("weights")
        self.map = ops.HyperMap()
        self.read_parameters()
        self._states = {}

    def read_parameters(self):
        """To be called when somebody else has set the parameters."""
        for group, vector in zip(self.groups, self.weights):
            vector.set_data(group.read())

    def join(self, gradients):
        """Gradients, one a parameter, as a vector a group; part of a graph."""
        vectors, first = (), 0
        for group in self.groups:
            last = first + len(group.sizes)
            vectors = (*vectors, group.join(gradients[first:last]))
            first = last
        return vectors

    def scaled(self, gradients, finite, factor):
        """Gradients for MindSpore's operators; part of a graph."""
        return self.map(ops.partial(_scaled_if, finite, factor), gradients)

    def change(self, i: int, numbers, vectors):
        """Apply the compiled rule to a group; returns its weights as far as they are held here. Part of a graph."""
        if self.shared:
            return (self.put(i, self.in_place[i](numbers, vectors, (self.weights[i],))),)
        parameters = self.groups[i].parameters
        self.in_place[i](numbers, vectors, parameters)
        return parameters

    def put(self, i: int, done):
        """Set a group's parameters to its weights once `done` is; returns those held here. Part of a graph."""
        weights = ops.depend(self.weights[i], done)
        return ops.depend(weights, self.groups[i].put(weights))

    def vectors(self, prefix: str) -> ParameterTuple:
        """A vector of zeros for each group."""
        return ParameterTuple([group.vector(f"{prefix}.{i}") for i, group in enumerate(self.groups)])

    def parts(self, prefix: str) -> ParameterTuple:
        """Such vectors, or this rank's parts of them."""
        return ParameterTuple([group.part(f"{prefix}.{i}") for i, group in enumerate(self.groups)])

    def keep(self, prefix: str) -> ParameterTuple:
        """These as part of the state, saved as <prefix>.<parameter's name>."""
        self._states[prefix] = self.parts(prefix)
        return self._states[prefix]

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed run needs besides the parameters. Of ranks that share, all of it: each of them has to ask."""
        named = {}
        for prefix, vectors in self._states.items():
            for group, vector in zip(self.groups, vectors):
                named |= group.named(prefix, vector)
        return named

    def load_state(self, state: dict[str, np.ndarray]):
        """Take what `state` has given, maybe among others', and the parameters as they are."""
        self.read_parameters()
        for prefix, vectors in self._states.items():
            for group, vector in zip(self.groups, vectors):
                group.load(prefix, vector, state)


def _scaled_if(finite, factor, gradient):
    return ops.select(finite, gradient * factor, ops.zeros_like(gradient))
