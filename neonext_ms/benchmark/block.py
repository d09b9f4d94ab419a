"""A block of the network at the planes of the paper's network."""

import numpy as np

from neonext_ms.benchmark.cases import Case, Settings, torch_contender
from neonext_ms.benchmark.graphs import chain, random_tensor
from neonext_ms.benchmark.timing import Contender
from neonext_ms.benchmark.worker import Worker
from neonext_ms.models.layers import Block
from neonext_ms.ops import parse_spec


def block_case(stage: tuple[int, int, str, int], backward: bool, settings: Settings, torch: Worker | None) -> Case:
    """NeoCell, BatchNorm and MLP of one stage, beside a block of ConvNeXt's shape."""
    c, plane, spec, shift = stage

    def block(backend: str):
        return lambda: Block(parse_spec(spec, c, shift), np.random.default_rng(0), backend=backend)

    def contenders() -> list[Contender]:
        x = random_tensor(case.shape)
        found = [chain(block("auto"), x, backward, 1, "NeoNeXt block")]
        if "dense" in settings.against:
            found.append(chain(block("dense"), x, backward, 1, "dense"))
        if "torch" in settings.against:
            found.append(torch_contender(torch, "torch ConvNeXt-shaped block", case, "block"))
        return found

    case = Case("block", backward, (settings.batch_size, c, plane, plane), settings.rounds, contenders)
    return case
