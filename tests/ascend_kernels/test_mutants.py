"""Every mutant of the kernels is rejected, and for the reason that its mistake should give."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from ascend_kernels.emulator.library import KERNELS, compile_command, link, run

ROOT = KERNELS.parent
MUTANTS = yaml.safe_load((ROOT / "tests" / "ascend_kernels" / "mutants.yaml").read_text())
NAMES = [mutant["name"] for mutant in MUTANTS]


def pattern(find: str) -> re.Pattern:
    """The text with any white space between its tokens: how the source is wrapped and indented does not matter."""
    return re.compile(r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", find))))


def copy_sources(folder, mutant=None):
    """A copy of the kernels under `folder`, with the mutant's substitutions."""
    for part in ("op_kernel", "common", "emulator"):
        shutil.copytree(KERNELS / part, folder / part)
    if mutant:
        path = folder / mutant["file"]
        source = path.read_text()
        for change in mutant["changes"]:
            source = pattern(change["find"]).sub(lambda _, put=change["put"]: put, source)
        path.write_text(source)


def parts_of(mutant) -> list[str]:
    """The parts of the battery that a mutant can fail; cube.h is in both."""
    if mutant is None or mutant["file"].endswith("neo_cell_cube.h"):
        return ["neo_cell", "pointwise"]
    return ["neo_cell" if "neo_cell" in mutant["file"] else "pointwise"]


def verdict(folder, objects, mutant=None) -> str:
    """Builds and examines the kernels: what the battery says, or how the process ended."""
    copy_sources(folder, mutant)
    # the tiling also decides in plans.cpp, which a mutant of common/ must therefore rebuild
    rebuilt = ["kernels"] + ["plans"] * (mutant is not None and mutant["file"].startswith("common"))
    for name in rebuilt:
        run([*compile_command(folder, folder / "emulator" / f"{name}.cpp", folder / f"{name}.o"), "-O0"])
    kept = [o for o in objects if o.stem not in rebuilt]
    library = link([*kept, *(folder / f"{name}.o" for name in rebuilt)], folder / "mutant.so")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.ascend_kernels.battery", str(library), *parts_of(mutant)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    return done.stdout.strip() or f"the process ended with {done.returncode}: {done.stderr[-300:]}"


@pytest.fixture(scope="module")
def verdicts(emulator_objects, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("mutant") / "source" for _ in MUTANTS]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(lambda f, m: verdict(f, emulator_objects, m), folders, MUTANTS)
        return dict(zip(NAMES, texts, strict=True))


def test_the_kernels_themselves_pass(emulator_objects, tmp_path):
    assert verdict(tmp_path, emulator_objects) == "passed"


@pytest.mark.slow  # the first, which builds and examines all
@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_mutant_is_rejected(verdicts, mutant):
    verdict = verdicts[mutant["name"]]
    assert verdict != "passed"
    assert any(text in verdict for text in mutant["says"]), verdict


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_mutant_applies(mutant):
    source = (KERNELS / mutant["file"]).read_text()
    for change in mutant["changes"]:
        assert len(pattern(change["find"]).findall(source)) == 1, change["find"]
        assert change["find"] != change["put"]
