"""How fast a trained network is in each of its forms, and what memory it takes: checkpoint, folded, MindIR, ONNX."""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from neonext_ms.analysis.timing import Contender, measure
from neonext_ms.errors import UserError

# What runs a file of each kind. A checkpoint is measured as it was trained and folded.
_FORMS = {".ckpt": ("network", "folded"), ".mindir": ("MindIR",), ".onnx": ("onnxruntime",)}


def benchmark_artefacts(models: Sequence[str | Path], batch_sizes: Sequence[int], rounds: int) -> list[dict]:
    """Measure every form in a process of its own, in interleaved rounds, on random images of its input size.

    Args:
        models: .ckpt, .mindir and .onnx files, each with its manifest or card.
        batch_sizes: images in a batch; a file that was exported for another size is left out.
        rounds: measurements of each form.

    Returns:
        a row for each batch size and form: model, form, batch_size, ms (median of a batch), low_ms and high_ms
        (quartiles), images_per_second, first_ms (with compilation), peak_mb (what its process has grown by at most
        since before the file was opened), times_the_first (ms against the first row of that batch size).

    Raises:
        UserError: no model, an unknown kind of file, fewer than 2 rounds, a file that does not open.
    """
    if not models or min(batch_sizes, default=0) < 1 or rounds < 2:
        raise UserError(
            f"an artefact benchmark needs models, batch sizes of at least 1 and at least 2 rounds, got {list(models)}, "
            f"{list(batch_sizes)} and {rounds}: as in --models '[x.ckpt, x.mindir]' --batch_sizes '[1, 8]'"
        )
    paths = [Path(model) for model in models]
    for path in paths:
        if path.suffix not in _FORMS:
            raise UserError(f"cannot measure {path}: expected one of {', '.join(_FORMS)}")
    rows = []
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_Worker(path, form)) for path in paths for form in _FORMS[path.suffix]]
        for size in batch_sizes:
            able = [worker for worker in workers if worker.batch_size in (None, size)]
            contenders = [Contender(worker.form, partial(worker.run, size)) for worker in able]
            results = measure(contenders, rounds) if able else []
            for worker, result in zip(able, results):
                rows.append(
                    {
                        "model": worker.path.name,
                        "form": worker.form,
                        "batch_size": size,
                        **{key: result[key] for key in ("ms", "low_ms", "high_ms")},
                        "images_per_second": 1e3 * size / result["ms"],
                        "first_ms": result["first_ms"],
                        "peak_mb": worker.peak_mb(),
                        "times_the_first": result["ms"] / results[0]["ms"],
                    }
                )
    return rows


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

    def __init__(self, path: Path, form: str):
        self.path, self.form = path, form
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, path, form), daemon=True)
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
            raise UserError(f"the process that ran {self.path} ({self.form}) ended before it answered") from None
        if isinstance(answer, UserError):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)


def _serve(pipe, path: Path, form: str):
    import mindspore  # noqa: F401 (its size is not the network's)

    before = _peak_mb()
    try:
        network, shape = _open(path, form)
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        pipe.send(error if isinstance(error, UserError) else UserError(f"cannot run {path} ({form}): {first_line}"))
        return
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


def _peak_mb() -> float:
    """Largest memory of this process so far. getrusage would count that of the process it was started from, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _open(path: Path, form: str) -> tuple[Callable[[np.ndarray], np.ndarray], list]:
    """The network as a function of arrays, and the shape of its input, N None for any."""
    import mindspore as ms

    from neonext_ms.deploy.opening import open_model
    from neonext_ms.training.checkpoint import load_network

    if form != "network":
        opened = open_model(path)
        side = opened.facts["preprocess"]["image_size"]
        return opened.network, [opened.batch_size, 3, side, side]
    ms.set_context(mode=ms.GRAPH_MODE)
    network, manifest = load_network(path)
    side = manifest["preprocess"]["image_size"]
    return lambda images: network(ms.Tensor(images)).asnumpy(), [None, 3, side, side]
