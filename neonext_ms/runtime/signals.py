"""What the launcher and the ranks that it starts must agree on about signals."""

import signal

# Seconds in which signals count as one: a cluster signals all processes of a job, and the launcher passes its own on.
AT_ONCE = 2.0
# What asks a job to stop. Closing a terminal sends SIGHUP.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
