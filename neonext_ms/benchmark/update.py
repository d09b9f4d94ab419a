"""An update of a network's weights from their gradients, beside a plain copy of what it cannot help moving."""

import contextlib
import dataclasses

import numpy as np
from mindspore import Tensor

from neonext_ms.benchmark.cases import Case, Settings
from neonext_ms.benchmark.graphs import random_tensor
from neonext_ms.benchmark.kernel_alone import Copy
from neonext_ms.benchmark.timing import Contender
from neonext_ms.models import create_model
from neonext_ms.ops.fallback import Unavailable
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.ema import EMA

MOVED = 9 / 2  # copies of the weights: gradients are read; weights, both moments and averages are read and written


@dataclasses.dataclass(frozen=True)
class _UpdateCase(Case):
    """shape: (1, weights)."""

    @property
    def title(self) -> dict:
        weights = f"{self.shape[1] / 1e6:.1f} M weights"
        return {"what": "update", "pass": "AdamW, clipping, EMA", "shape": weights, "n": 1}


def update_case(settings: Settings) -> Case:
    """The model of the settings; "copy" moves as many bytes as the update must, once."""
    network = create_model(settings.model, seed=0)
    optimizer = AdamW(network.trainable_params(), 0.05)
    weights = sum(parameter.size for parameter in optimizer.parameters)

    def contenders() -> list[Contender]:
        found = [Contender(settings.model, _runner(network, optimizer))]
        with contextlib.suppress(Unavailable):
            found.append(Contender("copy", Copy(int(MOVED * weights)).run))
        return found

    return _UpdateCase("update", False, (1, weights), settings.rounds, contenders)


def _runner(network, optimizer):
    ranks = Ranks(0, 1, "CPU")
    update = Update(network, optimizer, ranks, Clip(1.0), EMA(network, optimizer, 0.999)).set_train(True)
    gradients = tuple(random_tensor(vector.shape) for vector in optimizer.vectors("gradients"))
    one, lr, limit = (Tensor(np.float32(value)) for value in (1, 1e-4, np.inf))
    flags = Tensor(np.zeros(2, np.float32))

    def run():
        update(one, one, gradients, lr, limit, flags).asnumpy()

    return run
