"""A rank of a job that goes on with its run wherever it is, for test_ranks.py.

Usage: python elastic_worker.py RUN NUMBER STOP SAVE_MINUTES SIGNAL OPTIONS, as the launcher calls a program; ranks
append the updates and their samples to RUN/../<NUMBER>-<rank>.samples, and the last rank sends itself SIGNAL after
update STOP, 0 for none. OPTIONS are more keys of the configuration, as JSON.
"""

import json
import os
import signal
import sys
from pathlib import Path

from neonext_ms.data import Loader
from neonext_ms.errors import Stopped
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.exit_codes import STOPPED
from neonext_ms.training.trainer import train
from tests.support.stopping import signal_this_run
from tests.support.tiny import ELASTIC, TinyConfig

run, number, stop, save_minutes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
sent, options = signal.Signals[sys.argv[5]], json.loads(sys.argv[6])
rank, world = int(os.environ.get("RANK_ID", 0)), int(os.environ.get("MS_WORKER_NUM", 1))
epoch, beat = Loader.epoch, heartbeat.beat


def noted(self, *position):
    """The batches of the loader, each written down when the loop takes it."""
    for batch in epoch(self, *position):
        if self._plan.training:
            with open(run.parent / f"{number}-{rank}.samples", "a") as file:
                file.write(json.dumps([int(index) for index in batch.indices]) + "\n")
        yield batch


def stopped(step=None):
    beat(step)
    if step == stop and rank == world - 1:
        signal_this_run(sent)


Loader.epoch, heartbeat.beat = noted, stopped
if os.environ.get("MS_ROLE") == "MS_SCHED":
    stop = 0
try:
    train(TinyConfig(**ELASTIC, **options, output_dir=str(run), resume="auto", save_minutes=save_minutes))
except Stopped as error:
    print(error)
    sys.exit(STOPPED)
