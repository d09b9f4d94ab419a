"""Whether a folder holds a training run: one rule for a training and for the script that starts it.

python -m neonext_ms.runtime.run_folder FOLDER        # prints what `holds_run` finds
"""

import re
import sys
from pathlib import Path

CONFIG_HEADER = "# Complete configuration of this run: neonext train --config <this file>\n"
# What stands in metrics.jsonl before anything was trained.
_EVENTS_OF_A_START = re.compile(rb'\{"event": "(compile|resume)", ')


def holds_run(path: Path) -> str | None:
    """The file that shows that a folder holds a run, or something of a user's in its place.

    None where a start has left its configuration, but neither a report nor a checkpoint: there is nothing to go on
    from, and nothing to lose.
    """
    config, metrics, checkpoints = (path / name for name in ("config.yaml", "metrics.jsonl", "checkpoints"))
    if config.exists() and not config.read_bytes().startswith(CONFIG_HEADER.encode()):
        return config.name
    if metrics.exists() and not all(_EVENTS_OF_A_START.match(line) for line in metrics.read_bytes().splitlines()):
        return metrics.name
    if checkpoints.exists() and any(not entry.name.startswith(".") for entry in checkpoints.iterdir()):
        return checkpoints.name
    return next((name for name in ("summary.json", "curves.png") if (path / name).exists()), None)


if __name__ == "__main__":
    sys.stdout.write(holds_run(Path(sys.argv[1])) or "")
