"""What the launcher's tests run as a rank: says something, then ends in the way that the test asks for.

Usage: worker.py FOLDER WAY. Each worker leaves its process id in FOLDER. No MindSpore, so that a test takes seconds.
"""

import os
import signal
import sys
import time
from pathlib import Path

folder, way = Path(sys.argv[1]), sys.argv[2]
if os.environ.get("MS_ROLE") == "MS_SCHED":
    # MindSpore's scheduler ends with the workers if they succeed; if they fail, it is still there half a minute later.
    if way != "succeed":
        time.sleep(60)
    sys.exit(0)

rank = int(os.environ.get("RANK_ID", "0"))
print(f"hello from rank {rank}")
print("[INFO] DISTRIBUTED(7163,python) Start] Event base dispatch success!")
print("[ERROR] DISTRIBUTED(7163,python) Connect] Failed to connect to the meta server node url: 127.0.0.1:8118.")
(folder / f"{rank}.pid").write_text(str(os.getpid()))
if way == "last-words":

    def say_and_end(*_):
        time.sleep(3 * (rank == 0))  # msrun kills rank 0 within 2 s when rank 1 ends, if it is let
        (folder / f"{rank}.saved").touch()
        print(f"rank {rank} has saved", flush=True)
        sys.exit(3)

    signal.signal(signal.SIGTERM, say_and_end)
if way != "succeed":
    for other in "01":
        while not (folder / f"{other}.pid").exists():
            time.sleep(0.05)
if way == "raise" and rank == 1:
    raise RuntimeError("rank 1 has run out of luck")
if way == "raise-first" and rank == 0:
    raise RuntimeError("rank 0 has run out of luck")
if way == "mistake" and rank == 1:
    print("neonext: error: batch_size is wrong", file=sys.stderr)
    sys.exit(2)
if way == "die" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if way == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if way != "succeed":
    (folder / f"{rank}.ready").touch()
    time.sleep(60)
print(f"bye from rank {rank}")
