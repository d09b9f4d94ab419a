"""What an update of the weights does to long vectors, as compiled operators for CPUs: one pass over memory each."""

import mindspore as ms
from mindspore import nn, ops

from neonext_ms.ops.cpu.library import cpu_library


class SumOfSquares(nn.Cell):
    """(N,) float32 to the scalar sum of squares."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.operator = _operator("neonext_sum_of_squares", lambda *_: [1])

    def construct(self, vector):
        return ops.reshape(self.operator(vector), ())


class ScaledIf(nn.Cell):
    """factor x where `wanted`, a bool scalar, and else zeros, whatever x holds; (N,) float32."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.operator = _operator("neonext_scaled", lambda _, x: x)

    def construct(self, wanted, factor, x):
        return self.operator(ops.stack([wanted.astype(factor.dtype), factor]), x)


class Average(nn.Cell):
    """a + rate (w - a), where w is the values of all parameters end to end; (N,) float32."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.operator = _operator("neonext_average", lambda _, averages, *parameters: averages)

    def construct(self, rate, averages, parameters):
        return self.operator(ops.reshape(rate, (1,)), averages, *parameters)


def _operator(name: str, out_shape) -> ops.Custom:
    return ops.Custom(f"{cpu_library()}:{name}", out_shape, lambda *_: ms.float32, "aot")
