"""A whole network, forward as in inference, and forward with backward as in a training step."""

from neonext_ms.benchmark.cases import Case, Settings, torch_contenders, worker_contender
from neonext_ms.benchmark.graphs import random_tensor, runner
from neonext_ms.benchmark.timing import Contender
from neonext_ms.benchmark.worker import Worker
from neonext_ms.deploy.fold.graph import fold
from neonext_ms.models import create_model
from neonext_ms.ops.precision import using_matmul_precision


def network_case(backward: bool, settings: Settings, workers: dict[str, Worker]) -> Case:
    """The model of the settings, forward also as `Classifier` has it, folded; beside a network of ConvNeXt-T's shape."""

    def network(backend: str, precision: str | None = None, folded: bool = False):
        with using_matmul_precision(precision):
            made = create_model(settings.model, seed=0, backend=backend)
            if folded:
                return runner(fold(made, side, backend=backend), random_tensor(case.shape))
        dy_shape = (settings.model_batch_size, made.num_classes) if backward else None
        return runner(made, random_tensor(case.shape), dy_shape, input_gradient=False)

    def contenders() -> list[Contender]:
        forms = {"": None} | ({", bfloat16 products": "bfloat16"} if "bfloat16" in settings.against else {})
        found = [Contender(f"{settings.model}{form}", network("auto", forms[form])) for form in forms]
        if not backward:
            found += [
                Contender(f"{settings.model}, folded{form}", network("auto", forms[form], True)) for form in forms
            ]
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
