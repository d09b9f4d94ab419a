"""How fast the parts of a network are here, beside their competitors in the same rounds."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial

import mindspore as ms

from neonext_ms.benchmark.block import block_case
from neonext_ms.benchmark.cases import Case, Settings
from neonext_ms.benchmark.machine import describe_machine
from neonext_ms.benchmark.neocell import operator_case
from neonext_ms.benchmark.network import network_case
from neonext_ms.benchmark.timing import Progress, check_rounds
from neonext_ms.benchmark.worker import Worker, check_torch
from neonext_ms.deploy.convert.authors import check_clone

PARTS = ("operator", "block", "network", "step")


def benchmark_compute(parts: Sequence[str], settings: Settings) -> dict:
    """Measure parts (any of PARTS) in graph mode, on random inputs, forward and with backward.

    Returns:
        machine: see `describe_machine`; cases: for each case its title and the results of `timing.measure`; for the
        operator also ratios, such as "patchwise / dense", how many times the time of dense patchwise takes.

    Raises:
        UserError: fewer than 2 rounds, torch asked for but not installed, no clone at authors, an unknown model.
    """
    check_rounds(settings.rounds)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with _torch(settings) as torch:
            cases = list(_cases(parts, settings, torch))
            progress = Progress(len(cases))
            measured = [_with_ratios(case.measure(progress)) for case in cases]
            return {"machine": describe_machine(torch and torch.call("version")), "cases": measured}
    finally:
        ms.set_context(mode=mode)


def _torch(settings: Settings):
    """PyTorch's process, or None where nobody asks for it."""
    if settings.authors:
        check_clone(settings.authors)
    elif "torch" in settings.against:
        check_torch()
    else:
        return contextlib.nullcontext()
    return Worker("PyTorch", "torch", partial(_torch_cases, os.cpu_count(), settings.authors))


def _torch_cases(threads: int, authors):
    from neonext_ms.benchmark.torch_cases import TorchCases

    return TorchCases(threads, authors)


def _cases(parts: Sequence[str], settings: Settings, torch: Worker | None) -> Iterator[Case]:
    for backward in (False, True):
        for stage in settings.stages:
            if "operator" in parts:
                yield operator_case(stage, backward, settings, torch)
            if "block" in parts:
                yield block_case(stage, backward, settings, torch)
    for part, backward in (("network", False), ("step", True)):
        if part in parts:
            yield network_case(backward, settings, torch)


def _with_ratios(case: dict) -> dict:
    """How the operator's formulations compare, a ratio of medians each, as far as they were measured."""
    if case["what"] != "operator":
        return case
    times = {r["name"]: r["ms"] for r in case["results"]}
    pairs = (("patchwise", "dense"), ("dense", "NeoCell"), ("patchwise", "NeoCell"), ("kernel alone", "NeoCell"))
    return {**case, "ratios": {f"{a} / {b}": times[a] / times[b] for a, b in pairs if a in times and b in times}}
