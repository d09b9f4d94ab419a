"""build.sh on a machine without CANN, or with a part of it: it names what is missing and leaves nothing behind."""

import os
import subprocess

from ascend_kernels.emulator.library import KERNELS


def build(home: str | None, target) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "ASCEND_HOME_PATH"}
    if home is not None:
        environment["ASCEND_HOME_PATH"] = home
    command = ["bash", str(KERNELS / "build.sh"), str(target)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_without_cann(tmp_path):
    done = build(None, tmp_path / "target")
    assert done.returncode == 1
    assert done.stderr == "missing: ASCEND_HOME_PATH (install the CANN toolkit and source its set_env.sh)\n"
    assert not (tmp_path / "target").exists()


def test_with_a_part_of_cann(tmp_path):
    template = tmp_path / "cann" / "tools" / "op_project_templates" / "ascendc" / "customize"
    (template / "cmake").mkdir(parents=True)
    done = build(str(tmp_path / "cann"), tmp_path / "target")
    assert done.returncode == 1
    missing = [line.split(" ")[1] for line in done.stderr.splitlines()]
    assert missing == [
        str(template / "scripts"),
        f"{tmp_path}/cann/toolkit/tools/opbuild/op_build",
        f"{tmp_path}/cann/compiler/ccec_compiler/bin",
    ]
    assert not (tmp_path / "target").exists()
