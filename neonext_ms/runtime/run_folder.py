"""Whether a folder holds a training run: one rule for a training and for the script that starts it.

python -m neonext_ms.runtime.run_folder FOLDER        # prints what `holds_run` finds
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from neonext_ms.files import read_regular

CONFIG_HEADER = "# Complete configuration of this run: neonext train --config <this file>\n"
# What stands in metrics.jsonl before anything was trained.
_EVENTS_OF_A_START = re.compile(rb'\{"event": "(compile|resume)", ')


def holds_run(path: Path) -> str | None:
    """The file that shows that a folder holds a run, or something of a user's in its place.

    None where a start has left its configuration, but neither a report nor a checkpoint: there is nothing to go on
    from, and nothing to lose.
    """
    config, metrics, checkpoints = (path / name for name in ("config.yaml", "metrics.jsonl", "checkpoints"))
    if not all(line.startswith(CONFIG_HEADER.encode()) for line in _parts(config, lambda data: [data])):
        return config.name
    if not all(map(_EVENTS_OF_A_START.match, _parts(metrics, bytes.splitlines))):
        return metrics.name
    if checkpoints.exists() and (not checkpoints.is_dir() or any(map(_is_shown, checkpoints.iterdir()))):
        return checkpoints.name
    return next((name for name in ("summary.json", "curves.png") if (path / name).exists()), None)


def _parts(path: Path, split: Callable[[bytes], list[bytes]]) -> list[bytes]:
    """Of a file: none if it is not there, one that fits nothing if it is a folder, a pipe, or cannot be read."""
    try:
        return split(read_regular(path)) if path.exists() else []
    except OSError:
        return [b""]


def _is_shown(entry: Path) -> bool:
    return not entry.name.startswith(".")


if __name__ == "__main__":
    sys.stdout.write(holds_run(Path(sys.argv[1])) or "")
