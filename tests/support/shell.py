"""How the tests of the shell scripts start them: with the interpreter that runs the tests as the active Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.fixture
def environment():
    """Environment variables in which `python` is the running interpreter and no device is announced."""
    of_a_job = ("ASCEND_RT_", "MS_", "RANK_", "MASTER_", "NNODES", "NODE_RANK")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(of_a_job)}
    return variables | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "GLOG_v": "3"}


@pytest.fixture
def bash(environment, tmp_path):
    """bash("scripts/x.sh", "key=value", KEY="value") runs a script of the project in an empty folder."""

    def run(script, *arguments, root=ROOT, **variables):
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return subprocess.run(
            ["bash", root / script, *map(str, arguments)],
            cwd=work,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture
def project(tmp_path):
    """A project folder with our scripts, for tests that write into it or that need another setup.py."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return root
