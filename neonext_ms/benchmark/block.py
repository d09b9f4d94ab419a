"""A block of the network at the planes of the paper's network."""

import numpy as np

from neonext_ms.benchmark.cases import Case, Settings, torch_contenders
from neonext_ms.benchmark.graphs import chain, random_tensor
from neonext_ms.benchmark.timing import Contender
from neonext_ms.benchmark.worker import Worker
from neonext_ms.models.layers import Block
from neonext_ms.ops import parse_spec
from neonext_ms.ops.precision import using_matmul_precision


def block_case(
    stage: tuple[int, int, str, int], backward: bool, settings: Settings, workers: dict[str, Worker]
) -> Case:
    """NeoCell, BatchNorm and MLP of one stage, beside a block of ConvNeXt's shape."""
    c, plane, spec, shift = stage

    def block(backend: str):
        return lambda: Block(parse_spec(spec, c, shift), np.random.default_rng(0), backend=backend)

    def contenders() -> list[Contender]:
        x = random_tensor(case.shape)
        found = [chain(block("auto"), x, backward, 1, "NeoNeXt block")]
        if "bfloat16" in settings.against:
            with using_matmul_precision("bfloat16"):
                found.append(chain(block("auto"), x, backward, 1, "NeoNeXt block, bfloat16 products"))
        if "dense" in settings.against:
            found.append(chain(block("dense"), x, backward, 1, "dense"))
        return found + torch_contenders(workers, settings, case, "block", "ConvNeXt-shaped block")

    case = Case("block", backward, (settings.batch_size, c, plane, plane), settings.rounds, contenders)
    return case
