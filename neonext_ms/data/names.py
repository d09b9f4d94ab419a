"""Millions of names in two arrays, which processes can share; a list of strings takes several times their bytes."""

import os
from collections.abc import Iterable, Sequence

import numpy as np


class Names(Sequence[str]):
    """Names of files, of any bytes, one after the other.

    Args:
        names: in their order.
        prefix: that all of them begin with, kept once.
    """

    def __init__(self, names: Iterable[str], prefix: str = ""):
        self.prefix = prefix
        blob, ends = bytearray(), [0]
        for name in names:
            if not name.startswith(prefix):
                raise ValueError(f"{name!r} does not begin with {prefix!r}")
            blob += os.fsencode(name[len(prefix) :])
            ends.append(len(blob))
        self._blob = np.frombuffer(bytes(blob), np.uint8)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return self.prefix + os.fsdecode(self.tail(at))

    def tail(self, index: int) -> bytes:
        """What stands after the prefix."""
        return self._blob[self._ends[index] : self._ends[index + 1]].tobytes()
