"""scripts/env.sh and scripts/check_requirements.py: which Python the scripts use, and what they do without one."""

import fcntl
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

USE = 'set -euo pipefail; source "$1/scripts/env.sh"; use_environment digits; command -v python'


@pytest.fixture
def write_setup(project):
    """Gives the project a setup.py with these requirements."""

    def write(requires, digits=()):
        (project / "setup.py").write_text(f"REQUIRES = {list(requires)!r}\nEXTRAS = {{'digits': {list(digits)!r}}}\n")

    return write


@pytest.fixture
def use(project, environment):
    """Sources env.sh and asks for an environment; prints the python that it found."""

    def run(**variables):
        # No index and no retries: an installation fails at once instead of downloading.
        offline = {"PIP_NO_INDEX": "1", "PIP_RETRIES": "0"}
        command = ["bash", "-c", USE, "bash", project]
        return subprocess.run(
            command, env=environment | offline | variables, capture_output=True, text=True, timeout=6000
        )

    return run


@pytest.mark.parametrize(
    ("requires", "extras", "missing"),
    [
        (["pytest>=1"], [], None),
        (["pytest>=1", "no-such-package"], [], "no-such-package"),
        (["pytest<1"], [], "pytest<1"),
        (["pytest>=1"], ["no-such-package>=2"], "no-such-package>=2"),
    ],
)
def test_requirements_are_checked(project, write_setup, requires, extras, missing):
    write_setup(requires, extras)
    command = [sys.executable, project / "scripts" / "check_requirements.py", "digits"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == (1 if missing else 0)
    assert result.stderr == (f"not installed: {missing}\n" if missing else "")


def test_active_python_that_meets_the_requirements_is_used(project, write_setup, use, environment):
    write_setup(["pytest>=1"])
    result = use()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip().rpartition("/")[0] == environment["PATH"].split(":")[0]
    assert not (project / ".venv").exists()


def test_failed_installation_is_told_and_not_taken_for_a_complete_one(project, write_setup, use):
    write_setup(["no-such-package"])
    first = use()
    assert first.returncode == 2
    assert first.stderr.splitlines()[-1].startswith("error: the installation failed")
    assert (project / ".venv" / ".neonext").read_text() == "building\n"

    (project / ".venv" / "left-over").touch()
    second = use()
    assert second.returncode == 2
    assert "Making" in second.stdout
    assert not (project / ".venv" / "left-over").exists()


def test_complete_environment_is_used_until_setup_py_changes(project, write_setup, use):
    write_setup(["no-such-package"])
    use()  # leaves a virtual environment that works but is not marked as complete
    with open(project / "setup.py") as setup:
        checksum = subprocess.run(["cksum"], stdin=setup, capture_output=True, text=True, check=True).stdout
    (project / ".venv" / ".neonext").write_text(f"complete {checksum}")
    result = use()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == str(project / ".venv" / "bin" / "python")

    write_setup(["no-such-package>=2"])
    result = use()
    assert result.returncode == 2
    assert "Installing" in result.stdout
    assert "Making" not in result.stdout  # completed, not made anew
    assert (project / ".venv" / ".neonext").read_text() == "building\n"


def test_second_start_waits_for_the_installation_of_the_first(project, write_setup, environment):
    write_setup(["no-such-package"])
    venv = project / ".venv"
    with open(project / "setup.py") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a script does while it installs
        command = ["bash", "-c", USE, "bash", project]
        second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert second.stdout.readline() == f"== Waiting for another script that is installing into {venv}\n"
        checksum = subprocess.run(["cksum"], stdin=lock, capture_output=True, text=True, check=True).stdout
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to(sys.executable)
        (venv / ".neonext").write_text(f"complete {checksum}")
    out, _ = second.communicate(timeout=600)
    assert (second.returncode, out) == (0, f"{venv}/bin/python\n")


def test_virtual_environment_of_the_user_is_left_alone(project, write_setup, use):
    write_setup(["no-such-package"])
    (project / ".venv").mkdir()
    (project / ".venv" / "precious").touch()
    result = use()
    assert result.returncode == 2
    assert "was not made by this script" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in (project / ".venv").iterdir()] == ["precious"]


def test_without_a_suitable_python_the_error_says_which_are(project, write_setup, use, tmp_path):
    write_setup(["no-such-package"])
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cksum", "cat", "flock"):
        (tools / name).symlink_to(subprocess.run(["which", name], capture_output=True, text=True).stdout.strip())
    result = use(PATH=str(tools))
    assert result.returncode == 2
    assert result.stderr == (
        "error: no Python 3.10, 3.11 or 3.12 on PATH, which MindSpore needs: install one of them\n"
    )
    assert not (project / ".venv").exists()


def test_another_mindspore_has_an_environment_of_its_own(project, write_setup, environment):
    """Also where the active Python would do; its pip is asked for that version."""
    write_setup(["pytest>=1"])
    command = USE.replace("use_environment digits", "use_environment digits 2.9")
    offline = {"PIP_NO_INDEX": "1", "PIP_RETRIES": "0"}
    result = subprocess.run(
        ["bash", "-c", command, "bash", project], env=environment | offline, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 2 and "error: the installation failed" in result.stderr
    assert (project / ".venv-mindspore-2.9" / ".neonext").read_text() == "building\n"
    assert not (project / ".venv").exists()
    wrong = subprocess.run(
        ["bash", project / "scripts" / "run_tests.sh", "--mindspore", "2.9.0"], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and wrong.stderr == "error: --mindspore must be a version such as 2.9, got '2.9.0'\n"


def test_tests_that_do_not_exist_are_named_before_any_work():
    command = ["bash", ROOT / "scripts" / "run_tests.sh", "tests/ops", "tests/nowhere.py::test_it", "-k", "x"]
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr == "error: there is no tests/nowhere.py: name files or folders of tests/\n"
