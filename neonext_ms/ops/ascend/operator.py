"""An AscendC operator of `ascend_kernels/` as MindSpore calls it."""

import mindspore as ms
from mindspore import ops
from mindspore.ops import CustomRegOp, DataType

INSTALLED = "aclnn"
HALF = (DataType.F16_Default, DataType.BF16_Default)
FLOAT = (DataType.F32_Default, DataType.F32_Default)


def operator(name: str, inputs: dict, outputs: dict, shape, dtype) -> ops.Custom:
    """An operator without attributes.

    Args:
        name: with what stands before it: "aclnn" for the operators installed on this machine, "<library>:" for a
            function of a shared library.
        inputs, outputs: names of the tensors, each with its types in the operator's two forms, HALF or FLOAT.
        shape, dtype: as for ops.Custom.
    """
    info = CustomRegOp(name)
    for i, tensor in enumerate(inputs):
        info = info.input(i, tensor, "required")
    for i, tensor in enumerate(outputs):
        info = info.output(i, tensor, "required")
    for types in zip(*inputs.values(), *outputs.values()):
        info = info.dtype_format(*types)
    info = info.target(ms.get_context("device_target")).get_op_info()
    return ops.Custom(name, shape, dtype, "aot", reg_info=info)
