"""Starts one rank: notes its process id in LOG_DIR/<role>.pid, then becomes `python ARGUMENTS`.

Usage, by msrun: python rank.py LOG_DIR ARGUMENTS... . The role is rank_<n>, or scheduler for MindSpore's own process.
"""

import os
import sys
from pathlib import Path

role = "scheduler" if os.environ.get("MS_ROLE") == "MS_SCHED" else f"rank_{os.environ.get('RANK_ID', 0)}"
(Path(sys.argv[1]) / f"{role}.pid").write_text(f"{os.getpid()}\n")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
