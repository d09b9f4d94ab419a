"""How much a file from others may become in memory: a small one can describe as many values as it likes."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from neonext_ms.errors import UserError

TIMES = 4  # of the file's own size: bfloat16 doubles, and some programs compress
BESIDE = 1 << 24  # bytes, so that small files of zeros are read too
# What zipfile, pickletools and NumPy raise for damaged files; RuntimeError stands for a zip that takes a password.
DAMAGED = (ValueError, LookupError, TypeError, ArithmeticError, EOFError, NotImplementedError, RuntimeError)
DAMAGED += (SyntaxError, MemoryError, struct.error, zlib.error)
MOST_DIMS = 32  # of a NumPy array


def most_bytes(path: Path) -> int:
    """That all arrays of a file may have together."""
    return TIMES * path.stat().st_size + BESIDE


def check_total(sizes: Iterable[int], path: Path):
    """Raise UserError if these numbers of bytes are more than a file may become."""
    if (total := sum(sizes)) > most_bytes(path):
        raise UserError(f"{path} describes {total:,} bytes of weights, more than {TIMES} times its own")


def check_entries(archive: zipfile.ZipFile, path: Path):
    """`check_total` for a zip: entries are compressed, lie over one another, or say of themselves what is not so."""
    check_total((max(entry.file_size, entry.compress_size) for entry in archive.infolist()), path)


def reason(error: Exception) -> str:
    """What a reader of damaged files has to say, without the damage that it quotes."""
    text = "".join(character if character.isprintable() else "?" for character in str(error))
    return f"{text:.120}" or type(error).__name__


def array(data: bytes | memoryview, dtype: np.dtype, shape: tuple, order: str = "C") -> np.ndarray:
    """Values of a file, not to be written to.

    Raises:
        ValueError: they do not have this shape.
    """
    if len(shape) > MOST_DIMS or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("an array of a shape that there is not")
    try:
        values = np.frombuffer(data, dtype) if len(data) else np.zeros(0, dtype)
        return values.reshape(shape, order=order)
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
