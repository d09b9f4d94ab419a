"""The page about one's own folder: every command that it prints runs, on a small folder and for one epoch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from neonext_ms.data import open_source
from tests.support.paths import ROOT

# Two stages of neonext_pico's four, which are compiled in less time.
NETWORK = """'structure={depths: [1, 1], dims: [32, 64], kernels: ["4+7", "7"], shifts: [1, 0]}'"""
PAGE = (ROOT / "configs" / "folder.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path):
    """What the page finds where its commands stand: the project, and photos of five digits at 64 x 64 pixels."""
    for name in ("configs", "scripts", "neonext_ms", "ascend_kernels", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    for split, count in (("train", 120), ("val", 40)):
        source = open_source("digits", None, split)
        for i in range(count):
            folder = tmp_path / "photos" / split / f"digit {source.labels[i] % 5}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.image(i)).resize((64, 64)).save(folder / f"{i}.png")
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_runs(project):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    activate, *commands = blocks("bash")
    assert activate.startswith("source .venv/bin/activate")
    for command in commands:
        short = command.replace("random_crop=pad", f"random_crop=pad epochs=1 warmup_epochs=0 workers=1 {NETWORK}")
        done = subprocess.run(
            ["bash", "-euc", short], cwd=project, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, command + done.stdout + done.stderr
        assert done.stderr == "", command
    for program in blocks("python"):
        image = next((project / "photos" / "val").glob("*/*.png"))
        program += f"\nprint(classifier.predict([{str(image)!r}])[0][0].name)\n"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)
        assert re.fullmatch(r"digit \d\n", done.stdout), done.stderr
    made = {path.name for path in (project / "run").iterdir()}
    assert {"report.html", "neonext_pico.mindir", "neonext_pico.onnx", "summary.json"} <= made
