"""Prints the processes that earlier starts in a run folder left on this host.

Usage: python left_over.py RUN. Prints nothing when there are none; ends none of them.
"""

import sys
from pathlib import Path

from processes import left_over

sys.stdout.write(", ".join(f"{role} (process {pid})" for role, pid in left_over(Path(sys.argv[1]))))
