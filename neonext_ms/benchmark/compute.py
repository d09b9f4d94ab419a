"""How fast the parts of a network are here, beside their competitors in the same rounds."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial

import mindspore as ms

from neonext_ms.benchmark.block import block_case
from neonext_ms.benchmark.cases import TORCH, Case, Settings
from neonext_ms.benchmark.machine import describe_machine
from neonext_ms.benchmark.neocell import operator_case
from neonext_ms.benchmark.network import network_case
from neonext_ms.benchmark.timing import Progress, check_rounds
from neonext_ms.benchmark.update import update_case
from neonext_ms.benchmark.worker import Worker, check_installed
from neonext_ms.deploy.convert.authors import check_clone

PARTS = ("operator", "block", "network", "step", "update")


def benchmark_compute(parts: Sequence[str], settings: Settings) -> dict:
    """Measure parts (any of PARTS) in graph mode, on random inputs, forward and with backward.

    Returns:
        machine: see `describe_machine`; cases: for each case its title and the results of `timing.measure`; for the
        operator also ratios, such as "patchwise / dense", how many times the time of dense patchwise takes.

    Raises:
        UserError: fewer than 2 rounds, a contender that is not installed, no clone at authors, an unknown model.
    """
    check_rounds(settings.rounds)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with contextlib.ExitStack() as stack:
            workers = _workers(settings, stack)
            cases = list(_cases(parts, settings, workers))
            progress = Progress(len(cases))
            measured = [_with_ratios(case.measure(progress)) for case in cases]
            versions = {name: worker.call("version") for name, worker in workers.items()}
            return {"machine": describe_machine(**versions), "cases": measured}
    finally:
        ms.set_context(mode=mode)


def _workers(settings: Settings, stack: contextlib.ExitStack) -> dict[str, Worker]:
    """The processes of PyTorch and OpenVINO, each where somebody asks for it, which end with the stack."""
    workers = {}
    for_torch = [name for name in (*TORCH, "wbmm") if name in settings.against]
    if "openvino" in settings.against:
        check_installed("openvino", "torch", "openvino")
        workers["openvino"] = Worker("OpenVINO", "openvino", partial(_openvino_cases, os.cpu_count()))
    if settings.authors:
        check_clone(settings.authors)
    elif for_torch:
        check_installed(for_torch[0], "torch")
    if settings.authors or for_torch:
        workers["torch"] = Worker("PyTorch", "torch", partial(_torch_cases, os.cpu_count(), settings.authors))
    return {name: stack.enter_context(worker) for name, worker in workers.items()}


def _torch_cases(threads: int, authors):
    from neonext_ms.benchmark.torch_cases import TorchCases

    return TorchCases(threads, authors)


def _openvino_cases(threads: int):
    from neonext_ms.benchmark.openvino_cases import OpenVinoCases

    return OpenVinoCases(threads)


def _cases(parts: Sequence[str], settings: Settings, workers: dict[str, Worker]) -> Iterator[Case]:
    for backward in (False, True):
        for stage in settings.stages:
            if "operator" in parts:
                yield operator_case(stage, backward, settings, workers)
            if "block" in parts:
                yield block_case(stage, backward, settings, workers)
    for part, backward in (("network", False), ("step", True)):
        if part in parts:
            yield network_case(backward, settings, workers)
    if "update" in parts:
        yield update_case(settings)


def _with_ratios(case: dict) -> dict:
    """How the operator's formulations compare, a ratio of medians each, as far as they were measured."""
    if case["what"] != "operator":
        return case
    times = {r["name"]: r["ms"] for r in case["results"]}
    pairs = (("patchwise", "dense"), ("dense", "NeoCell"), ("patchwise", "NeoCell"), ("kernel alone", "NeoCell"))
    return {**case, "ratios": {f"{a} / {b}": times[a] / times[b] for a, b in pairs if a in times and b in times}}
