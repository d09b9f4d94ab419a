"""Running a program that builds or loads the CPU library."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = [sys.executable, "-m", "neonext_ms.ops.cpu.library"]


def environment(cache, compiler=None, **changes):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NEONEXT_CACHE_DIR": str(cache), "GLOG_v": "3", **changes}
    env.pop("CXX", None)
    return {**env, "CXX": str(compiler)} if compiler else env


def run(command, env, folder=None):
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)
    assert "Traceback" not in done.stderr, done.stderr
    return done
