"""What the benchmark of the network's parts is told, and what each of its parts gives: cases with contenders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neonext_ms.benchmark.timing import Contender, Progress, measure
from neonext_ms.benchmark.worker import Worker

# Channels, plane, spec and shift of the stages of NeoNeXt-T at 224 (paper, section 4; 4+7 in the third stage as the
# released networks have it).
STAGES = ((96, 56, "4+7", 1), (192, 28, "4+7", 1), (384, 14, "4+7", 1), (768, 7, "7", 0))


@dataclass(frozen=True)
class Settings:
    """Of `benchmark_compute`.

    Args:
        against: names of the other contenders, each measured where it applies.
        rounds: interleaved rounds; the networks take a third of them.
        batch_size: images of the operator and the block.
        model, model_batch_size, image_size: of network and step.
        stages: (channels, plane, spec, shift) of the operator's and the block's cases.
        authors: clone of the authors' repository, whose PyTorch code then runs as one more contender.
    """

    against: Sequence[str] = ()
    rounds: int = 15
    batch_size: int = 16
    model: str = "neonext_t"
    model_batch_size: int = 8
    image_size: int = 224
    stages: Sequence[tuple[int, int, str, int]] = STAGES
    authors: Path | None = None


@dataclass(frozen=True)
class Case:
    """Contenders for the same work.

    Args:
        what: "operator", "block", "network" or "update".
        backward: forward and backward, or forward only.
        shape: of the input, (N, C, H, W).
        rounds: to measure.
        contenders: makes them, ours first; called when the case's turn has come.
    """

    what: str
    backward: bool
    shape: tuple[int, int, int, int]
    rounds: int
    contenders: Callable[[], list[Contender]]

    @property
    def title(self) -> dict:
        """Its place in the result: what, pass, shape (of one input), n (of them)."""
        return {
            "what": self.what,
            "pass": "forward + backward" if self.backward else "forward",
            "shape": " x ".join(map(str, self.shape[1:])),
            "n": self.shape[0],
        }

    def measure(self, progress: Progress) -> dict:
        """`title` and results, as `timing.measure` gives them."""
        title = self.title
        progress.begin(f"{title['what']} {title['shape']}, {title['pass']}")
        return {**title, "results": measure(self.contenders(), self.rounds, progress)}


# Of `against`: what PyTorch runs, and in which form (`TorchCases.prepare`).
TORCH = ("torch", "torch-compile", "torch-bf16")


def torch_contenders(workers: dict[str, Worker], settings: Settings, case: Case, what: str, title: str, repeats=1):
    """A case of `TorchCases` in every form that is asked for, and OpenVINO's of it.

    Args:
        workers: the processes of "torch" and "openvino".
        settings: say who is asked for.
        case: whose shape and pass they take.
        what: of `TorchCases.prepare`.
        title: of it, in names.
        repeats: layers in a row.
    """
    found = [
        worker_contender(workers["torch"], f"{form} {title}", case, form, what, repeats=repeats)
        for form in TORCH
        if form in settings.against
    ]
    if "openvino" in settings.against and not case.backward and what != "depthwise":
        found += [
            worker_contender(workers["openvino"], f"openvino {form} {title}", case, form, what)
            for form in ("f32", "bf16")
        ]
    return found


def worker_contender(worker: Worker, name: str, case: Case, form: str, what: str, *details, repeats=1) -> Contender:
    """A case of `TorchCases` or `OpenVinoCases` as a contender.

    Args:
        worker: holds them.
        name: of the contender.
        case: whose shape and pass it takes.
        form, what, details: of `prepare`.
        repeats: layers in a row.
    """
    key = f"{form} {what} {case.title} {details}"
    worker.call("prepare", key, form, what, case.shape, case.backward, *details)
    return Contender(name, lambda: worker.seconds("run", key), repeats)
