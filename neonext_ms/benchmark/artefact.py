"""How fast a trained network is in each of its forms, and what memory it takes: checkpoint, folded, MindIR, ONNX.

Beside them the authors' PyTorch code with the same weights, where there is a clone of it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neonext_ms.benchmark.timing import Contender, Progress, check_rounds, measure
from neonext_ms.benchmark.worker import Worker
from neonext_ms.deploy.convert.authors import AuthorsCode, check_clone, network_arguments
from neonext_ms.deploy.convert.official import official_state
from neonext_ms.deploy.convert.torch_file import torch_bytes
from neonext_ms.errors import UserError
from neonext_ms.markdown import table

# What runs a file of each kind. A checkpoint is measured as it was trained and folded, on compiled operators where
# there are any and ("dense") on MindSpore's own, of which exported files are made.
_CHECKPOINT_FORMS = ("network", "folded", "dense network", "dense folded")
_FORMS = {".ckpt": _CHECKPOINT_FORMS, ".mindir": ("MindIR",), ".onnx": ("onnxruntime",)}
AUTHORS = "authors' PyTorch"


class _Opened:
    """A network that was opened in its process.

    Args:
        network: function of float32 images (N, C, H, W).
        shape: of its input, N None for any.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray], shape: Sequence[int | None]):
        self._network, self._shape = network, shape
        self._images = {}

    def batch_size(self) -> int | None:
        return self._shape[0]

    def run(self, size: int):
        """Random images once through the network."""
        if size not in self._images:
            rng = np.random.default_rng(0)
            self._images[size] = rng.standard_normal((size, *self._shape[1:])).astype(np.float32)
        self._network(self._images[size])


class _Form(NamedTuple):
    """What is measured: `open` is called in a process of its own, after the framework is imported."""

    path: Path
    name: str
    framework: str
    open: Callable[[], _Opened]


def benchmark_artefacts(
    models: Sequence[str | Path], batch_sizes: Sequence[int], rounds: int, authors: Path | None = None
) -> list[dict]:
    """Measure every form in a process of its own, in interleaved rounds, on random images of its input size.

    Args:
        models: .ckpt, .mindir and .onnx files, each with its manifest or card.
        batch_sizes: images in a batch; a file that was exported for another size is left out.
        rounds: measurements of each form.
        authors: clone of the authors' repository, whose PyTorch code then runs the weights of every checkpoint, too.

    Returns:
        a row for each batch size and form: model, form, batch_size, ms (median of a batch), low_ms and high_ms
        (quartiles), images_per_second, first_ms (with compilation), peak_mb (what its process has grown by at most
        since before the file was opened), times_the_first (ms against the first row of that batch size).

    Raises:
        UserError: no model, one that cannot be run, a batch size below 1, fewer than 2 rounds, no clone at authors.
    """
    if not models:
        raise UserError("benchmark artefact needs models: --models x.ckpt x.mindir x.onnx")
    check_rounds(rounds)
    if min(batch_sizes, default=0) < 1:
        raise UserError(f"batch sizes must be at least 1, got {tuple(batch_sizes)}")
    if authors:
        check_clone(authors)
    paths = [Path(model) for model in models]
    for path in paths:
        if path.suffix not in _FORMS:
            raise UserError(f"cannot measure {path}: expected one of {', '.join(_FORMS)}")
    forms = [form for path in paths for form in _forms(path, authors)]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(f"{form.path} ({form.name})", form.framework, form.open)) for form in forms
        ]
        progress = Progress(len(batch_sizes))
        return [row for size in batch_sizes for row in _rows(size, forms, workers, rounds, progress)]


def _rows(
    size: int, forms: Sequence[_Form], workers: Sequence[Worker], rounds: int, progress: Progress
) -> Iterator[dict]:
    """Those of one batch size."""
    able = [(form, worker) for form, worker in zip(forms, workers) if worker.call("batch_size") in (None, size)]
    progress.begin(f"batch {size}")
    contenders = [Contender(form.name, partial(worker.seconds, "run", size)) for form, worker in able]
    results = measure(contenders, rounds, progress)
    for (form, worker), result in zip(able, results):
        yield {
            "model": form.path.name,
            "form": form.name,
            "batch_size": size,
            **{key: result[key] for key in ("ms", "low_ms", "high_ms")},
            "images_per_second": 1e3 * size / result["ms"],
            "first_ms": result["first_ms"],
            "peak_mb": worker.peak_mb(),
            "times_the_first": result["ms"] / results[0]["ms"],
        }


def _forms(path: Path, authors: Path | None) -> Iterator[_Form]:
    for name in _FORMS[path.suffix]:
        as_inferred = path.suffix != ".ckpt" or name == "folded"
        opened = partial(_open_model, path) if as_inferred else partial(_open_network, path, name)
        yield _Form(path, name, "mindspore", opened)
    if authors and path.suffix == ".ckpt":
        from neonext_ms.checkpoint.network import load_network

        network, card = load_network(path)
        state = torch_bytes(official_state({p.name: p.asnumpy() for p in network.get_parameters()}, {}))
        side = card.preprocess.image_size
        yield _Form(path, AUTHORS, "torch", partial(_open_authors, authors, network_arguments(network), state, side))


def artefact_table(rows: Sequence[dict]) -> str:
    """Rows of `benchmark_artefacts` as a Markdown table."""
    header = ("model", "form", "N", "ms", "quartiles", "images/s", "times the first", "first call (ms)", "memory (MB)")
    cells = [
        (
            row["model"],
            row["form"],
            str(row["batch_size"]),
            f"{row['ms']:.1f}",
            f"{row['low_ms']:.1f} - {row['high_ms']:.1f}",
            f"{row['images_per_second']:.1f}",
            f"{row['times_the_first']:.2f}",
            f"{row['first_ms']:.0f}",
            f"{row['peak_mb']:.0f}",
        )
        for row in rows
    ]
    return table((header, *cells))


def _open_model(path: Path) -> _Opened:
    """As `neonext infer` runs it."""
    from neonext_ms.deploy.opening import open_model

    opened = open_model(path)
    side = opened.card.preprocess.image_size
    return _Opened(opened.network, [opened.batch_size, 3, side, side])


def _open_network(path: Path, form: str) -> _Opened:
    """A checkpoint in one of _CHECKPOINT_FORMS."""
    import mindspore as ms

    from neonext_ms.checkpoint.network import load_network
    from neonext_ms.deploy.fold.graph import fold

    ms.set_context(mode=ms.GRAPH_MODE)
    backend = "dense" if "dense" in form else "auto"
    network, card = load_network(path, backend=backend)
    side = card.preprocess.image_size
    if "folded" in form:
        network = fold(network, side, backend=backend)
    return _Opened(lambda images: network(ms.Tensor(images)).asnumpy(), [None, 3, side, side])


def _open_authors(clone: Path, arguments: dict, state: bytes, side: int) -> _Opened:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)  # not what MindSpore has put into OMP_NUM_THREADS
    network = AuthorsCode(clone.resolve()).build(arguments, BytesIO(state))

    def run(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return _Opened(run, [None, 3, side, side])
