"""All ranks of a job must hold the same: weights, configuration, code and data."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

import neonext_ms
from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.keys import free


def check_run(ranks: Ranks, config: TrainConfig, data: dict, step: int, arrays: dict, when: str):
    """Stop the job unless all ranks run the same code on the same data, at the same point, with the same weights.

    Args:
        ranks: of the job.
        config, data, step, arrays: of this rank; `data` as `inputs.describe_data` gives it, `arrays` all of its state.
        when: for the message.

    Raises:
        UserError: see `check_same`.
    """
    if ranks.world == 1:
        return
    digests = {
        "code": digest_of_code(),
        "configuration": digest_of_config(config),
        "data": digest_of_text(json.dumps(data)),
        "position in the run": digest_of_text(str(step)),
        "weights": digest_of_arrays(arrays),
    }
    check_same(ranks, digests, when)


def check_same(ranks: Ranks, digests: dict[str, bytes], when: str):
    """Stop the job unless all ranks have the same digests.

    Args:
        ranks: of the job.
        digests: SHA-256 by what it is of; the same keys on every rank.
        when: for the message.

    Raises:
        UserError: on every rank; it names the ranks that differ from most, or from rank 0, and in what.
    """
    table = np.zeros((ranks.world, len(digests), 32), np.float32)
    table[ranks.rank] = [list(digest) for digest in digests.values()]
    # A sum to which each rank adds its own row is what every backend can do, and exact for bytes.
    table = ranks.total(table.ravel()).reshape(table.shape)
    for i, what in enumerate(digests):
        rows = [bytes(row.astype(np.uint8)) for row in table[:, i]]
        (most, count), *_ = Counter(rows).most_common(1)
        usual = most if count > len(rows) / 2 else rows[0]
        others = [str(rank) for rank, row in enumerate(rows) if row != usual]
        if others:
            raise UserError(
                f"{when}: the {what} of rank{'s' * (len(others) > 1)} {', '.join(others)} of {ranks.world} "
                f"differ{'s' * (len(others) == 1)} from the others'; all need the same code, configuration and data"
            )


def digest_of_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """SHA-256 of named arrays, names included."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def digest_of_config(config: TrainConfig) -> bytes:
    """SHA-256 of what must be configured alike."""
    own = free(config, "on_ranks")
    values = {key: value for key, value in asdict(config).items() if key not in own}
    return digest_of_text(json.dumps(values))


def digest_of_text(text: str) -> bytes:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


@cache
def digest_of_code() -> bytes:
    """SHA-256 of this package's Python files."""
    digest = hashlib.sha256()
    root = Path(neonext_ms.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.digest()
