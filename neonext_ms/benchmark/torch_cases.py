"""PyTorch's side of the benchmark, for a process of its own: see `worker`."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from neonext_ms.deploy.convert.authors import AuthorsCode


class TorchCases:
    """PyTorch's depthwise convolution, blocks and networks built on it, and the authors' code.

    Args:
        threads: of PyTorch.
        authors: clone of the authors' repository, or None.
    """

    def __init__(self, threads: int, authors: Path | None = None):
        torch.set_num_threads(threads)
        self._authors = authors and AuthorsCode(authors)
        self._cases = {}

    def version(self) -> str:
        """PyTorch's."""
        return torch.__version__

    def prepare(self, key: str, what: str, shape: tuple[int, ...], backward: bool, *details):
        """Make a case; shape is the input's.

        what is "depthwise" (a chain of 8), "block", "network", "authors' cell" (details: spec, shift) or "authors'
        network" (details: model).
        """
        torch.manual_seed(0)
        net = self._network(what, shape[1], *details)
        self._cases[key] = _runner(net, shape, backward, input_gradient="network" not in what)

    def run(self, key: str):
        """A prepared case once."""
        self._cases[key]()

    def _network(self, what: str, channels: int, *details) -> nn.Module:
        if what == "depthwise":
            return nn.Sequential(*(_depthwise(channels) for _ in range(8)))
        if what == "authors' cell":
            spec, shift = details
            return self._authors.cell(spec, channels, shift)
        if what == "authors' network":
            return self._authors.network(*details)
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


def _runner(net: nn.Module, shape, backward: bool, input_gradient: bool) -> Callable[[], None]:
    net.train(backward)
    x = torch.randn(shape, requires_grad=backward and input_gradient)
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
