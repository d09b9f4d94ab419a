"""PyTorch's side of the benchmark, for a process of its own: see `worker`."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from neonext_ms.deploy.convert.authors import AuthorsCode


class TorchCases:
    """PyTorch's depthwise convolution, blocks and networks built on it, WBMM's operator, and the authors' code.

    Args:
        threads: of PyTorch.
        authors: clone of the authors' repository, or None.
    """

    def __init__(self, threads: int, authors: Path | None = None):
        torch.set_num_threads(threads)
        # All cases are compiled from the same few lines of code; beyond 8 forms of them PyTorch would run eagerly.
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1 << 20
        self._authors = authors and AuthorsCode(authors)
        self._cases = {}

    def version(self) -> str:
        """PyTorch's."""
        return torch.__version__

    def prepare(self, key: str, form: str, what: str, shape: tuple[int, ...], backward: bool, *details):
        """Make a case.

        Args:
            key: to run it by.
            form: "torch" (eager, float32), "torch-compile" (compiled, float32) or "torch-bf16" (compiled; forward all
                in bfloat16, with backward by autocast). The compiled ones have their channels last in memory.
            what: "depthwise" and "wbmm" (details: window; chains of 8), "block", "network", "authors' cell" (details:
                spec, shift) or "authors' network" (details: model).
            shape: of the input, (N, C, H, W).
            backward: forward and backward, or forward only.
        """
        torch.manual_seed(0)
        net = network(what, shape[1], *details) if not what.startswith("authors'") else self._theirs(what, *details)
        self._cases[key] = _runner(net, form, shape, backward, input_gradient="network" not in what)

    def run(self, key: str):
        """A prepared case once."""
        self._cases[key]()

    def _theirs(self, what: str, *details) -> nn.Module:
        return self._authors.cell(*details) if what == "authors' cell" else self._authors.network(*details)


def network(what: str, channels: int, *details) -> nn.Module:
    """What a case runs, but for the authors' code."""
    if what == "depthwise":
        return nn.Sequential(*(_depthwise(channels) for _ in range(8)))
    if what == "wbmm":
        return nn.Sequential(*(WindowedProduct(channels, *details) for _ in range(8)))
    return Block(channels) if what == "block" else convnext_shaped()


class Block(nn.Module):
    """ConvNeXt's shape with this project's norm: depthwise 7 x 7, BatchNorm, C -> 4C, GELU, 4C -> C."""

    def __init__(self, c: int):
        super().__init__()
        self.branch = nn.Sequential(
            _depthwise(c), nn.BatchNorm2d(c), nn.Conv2d(c, 4 * c, 1), nn.GELU(), nn.Conv2d(4 * c, c, 1)
        )

    def forward(self, x):
        return x + self.branch(x)


def convnext_shaped(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)) -> nn.Module:
    """A network of such blocks in the sizes of ConvNeXt-T."""
    layers = [nn.Conv2d(3, dims[0], 4, 4), nn.BatchNorm2d(dims[0])]
    for stage, (depth, dim) in enumerate(zip(depths, dims)):
        if stage:
            layers += [nn.Conv2d(dims[stage - 1], dim, 2, 2), nn.BatchNorm2d(dim)]
        layers += [Block(dim) for _ in range(depth)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dims[-1], 1000))


def _depthwise(c: int) -> nn.Module:
    return nn.Conv2d(c, c, 7, padding=3, groups=c)


class WindowedProduct(nn.Module):
    """WBMM's operator (https://arxiv.org/abs/2607.02097): each w x w window of a channel times one w^2 x w^2 matrix.

    The matrix takes its values from a table of (2 w - 1)^2 relative positions a channel. (N, C, H, W), H and W
    multiples of w.
    """

    def __init__(self, channels: int, window: int):
        super().__init__()
        self.window = window
        self.table = nn.Parameter(0.02 * torch.randn(channels, (2 * window - 1) ** 2))
        at = torch.arange(window)
        rows, columns = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
        relative = (rows[:, None] - rows + window - 1) * (2 * window - 1) + columns[:, None] - columns + window - 1
        self.register_buffer("relative", relative)

    def forward(self, x):
        w, (n, c, height, width) = self.window, x.shape
        windows = x.reshape(n, c, height // w, w, width // w, w).permute(1, 0, 2, 4, 3, 5).reshape(c, -1, w * w)
        y = torch.bmm(windows, self.table[:, self.relative].transpose(1, 2))
        y = y.reshape(c, n, height // w, width // w, w, w).permute(1, 0, 2, 4, 3, 5)
        return y.reshape(n, c, height, width)


def _runner(net: nn.Module, form: str, shape, backward: bool, input_gradient: bool) -> Callable[[], None]:
    net.train(backward)
    x = torch.randn(shape)
    if form != "torch":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if form == "torch-bf16" and not backward:
        net, x = net.bfloat16(), x.bfloat16()
    called = net if form == "torch" else torch.compile(net, dynamic=False)
    if not backward:

        def run():
            with torch.no_grad():
                called(x)

        return run
    mixed = form == "torch-bf16"
    x.requires_grad_(input_gradient)

    def forward():
        with torch.autocast("cpu", torch.bfloat16) if mixed else contextlib.nullcontext():
            return called(x)

    dy = torch.randn_like(forward())

    def run():
        net.zero_grad()
        x.grad = None
        forward().backward(dy)

    return run
