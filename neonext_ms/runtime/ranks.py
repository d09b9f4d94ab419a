"""Devices and ranks: where this process runs and what it shares with the others."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from neonext_ms.errors import UserError
from neonext_ms.runtime.cann import missing_packages
from neonext_ms.runtime.graph_cache import ignore_graph_cache

log = logging.getLogger(__name__)

SIMULATION = "MS_SIMULATION_LEVEL"  # of MindSpore: compile for, and pretend to run on, one of RANK_SIZE devices


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
        return values if self.world == 1 else self._run("SumOverRanks", values)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """The float32 vectors (n,) of all ranks, (ranks, n); the same on every rank."""
        return values[None] if self.world == 1 else self._run("Gather", values).reshape(self.world, -1)

    def _run(self, collective: str, values: np.ndarray) -> np.ndarray:
        from mindspore import Tensor

        return _cell(collective, self)(Tensor(values)).asnumpy()


@cache
def _cell(collective: str, ranks: Ranks):
    from neonext_ms.runtime import collectives

    return getattr(collectives, collective)(ranks)


def ascend_available() -> bool:
    """Whether this machine has an Ascend NPU and a MindSpore that can use it."""
    try:
        import mindspore.hal

        return mindspore.hal.is_available("Ascend")
    except (ImportError, RuntimeError, ValueError, AttributeError):
        return False


def join_ranks(device: str, jit_level: str = "O1") -> Ranks:
    """Choose the device, set graph mode, and join the other ranks when a launcher started several.

    Args:
        device: "auto", "CPU" or "Ascend".
        jit_level: MindSpore's on an NPU, "O0" or "O1"; O1 launches fewer kernels (`neonext benchmark ascend`).

    Raises:
        UserError: an Ascend device was asked for and there is none.
    """
    import mindspore as ms

    ignore_graph_cache()
    if device == "auto":
        device = "Ascend" if ascend_available() else "CPU"
    elif device == "Ascend" and not ascend_available():
        raise UserError("device Ascend was asked for, but MindSpore finds no NPU here: use device=CPU or auto")
    if ms.get_context("device_target") != device:  # MindSpore refuses even the same choice once something has run
        # A start by rank table says in DEVICE_ID which NPU is this rank's; MindSpore by itself takes the first.
        npu = os.environ.get("DEVICE_ID") or "0"
        ms.set_device(device, _number("DEVICE_ID", npu, "the number of an NPU", 0) if device == "Ascend" else None)
    ms.set_context(mode=ms.GRAPH_MODE)
    if device == "Ascend":
        ms.set_context(jit_level=jit_level)
        if lacking := missing_packages():
            log.warning("CANN needs %s, not installed here: pip install 'neonext_ms[ascend]'", ", ".join(lacking))
    if world_size(os.environ) == 1:
        return Ranks(0, 1, device)
    from mindspore import communication

    communication.init()
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
    return Ranks(communication.get_rank(), communication.get_group_size(), device)


def world_size(environment: Mapping[str, str]) -> int:
    """How many ranks the launcher of this process has started; 1 without a launcher.

    msrun says so in MS_WORKER_NUM and tells each process its MS_ROLE; a start by rank table says it in RANK_SIZE, as
    does a simulation. A variable without its partner was left in the shell by something else and counts for nothing.

    Args:
        environment: os.environ.

    Raises:
        UserError: the launcher's number is none.
    """
    for name, partner in (("MS_WORKER_NUM", "MS_ROLE"), ("RANK_SIZE", "RANK_TABLE_FILE"), ("RANK_SIZE", SIMULATION)):
        text = environment.get(name)
        if text and environment.get(partner):
            return _number(name, text, "the number of ranks of the job", 1)
    return 1


def _number(name: str, text: str, what: str, least: int) -> int:
    """Of an environment variable; UserError if it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and int(text) >= least):
        raise UserError(f"{name} must be {what}, at least {least}, got {text[:20]!r}: unset it")
    return int(text)
