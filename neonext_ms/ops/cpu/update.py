"""What an update of the weights does to long vectors, as compiled operators for CPUs: one pass over memory each.

Three of them change what they are given where it is. MindSpore is told, as of its own operators that assign: it keeps
them in their order, and hands them Parameters themselves and not copies.
"""

import math

import mindspore as ms
from mindspore import nn, ops
from mindspore.ops.signature import make_sig, sig_rw

from neonext_ms.ops.cpu.library import cpu_library


class Join(nn.Cell):
    """Tensors, N float32 values in all, to a vector (N,) of them end to end."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.operator = _operator("neonext_join", lambda *shapes: [sum(map(math.prod, shapes))])

    def construct(self, tensors):
        return self.operator(*tensors)


class SumOfSquares(nn.Cell):
    """(N,) float32 to the scalar sum of squares."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.operator = _operator("neonext_sum_of_squares")

    def construct(self, vector):
        return ops.reshape(self.operator(vector), ())


class InPlace(nn.Cell):
    """A rule by which vectors and parameters change, as ascend_kernels/cpu/neonext_cpu.h describes it.

    Args:
        parameters: how many there will be.

    Inputs:
        numbers: tuple of float32 scalars.
        vectors: tuple of (N,) float32.
        parameters: tuple, float32, N values in all, which lie end to end beside the vectors.

    Outputs:
        (1,) float32, of no meaning.
    """

    rule: str
    vectors: int

    def __init__(self, parameters: int):
        super().__init__(auto_prefix=False)
        self.operator = _operator(self.rule)
        self.operator.add_prim_attr("side_effect_mem", True)
        changed = [make_sig(f"tensor{i}", sig_rw.RW_REF) for i in range(self.vectors + parameters)]
        self.operator.set_signatures([make_sig("numbers"), *changed])

    def construct(self, numbers, vectors, parameters):
        return self.operator(ops.stack(numbers), *vectors, *parameters)


class AdamWUpdate(InPlace):
    """Numbers: (whether, factor, kept, step, beta1, beta2, eps). Vectors: (gradients, moments, second moments)."""

    rule, vectors = "neonext_adamw", 3


class SGDUpdate(InPlace):
    """Numbers: (whether, factor, decay, step, momentum). Vectors: (gradients, velocities)."""

    rule, vectors = "neonext_sgd", 2


class Average(InPlace):
    """Averages move by a rate towards the parameters, which stay. Numbers: (rate,). Vectors: (averages,)."""

    rule, vectors = "neonext_average", 1


def _operator(name: str, out_shape=lambda *_: [1]) -> ops.Custom:
    return ops.Custom(f"{cpu_library()}:{name}", out_shape, lambda *_: ms.float32, "aot")
