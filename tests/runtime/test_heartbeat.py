"""The sign of life of a rank."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from neonext_ms.runtime import heartbeat

def show():
    print(Path(sys.argv[1]).read_text().strip() if Path(sys.argv[1]).exists() else "no file")

for step in (7, None, 8, None):
    heartbeat.beat(step)
    show()
heartbeat.done()
show()
"""


def lines(path, environment):
    command = [sys.executable, "-c", PROGRAM, path]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_every_beat_changes_the_file_and_keeps_the_update(tmp_path):
    path = tmp_path / "rank_0.beat"
    assert lines(path, os.environ | {"NEONEXT_HEARTBEAT": str(path)}) == ["1 7", "2 7", "3 8", "4 8", "done"]


def test_without_a_launcher_nothing_is_written(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "NEONEXT_HEARTBEAT"}
    assert lines(tmp_path / "rank_0.beat", environment) == ["no file"] * 5
