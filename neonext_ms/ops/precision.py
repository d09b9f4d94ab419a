"""How the compiled operators multiply: in float32, or in bfloat16 with sums in float32."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from neonext_ms.errors import UserError

PRECISIONS = ("highest", "bfloat16")
VARIABLE = "NEONEXT_MATMUL_PRECISION"
_chosen: str | None = None


def set_matmul_precision(precision: str | None):
    """Say how layers that are made from now on multiply on a CPU; those that are there keep what they have.

    Args:
        precision: "highest": MLPs and pointwise layers multiply in float32. "bfloat16": what enters their products is
            rounded to 8 bits of precision, sums are float32; weights, activations and their gradients keep their type.
            Twice as fast where the processor has instructions for it. None: what NEONEXT_MATMUL_PRECISION says, or
            "highest".

    Raises:
        UserError: another precision.
    """
    global _chosen
    if precision is not None:
        _check(precision, "matmul_precision")
    _chosen = precision


def matmul_precision() -> str:
    """What layers are made with: "highest" or "bfloat16".

    Raises:
        UserError: NEONEXT_MATMUL_PRECISION has another value.
    """
    if _chosen is not None:
        return _chosen
    precision = os.environ.get(VARIABLE) or "highest"
    _check(precision, VARIABLE)
    return precision


@contextmanager
def using_matmul_precision(precision: str | None) -> Iterator[None]:
    """`set_matmul_precision` for the layers made within, unless it is None; then what was set holds."""
    before = _chosen
    set_matmul_precision(before if precision is None else precision)
    try:
        yield
    finally:
        set_matmul_precision(before)


def _check(precision: str, name: str):
    if precision not in PRECISIONS:
        raise UserError(f"{name} is {precision!r}, expected one of {', '.join(PRECISIONS)}")
