"""Prints the processes that earlier starts in a run folder left on this host.

Usage: python -m neonext_ms.launch.left_over RUN. Prints nothing when there are none; ends none of them.
"""

import sys
from pathlib import Path

from neonext_ms.launch.processes import left_over

sys.stdout.write(", ".join(f"{role} (process {pid})" for role, pid in left_over(Path(sys.argv[1]))))
