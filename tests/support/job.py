"""A job of two ranks, run by scripts/job.sh with job_worker.py as the program."""

import json
import os
import signal
import subprocess
import time

from tests.support.paths import ROOT

WORKER = ROOT / "tests" / "support" / "job_worker.py"
RUN = """set -euo pipefail
for part in env options cluster job; do source "$0/scripts/$part.sh"; done
MAX_RESTARTS="$1" RESTART_DELAY=1 JOB_OPTIONS=($2)
shift 2
run_job "$@"
echo after the job"""
RESULT = {"0": "10 55", "1": "10 110"}  # what an undisturbed run of two ranks leaves


class Job:
    """run_job in a shell of its own, with job_worker.py as the program.

    Args:
        table: start by a rank table, which takes a fraction of the 3 s that msrun needs.
        setup: shell code that comes first.
    """

    def __init__(self, folder, environment, way, *options, workers=2, table=True, restarts=0, setup=""):
        self.folder, self.logs = folder, folder / "logs" / "start-1"
        if table:
            devices = [{"device_id": str(i), "rank_id": str(i)} for i in range(workers)]
            (folder / "table.json").write_text(json.dumps({"server_list": [{"device": devices}]}))
        started = f"--rank_table={folder}/table.json" if table else f"--workers={workers}"
        script, all_options = RUN.replace("run_job", f"{setup}\nrun_job"), " ".join([started, *options])
        self.begin = time.monotonic()
        self.process = subprocess.Popen(
            ["bash", "-c", script, ROOT, str(restarts), all_options, folder, WORKER, folder, way],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Ctrl-C may be ignored where the tests run, and a shell cannot undo that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def wait_for(self, *names):
        for name in names:
            while not (self.folder / name).exists():
                assert self.process.poll() is None and time.monotonic() - self.begin < 300, self.process.communicate()
                time.sleep(0.1)

    def pid(self, name):
        return int((self.logs / f"{name}.pid").read_text().split()[0])

    def end(self):
        """Exit code, stdout and stderr, once every process of the job has ended."""
        out, err = self.process.communicate(timeout=300)
        assert not self.left(), "processes of the job are left"
        assert not list(self.folder.rglob("*.pid"))
        return self.process.returncode, out, err

    def left(self):
        found = subprocess.run(["pgrep", "-f", f"{WORKER} {self.folder} "], capture_output=True, text=True)
        return found.stdout.split()

    def kill(self):
        self.process.kill()
        for pid in self.left():
            os.kill(int(pid), signal.SIGKILL)

    @property
    def models(self):
        return {path.stem: path.read_text() for path in self.folder.glob("*.model")}
