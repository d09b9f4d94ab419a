"""An AscendC operator of `ascend_kernels/` as MindSpore calls it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
from mindspore import ops
from mindspore.ops import CustomRegOp, DataType

from neonext_ms.ops.cpu.cache import temporary_folder

INSTALLED = "aclnn"
HALF = (DataType.F16_Default, DataType.BF16_Default)
FLOAT = (DataType.F32_Default, DataType.F32_Default)
_CACHE = "MS_COMPILER_CACHE_PATH"


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
    with _compiling_elsewhere():
        return ops.Custom(name, shape, dtype, "aot", reg_info=info)


@contextmanager
def _compiling_elsewhere() -> Iterator[None]:
    """Let ops.Custom compile its bindings where this process may write, and not in the user's working folder.

    It does so with every process, into MS_COMPILER_CACHE_PATH or ./custom_kernel_meta (MindSpore 2.10). The variable is
    not left set: MindSpore's cache of compiled graphs has the same one, and is to outlive the process.
    """
    if os.environ.get(_CACHE):
        yield
        return
    os.environ[_CACHE] = str(temporary_folder())
    try:
        yield
    finally:
        del os.environ[_CACHE]
