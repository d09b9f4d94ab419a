"""Exit codes of the commands and the launcher; those above 128 are 128 + the number of a signal."""

FAILED = 1
MISTAKE = 2  # in what was asked for: another start would end the same way
INCOMPLETE = 3  # the command did what it could, but not for all that it was given
ENDED_EARLY = 70  # a rank ended without an error before its work was done
WORKER_DIED = 71  # a process that prepares or checks data was ended, mostly for lack of memory: try again
STOPPED = 75  # a signal has stopped a run, which can be resumed; EX_TEMPFAIL of sysexits.h: try again later
NODE_LOST = 76  # another machine of the job failed or fell silent
HUNG = 124  # a rank gave no sign of life; the code of timeout(1)
