"""Files from others that are wrong in ways nobody thought of, and what reading them may take."""

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from neonext_ms.errors import UserError

SECONDS, TIMES, BESIDE = 1.0, 10, 64 << 20
HOSTILE = [None, True, -1, 0, 1, 2**31, 2**64, 10**400, 1.5, 1e308, float("nan"), float("inf")]
HOSTILE += ["", "a\nb\x1b[2J", "\ud800", "9" * 5000, [], {}, [[]], [None], {"a": {}}, [2**40] * 40, ["x"] * 50]
NUMBERS = [0, 1, 127, 128, 255, 0xFF00, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def read_or_refused(read: Callable, path: Path) -> bool:
    """Whether a file was read; if not, by a UserError of one line, and in bounded time and memory in any case."""
    begin = time.process_time()
    first = _was_read(read, path)
    seconds = time.process_time() - begin
    assert seconds < SECONDS, f"{seconds} s"
    tracemalloc.start()  # which takes several times as long
    try:
        assert _was_read(read, path) == first
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= TIMES * path.stat().st_size + BESIDE, f"{peak} bytes"
    return first


def _was_read(read: Callable, path: Path) -> bool:
    try:
        read(path)
        return True
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000, str(error)
        return False


def mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """The same bytes with a few of them flipped, lost, doubled, moved, or made a number that counts."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at, size = rng.randrange(len(changed) + 1), rng.randrange(1, 9)
            kind = rng.randrange(5)
            if kind == 0 and at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del changed[at : at + rng.choice((size, 100))]
            elif kind == 2:
                changed[at:at] = changed[at : at + rng.choice((size, 100))]
            elif kind == 3:
                changed[at : at + size] = rng.choice(NUMBERS).to_bytes(8, "little")[:size]
            else:
                del changed[at : at + rng.choice((1, 1, len(changed)))]
        yield bytes(changed)


def wrong_values(values, seed: int, count: int) -> Iterator:
    """A JSON value with one part of it, at any depth, replaced by a hostile one, left out, or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _wrong(values, rng)


def _wrong(values, rng: random.Random):
    if not isinstance(values, dict | list) or not values or rng.random() < 0.15:
        return rng.choice(HOSTILE)
    if isinstance(values, list):
        at = rng.randrange(len(values))
        return values[:at] + ([_wrong(values[at], rng)] if rng.random() < 0.9 else []) + values[at + 1 :]
    key = rng.choice(sorted(values))
    rest = {name: value for name, value in values.items() if name != key}
    return rest if rng.random() < 0.1 else {**rest, key: _wrong(values[key], rng)}
