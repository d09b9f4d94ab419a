"""Every mutant of the kernels is rejected, and for the reason that its mistake should give."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ascend_kernels.emulator.library import KERNELS, compile_command, link, run
from tests.ascend_kernels.mutants import MUTANTS

ROOT = KERNELS.parent


def substitutions(mutant) -> list[tuple[str, str]]:
    _, _, text, replacement, _ = mutant
    return text if isinstance(text, list) else [(text, replacement)]


def copy_sources(folder, mutant=None):
    """A copy of the kernels under `folder`, with the mutant's substitutions."""
    for part in ("op_kernel", "common", "emulator"):
        shutil.copytree(KERNELS / part, folder / part)
    if mutant:
        path = folder / mutant[1]
        source = path.read_text()
        for text, replacement in substitutions(mutant):
            source = source.replace(text, replacement)
        path.write_text(source)


def verdict(folder, objects, mutant=None) -> str:
    """Builds and examines the kernels: what the battery says, or how the process ended."""
    copy_sources(folder, mutant)
    # the tiling also decides in host.cpp, which a mutant of common/ must therefore rebuild
    rebuilt = ["kernels"] + ["host"] * (mutant is not None and mutant[1].startswith("common"))
    for name in rebuilt:
        run([*compile_command(folder, folder / "emulator" / f"{name}.cpp", folder / f"{name}.o"), "-O0"])
    kept = [o for o in objects if o.stem not in rebuilt]
    library = link([*kept, *(folder / f"{name}.o" for name in rebuilt)], folder / "mutant.so")
    try:
        done = subprocess.run([sys.executable, "-m", "tests.ascend_kernels.battery", str(library)], cwd=ROOT,
                              capture_output=True, text=True, timeout=60)
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
        return dict(zip([m[0] for m in MUTANTS], texts, strict=True))


def test_the_kernels_themselves_pass(emulator_objects, tmp_path):
    assert verdict(tmp_path, emulator_objects) == "passed"


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m[0] for m in MUTANTS])
def test_mutant_is_rejected(verdicts, mutant):
    name, _, _, _, reason = mutant
    assert verdicts[name] != "passed"
    assert any(part in verdicts[name] for part in reason.split("|")), verdicts[name]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[m[0] for m in MUTANTS])
def test_mutant_applies(mutant):
    source = (KERNELS / mutant[1]).read_text()
    for text, replacement in substitutions(mutant):
        assert source.count(text) == 1, text
        assert text != replacement
