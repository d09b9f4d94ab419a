"""Less memory for more time must not change a bit."""

import mindspore as ms
import numpy as np
import pytest

from neonext_ms import create_model
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.assemble import make_steps
from tests.support.tiny import TINY, TinyConfig

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((4, 3, 32, 32)).astype(np.float32)
TARGETS = RNG.dirichlet(np.ones(10), 4).astype(np.float32)
MASKS = np.array([[1, 0, 1, 1], [2, 1, 0, 1]], np.float32)


@pytest.mark.parametrize("backend", ["auto", "dense"])
def test_weights_and_statistics_are_the_same_bits(backend):
    ms.set_context(mode=ms.GRAPH_MODE)
    found = []
    for recompute in (False, True):
        network = create_model("neonext_pico", 10, seed=0, backend=backend, **TINY)
        step, _ = make_steps(TinyConfig(optimizer="sgd", recompute=recompute), network, Ranks(0, 1, "CPU"))
        blocks = [block for stage in network.stages for block in stage]
        assert all(block.mlp._has_config_recompute == recompute for block in blocks)
        if backend == "auto":
            assert all(block.norm_branch.of_batch.again == recompute for block in blocks)
        metrics = [step(IMAGES, TARGETS, MASKS, 0.1).asnumpy() for _ in range(2)]
        found.append([*metrics, *(p.asnumpy().copy() for p in network.get_parameters())])
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
