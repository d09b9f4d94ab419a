"""What the launcher's tests run as a rank: counts updates in step with the others, and misbehaves as the test asks.

Usage: job_worker.py FOLDER WAY [--resume RUN]. The sum over the updates is its model: FOLDER/<rank>.model holds
"<updates> <sum>" after each update, and a resumed rank goes on from there. WAY is what happens at update 3 of a rank
that was not resumed, to rank 1 unless said otherwise. No MindSpore, so that a start takes a fraction of a second.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from neonext_ms.runtime import heartbeat

UPDATES = 10

folder, way, resumed = Path(sys.argv[1]), sys.argv[2], "--resume" in sys.argv
if os.environ.get("MS_ROLE") == "MS_SCHED":
    # MindSpore's scheduler ends with the workers if they succeed; if they fail, it is still there half a minute later.
    while way != "succeed":
        time.sleep(1)
    sys.exit(0)

rank, world = int(os.environ.get("RANK_ID", "0")), int(os.environ.get("RANK_SIZE", "1"))
if not resumed and way == "mistake" and rank == 1:
    print("neonext: error: batch_size is wrong", file=sys.stderr)
    sys.exit(2)
if way == "absent" and rank == 1:  # from the first update on
    sys.exit(0)
print(f"hello from rank {rank}", flush=True)
print("[INFO] DISTRIBUTED(7163,python) Start] Event base dispatch success!")
print("[ERROR] DISTRIBUTED(7163,python) Connect] Failed to connect to the meta server node url: 127.0.0.1:8118.")
(folder / "config.yaml").touch()
(folder / f"{rank}.cores").write_text(str(sorted(os.sched_getaffinity(0))))
model = folder / f"{rank}.model"
done, total = map(int, model.read_text().split()) if resumed else (0, 0)
told = []
if way in ("save", "slow", "half"):
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: told.append(True))
if way == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: (folder / f"{rank}.told").touch())


def wait_for_others(update):
    """As an AllReduce does: no rank gets further than the others, and all learn whether one was told to stop."""
    (folder / f"{rank}.at").write_text(str(update))
    for other in range(world):
        path = folder / f"{other}.at"
        while not path.exists() or int(path.read_text() or 0) < update:
            time.sleep(0.02)


def lose_a_data_worker():
    """And let the command line say so."""
    import numpy as np

    from neonext_ms import cli
    from neonext_ms.data import Loader, Preprocess
    from neonext_ms.data.sources import ArraySource

    source = ArraySource("made/val", ["a"], np.zeros(8), np.zeros((8, 8, 8, 3), np.uint8), (0.5,) * 3, (0.5,) * 3)
    loader = Loader(source, Preprocess(8, source.mean, source.std), 1, training=False, num_workers=1)
    batches = loader.epoch()
    next(batches)
    loader._workers.processes[0].kill()
    cli._run = lambda _: list(batches)
    cli.main(["train"])


def misbehave():
    if way == "raise":  # while each rank has a process of its own, as for loading data
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)", __file__, str(folder), "helper"])
    if way == "raise" and rank == 1 or way == "raise-first" and rank == 0:
        raise RuntimeError(f"rank {rank} has run out of luck")
    if way == "die" and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "lose" and rank == 1:
        lose_a_data_worker()
    if way == "hang" and rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if way == "leave" and rank == 1:
        sys.exit(0)
    if way == "half" and rank == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "1.at").write_text(str(UPDATES))  # the other one gets on without it
        (folder / "1.ready").touch()
        time.sleep(1000)
    if way in ("wait", "deaf", "save", "slow", "half"):
        (folder / f"{rank}.ready").touch()
        while not told and not (folder / "told").exists():
            time.sleep(0.05)
        (folder / "told").touch()


for update in range(done + 1, UPDATES + 1):
    if update == 3 and not resumed:
        misbehave()
    wait_for_others(update)
    total += update * (rank + 1)
    model.write_text(f"{update} {total}")
    heartbeat.beat(update)
    if (folder / "told").exists() and not resumed:
        time.sleep(3 * (way == "slow" and rank == 0))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as `neonext train` does
        print(f"rank {rank} has saved", flush=True)
        sys.exit(75)
heartbeat.done()
print(f"bye from rank {rank}")
