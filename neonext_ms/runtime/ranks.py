"""Devices and ranks: where this process runs and what it shares with the others."""

import os
from dataclasses import dataclass
from functools import cache

import numpy as np

from neonext_ms.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among those of the job.

    Args:
        rank: 0..world-1; rank 0 writes files and reports.
        world: number of processes, one a device.
        device: "CPU" or "Ascend".
    """

    rank: int
    world: int
    device: str

    @property
    def first(self) -> bool:
        return self.rank == 0

    def total(self, values) -> np.ndarray:
        """Element-wise sum over all ranks of a small float32 vector."""
        values = np.asarray(values, np.float32)
        if self.world == 1:
            return values
        from mindspore import Tensor

        return _sum_over_ranks()(Tensor(values)).asnumpy()


@cache
def _sum_over_ranks():
    """A Cell, because the eager AllReduce has no CPU kernel and the one in a graph has."""
    from mindspore import nn, ops

    class SumOverRanks(nn.Cell):
        def __init__(self):
            super().__init__()
            self.all_reduce = ops.AllReduce()

        def construct(self, x):
            return self.all_reduce(x)

    return SumOverRanks()


def ascend_available() -> bool:
    """Whether this machine has an Ascend NPU and a MindSpore that can use it."""
    try:
        import mindspore.hal

        return mindspore.hal.is_available("Ascend")
    except (ImportError, RuntimeError, ValueError, AttributeError):
        return False


def join_ranks(device: str) -> Ranks:
    """Choose the device, set graph mode, and join the other ranks when a launcher started several.

    Args:
        device: "auto", "CPU" or "Ascend".

    Raises:
        UserError: an Ascend device was asked for and there is none.
    """
    import mindspore as ms

    if device == "auto":
        device = "Ascend" if ascend_available() else "CPU"
    elif device == "Ascend" and not ascend_available():
        raise UserError("device Ascend was asked for, but MindSpore finds no NPU here: use device=CPU or auto")
    if ms.get_context("device_target") != device:  # MindSpore refuses even the same choice once something has run
        ms.set_device(device)
    ms.set_context(mode=ms.GRAPH_MODE)
    # msrun sets MS_WORKER_NUM for every worker, a rank table launcher RANK_SIZE.
    if int(os.environ.get("MS_WORKER_NUM") or os.environ.get("RANK_SIZE") or 1) == 1:
        return Ranks(0, 1, device)
    from mindspore import communication

    communication.init()
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
    return Ranks(communication.get_rank(), communication.get_group_size(), device)


def gradient_reducer(parameters, ranks: Ranks):
    """A Cell that averages gradients over all ranks, or None for one."""
    if ranks.world == 1:
        return None
    from mindspore import nn

    return nn.DistributedGradReducer(parameters, mean=True, degree=ranks.world)


def average_batch_statistics(network, ranks: Ranks):
    """Replace BatchNorm's running statistics, which each rank gathers from its own images, by their mean."""
    if ranks.world == 1:
        return
    from mindspore import Tensor

    statistics = [p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))]
    flat = ranks.total(np.concatenate([p.asnumpy().ravel() for p in statistics])) / np.float32(ranks.world)
    offset = 0
    for parameter in statistics:
        parameter.set_data(Tensor(flat[offset : offset + parameter.size].reshape(parameter.shape)))
        offset += parameter.size
