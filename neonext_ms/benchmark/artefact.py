"""How fast a trained network is in each of its forms, and what memory it takes: checkpoint, folded, MindIR, ONNX.

Beside them the authors' PyTorch code with the same weights, where there is a clone of it.
"""

import contextlib
import importlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neonext_ms.benchmark.timing import Contender, measure
from neonext_ms.deploy.convert.authors import AuthorsCode, check_clone, network_arguments
from neonext_ms.deploy.convert.official import official_state
from neonext_ms.deploy.convert.torch_file import torch_bytes
from neonext_ms.errors import UserError

# What runs a file of each kind. A checkpoint is measured as it was trained and folded, on compiled operators where
# there are any and ("dense") on MindSpore's own, of which exported files are made.
_CHECKPOINT_FORMS = ("network", "folded", "dense network", "dense folded")
_FORMS = {".ckpt": _CHECKPOINT_FORMS, ".mindir": ("MindIR",), ".onnx": ("onnxruntime",)}
AUTHORS = "authors' PyTorch"

# A network as a function of arrays, and the shape of its input, N None for any.
_Opened = tuple[Callable[[np.ndarray], np.ndarray], list]


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
        UserError: no model, one that cannot be run, a batch size below 1, no round, no clone at authors.
    """
    if not models:
        raise UserError("benchmark artefact needs models: --models '[x.ckpt, x.mindir, x.onnx]'")
    if rounds < 2 or min(batch_sizes, default=0) < 1:
        raise UserError(f"rounds must be at least 2, batch sizes at least 1, got {rounds} and {tuple(batch_sizes)}")
    if authors:
        check_clone(authors)
    paths = [Path(model) for model in models]
    for path in paths:
        if path.suffix not in _FORMS:
            raise UserError(f"cannot measure {path}: expected one of {', '.join(_FORMS)}")
    rows = []
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(form)) for path in paths for form in _forms(path, authors)]
        for size in batch_sizes:
            able = [worker for worker in workers if worker.batch_size in (None, size)]
            contenders = [Contender(worker.form.name, partial(worker.run, size)) for worker in able]
            results = measure(contenders, rounds) if able else []
            for worker, result in zip(able, results):
                rows.append(
                    {
                        "model": worker.form.path.name,
                        "form": worker.form.name,
                        "batch_size": size,
                        **{key: result[key] for key in ("ms", "low_ms", "high_ms")},
                        "images_per_second": 1e3 * size / result["ms"],
                        "first_ms": result["first_ms"],
                        "peak_mb": worker.peak_mb(),
                        "times_the_first": result["ms"] / results[0]["ms"],
                    }
                )
    return rows


def _forms(path: Path, authors: Path | None) -> Iterator[_Form]:
    for name in _FORMS[path.suffix]:
        as_inferred = path.suffix != ".ckpt" or name == "folded"
        opened = partial(_open_model, path) if as_inferred else partial(_open_network, path, name)
        yield _Form(path, name, "mindspore", opened)
    if authors and path.suffix == ".ckpt":
        from neonext_ms.checkpoint.network import load_network

        network, manifest = load_network(path)
        state = torch_bytes(official_state({p.name: p.asnumpy() for p in network.get_parameters()}, {}))
        side = manifest["preprocess"]["image_size"]
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
    widths = [max(map(len, column)) for column in zip(header, *cells)]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in (header, *cells)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class _Worker:
    """A form in a process of its own: thread pools do not share one well, and its memory is counted by itself."""

    def __init__(self, form: _Form):
        self.form = form
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, form), daemon=True)
        self._process.start()
        theirs.close()
        self.batch_size = self._answer()

    def run(self, size: int) -> float:
        """Seconds that a batch takes."""
        return self._ask(size)

    def peak_mb(self) -> float:
        return self._ask(None)

    def _ask(self, request):
        self._pipe.send(request)
        return self._answer()

    def _answer(self):
        try:
            answer = self._pipe.recv()
        except EOFError:
            path, name, *_ = self.form
            raise UserError(f"the process that ran {path} ({name}) ended before it answered") from None
        if isinstance(answer, UserError):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)


def _serve(pipe, form: _Form):
    importlib.import_module(form.framework)  # its size is not the network's
    before = _peak_mb()
    try:
        network, shape = form.open()
        pipe.send(shape[0])
        images = {}
        with contextlib.suppress(EOFError):
            while True:
                size = pipe.recv()
                if size is None:
                    pipe.send(_peak_mb() - before)
                    continue
                if size not in images:
                    rng = np.random.default_rng(0)
                    images[size] = rng.standard_normal((size, *shape[1:])).astype(np.float32)
                start = time.perf_counter()
                network(images[size])
                pipe.send(time.perf_counter() - start)
    except UserError as error:
        pipe.send(error)
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        pipe.send(UserError(f"cannot run {form.path} ({form.name}): {first_line}"))


def _peak_mb() -> float:
    """Largest memory of this process so far. getrusage would count that of the process it was started from, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _open_model(path: Path) -> _Opened:
    """As `neonext infer` runs it."""
    from neonext_ms.deploy.opening import open_model

    opened = open_model(path)
    side = opened.facts["preprocess"]["image_size"]
    return opened.network, [opened.batch_size, 3, side, side]


def _open_network(path: Path, form: str) -> _Opened:
    """A checkpoint in one of _CHECKPOINT_FORMS."""
    import mindspore as ms

    from neonext_ms.checkpoint.network import load_network
    from neonext_ms.deploy.fold.graph import fold

    ms.set_context(mode=ms.GRAPH_MODE)
    backend = "dense" if "dense" in form else "auto"
    network, manifest = load_network(path, backend=backend)
    side = manifest["preprocess"]["image_size"]
    if "folded" in form:
        network = fold(network, side, backend=backend)
    return lambda images: network(ms.Tensor(images)).asnumpy(), [None, 3, side, side]


def _open_authors(clone: Path, arguments: dict, state: bytes, side: int) -> _Opened:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)  # not what MindSpore has put into OMP_NUM_THREADS
    network = AuthorsCode(clone.resolve()).build(arguments, BytesIO(state))

    def run(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run, [None, 3, side, side]
