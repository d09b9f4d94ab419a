"""A whole network, forward as in inference, and forward with backward as in a training step."""

from neonext_ms.benchmark.cases import Case, Settings, torch_contenders, worker_contender
from neonext_ms.benchmark.graphs import random_tensor, runner
from neonext_ms.benchmark.timing import Contender
from neonext_ms.benchmark.worker import Worker
from neonext_ms.deploy.fold.graph import fold
from neonext_ms.models import create_model
from neonext_ms.ops.precision import using_matmul_precision


def network_case(backward: bool, settings: Settings, workers: dict[str, Worker]) -> Case:
    """The model of the settings, forward also folded; beside a network of the shape of ConvNeXt-T."""

    def network(backend: str, precision: str | None = None, folded: bool = False):
        with using_matmul_precision(precision):
            made = create_model(settings.model, seed=0, backend=backend)
            if folded:
                return runner(fold(made, side, backend=backend), random_tensor(case.shape))
        dy_shape = (settings.model_batch_size, made.num_classes) if backward else None
        return runner(made, random_tensor(case.shape), dy_shape, input_gradient=False)

    def contenders() -> list[Contender]:
        found = []
        for precision in (None, "bfloat16") if "bfloat16" in settings.against else (None,):
            name = settings.model + (", bfloat16 products" if precision else "")
            found.append(Contender(name, network("auto", precision)))
            if not backward:
                found.append(Contender(f"{name}, folded", network("auto", precision, folded=True)))
        if "dense" in settings.against:
            found.append(Contender("dense", network("dense")))
        found += torch_contenders(workers, settings, case, "network", "ConvNeXt-T-shaped network")
        if settings.authors:
            name, what = "authors' PyTorch", "authors' network"
            found.append(worker_contender(workers["torch"], name, case, "torch", what, settings.model))
        return found

    side = settings.image_size
    shape = (settings.model_batch_size, 3, side, side)
    case = Case("network", backward, shape, max(2, settings.rounds // 3), contenders)
    return case
