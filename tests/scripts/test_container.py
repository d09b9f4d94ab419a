"""The image's steps, run one after the other without the base image: stand-ins for pip and for CANN's build."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

DOCKERFILE = ROOT / "scripts" / "cluster" / "Dockerfile"
PYTHON = """#!/bin/bash
if [[ "$*" == "-m pip "* ]]; then printf '%s\\n' "$PWD" "$@" > "$NOTES/pip"; else exec python "$@"; fi
"""
# What CANN's template makes of the sources that build.sh stages: a package that installs itself.
BUILD = """
mkdir build_out
ls op_host op_kernel > "$NOTES/sources"
cat > build_out/custom_opp_linux.run <<'RUN'
mkdir -p "${1#--install-path=}/vendors/neonext"
RUN
"""


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of each, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def kept() -> list[str]:
    """What .dockerignore lets into the image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return [line[1:] for line in lines if line.startswith("!")]


@pytest.fixture
def image(tmp_path):
    """The root of an image: CANN as far as build.sh looks at it, and programs."""
    toolkit = tmp_path / "usr/local/Ascend/ascend-toolkit"
    template = toolkit / "tools/op_project_templates/ascendc/customize"
    for folder in ("cmake", "scripts", "op_host", "op_kernel"):
        (template / folder).mkdir(parents=True)
    for name in ("CMakeLists.txt", "op_host/CMakeLists.txt", "op_kernel/CMakeLists.txt"):
        (template / name).touch()
    (template / "build.sh").write_text(BUILD)
    (toolkit / "set_env.sh").write_text(f"export ASCEND_HOME_PATH={toolkit}\n")
    (toolkit / "compiler/ccec_compiler/bin").mkdir(parents=True)
    for program in ("toolkit/tools/opbuild/op_build", "../../../bin/cmake", "../../../bin/python3"):
        path = Path(os.path.normpath(toolkit / program))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON if path.name == "python3" else "#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "etc").mkdir()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_its_steps_run_and_leave_what_kubernetes_starts(image):
    environment = {"PATH": f"{image}/usr/bin:{os.environ['PATH']}", "HOME": str(image), "NOTES": str(image / "notes")}

    def inside(text: str) -> str:
        return re.sub(r"(?<![\w.])/(usr|etc|opt|neonext_ms)\b", rf"{image}/\1", text)

    folder = image
    for word, rest in instructions():
        if word == "ENV":
            name, value = inside(rest).split("=", 1)
            environment[name] = value
        elif word == "WORKDIR":
            folder = Path(inside(rest))
            folder.mkdir()
        elif word == "COPY":
            assert rest == ". ."
            for name in kept():
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, folder / name)
        elif word == "RUN":
            command = ["bash", "-o", "pipefail", "-c", inside(rest)]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{rest}: {done.stderr}"
    at, *arguments = (image / "notes/pip").read_text().splitlines()
    assert at == str(folder) and arguments[-2:] == ["-e", ".[ascend,onnx,parquet,tensorboard]"]
    assert {"neo_cell_tiling.h"} & set((image / "notes/sources").read_text().split()), "the operators are built"
    # What Kubernetes starts: a shell with CANN's variables, in the folder where the script is.
    *_, job = yaml.safe_load_all((DOCKERFILE.parent / "kubernetes.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] in DOCKERFILE.read_text() and inside(container["workingDir"]) == str(folder)
    shell = [*container["command"][:2], 'echo "$ASCEND_HOME_PATH:$ASCEND_CUSTOM_OPP_PATH"; ls scripts configs']
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    first, *names = done.stdout.split()
    assert first == f"{image}/usr/local/Ascend/ascend-toolkit:{image}/opt/neonext/vendors/neonext"
    assert (image / "opt/neonext/vendors/neonext").is_dir()
    assert {"run_distribute_train.sh", "imagenet_neonext_t_224.yaml"} <= set(names)
