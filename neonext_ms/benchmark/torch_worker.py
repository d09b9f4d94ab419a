"""PyTorch's side of the benchmark, in a process of its own: two frameworks' thread pools do not share one well."""

import importlib.util
import multiprocessing
import time
from pathlib import Path

from neonext_ms.deploy.convert.authors import AuthorsCode, check_clone
from neonext_ms.errors import UserError


class TorchWorker:
    """Runs PyTorch's depthwise convolution, blocks and networks built on it, and the authors' code; reports seconds.

    Used as a context manager. Raises UserError where torch is not installed.

    Args:
        threads: of PyTorch.
        authors: clone of the authors' repository, or None.
    """

    def __init__(self, threads: int, authors: Path | None = None):
        if authors:
            check_clone(authors)
        elif importlib.util.find_spec("torch") is None:
            raise UserError("--against torch needs PyTorch, which is not installed: pip install torch")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, threads, authors), daemon=True)
        self._process.start()
        theirs.close()
        self.version = self._pipe.recv()

    def prepare(self, key: str, what: str, shape: tuple[int, ...], backward: bool, *details):
        """Make a case; shape is the input's.

        what is "depthwise" (a chain of 8), "block", "network", "authors' cell" (details: spec, shift) or "authors'
        network" (details: model).
        """
        self._ask("prepare", key, what, shape, backward, *details)

    def run(self, key: str) -> float:
        """Seconds of one run of a prepared case."""
        return self._ask("run", key)

    def _ask(self, *request):
        self._pipe.send(request)
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pipe.close()
        self._process.join(10)


def _serve(pipe, threads: int, authors: Path | None):
    import torch

    torch.set_num_threads(threads)
    pipe.send(torch.__version__)
    code = None
    cases = {}
    while True:
        try:
            verb, key, *rest = pipe.recv()
        except EOFError:
            return
        try:
            if verb == "prepare":
                if rest[0].startswith("authors") and code is None:
                    code = AuthorsCode(authors)
                cases[key] = _case(torch, code, *rest)
                pipe.send(None)
            else:
                start = time.perf_counter()
                cases[key]()
                pipe.send(time.perf_counter() - start)
        except UserError as error:
            pipe.send(error)
        except Exception as error:
            pipe.send(RuntimeError(f"PyTorch failed at {key}: {error}"))


def _case(torch, authors: AuthorsCode | None, what: str, shape, backward: bool, *details):
    """A callable that does the work once."""
    nn = torch.nn

    def depthwise(c):
        return nn.Conv2d(c, c, 7, padding=3, groups=c)

    class Block(nn.Module):
        """ConvNeXt's shape with this project's norm: depthwise 7 x 7, BatchNorm, C -> 4C, GELU, 4C -> C."""

        def __init__(self, c):
            super().__init__()
            self.branch = nn.Sequential(
                depthwise(c), nn.BatchNorm2d(c), nn.Conv2d(c, 4 * c, 1), nn.GELU(), nn.Conv2d(4 * c, c, 1)
            )

        def forward(self, x):
            return x + self.branch(x)

    def network(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)):
        layers = [nn.Conv2d(3, dims[0], 4, 4), nn.BatchNorm2d(dims[0])]
        for stage, (depth, dim) in enumerate(zip(depths, dims)):
            if stage:
                layers += [nn.Conv2d(dims[stage - 1], dim, 2, 2), nn.BatchNorm2d(dim)]
            layers += [Block(dim) for _ in range(depth)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dims[-1], 1000))

    torch.manual_seed(0)
    if what == "depthwise":
        net = nn.Sequential(*(depthwise(shape[1]) for _ in range(8)))
    elif what == "authors' cell":
        spec, shift = details
        net = authors.cell(spec, shape[1], shift)
    elif what == "authors' network":
        net = authors.network(*details)
    else:
        net = Block(shape[1]) if what == "block" else network()
    net.train(backward)
    x = torch.randn(shape, requires_grad=backward and "network" not in what)
    if not backward:

        def run():
            with torch.no_grad():
                net(x)

        return run
    dy = torch.randn_like(net(x))

    def run():
        net.zero_grad()
        x.grad = None
        net(x).backward(dy)

    return run
