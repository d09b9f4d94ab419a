"""A rank of a job that trains until it is stopped, for test_distributed.py.

Usage: python stop_worker.py RUN FOLDER. Leaves its process id in FOLDER, and how it ended.
"""

import os
import sys
import time
from pathlib import Path

from neonext_ms.errors import Stopped
from neonext_ms.training.trainer import train
from tests.training.tiny import SHORT, TinyConfig

run, folder, rank = sys.argv[1], Path(sys.argv[2]), os.environ["RANK_ID"]
if os.environ["MS_ROLE"] == "MS_WORKER":
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
try:
    train(TinyConfig(**{**SHORT, "batch_size": 64, "epochs": 500, "log_interval": 1}, output_dir=run))
except Stopped as stopped:
    (folder / f"{rank}.end").write_text(str(stopped))
    time.sleep(3)  # msrun kills the others as soon as one has ended
    sys.exit(75)
