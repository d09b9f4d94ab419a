"""Every mutant of the kernels is rejected, and for the reason that its mistake should give."""

import multiprocessing
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, zip_longest

import pytest
import yaml

from ascend_kernels.emulator.library import KERNELS, compile_command, link, run
from tests.ascend_kernels import battery

HERE = KERNELS.parent / "tests" / "ascend_kernels"
MUTANTS = yaml.safe_load((HERE / "mutants.yaml").read_text())
NAMES = [mutant["name"] for mutant in MUTANTS]
PARTS = ["neo_cell", "pointwise"]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([battery.__name__])  # imported once for all


def pattern(find: str) -> re.Pattern:
    """The text with any white space between its tokens: how the source is wrapped and indented does not matter."""
    return re.compile(r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]", find))))


def copy_sources(folder, mutants):
    """A copy of the kernels under `folder`, with the mutants' substitutions."""
    for part in ("op_kernel", "common", "emulator"):
        shutil.copytree(KERNELS / part, folder / part)
    for mutant in mutants:
        path = folder / mutant["file"]
        source = path.read_text()
        for change in mutant["changes"]:
            source = pattern(change["find"]).sub(lambda _, put=change["put"]: put, source)
        path.write_text(source)


def parts_of(mutant) -> list[str]:
    """The parts of the battery that a mutant can fail; cube.h is in both."""
    if mutant["file"].endswith("neo_cell_cube.h"):
        return ["neo_cell", "pointwise"]
    return ["neo_cell" if "neo_cell" in mutant["file"] else "pointwise"]


def compiled_together() -> list[list[dict]]:
    """All mutants: one of each part in a library, as neither is in what the other part includes, the rest alone."""
    alone = [m for m in MUTANTS if m["file"].endswith(("neo_cell_cube.h", "neo_cell_tiling.h"))]
    pairs = zip_longest(*([m for m in MUTANTS if m not in alone and parts_of(m) == [p]] for p in PARTS))
    return [[mutant for mutant in pair if mutant] for pair in pairs] + [[mutant] for mutant in alone]


def compile_unoptimised(root, source, output):
    run([*compile_command(root, source, output), "-O0"])


def build(folder, objects, header, mutants):
    """The library of the kernels with these mutants; `header` is the compiled kernel_operator.h, which none changes."""
    copy_sources(folder, mutants)
    (folder / "emulator" / header.name).hardlink_to(header)
    sources = [HERE / "kernels_f16.cpp"]
    if any(mutant["file"].startswith("common") for mutant in mutants):  # the tiling also decides in plans.cpp
        sources.append(folder / "emulator" / "plans.cpp")
    rebuilt = [folder / f"{source.stem}.o" for source in sources]
    for source, output in zip(sources, rebuilt, strict=True):
        compile_unoptimised(folder, source, output)
    kept = [o for o in objects if o.name not in {output.name for output in rebuilt}]
    return link([*kept, *rebuilt], folder / "mutant.so")


def verdict(library, parts) -> str:
    """What the battery says about a library, or how its process ended."""
    question, answer = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=battery.examine, args=(str(library), parts, answer))
    process.start()
    answer.close()
    if not question.poll(600):
        process.kill()
        return "hangs"
    try:
        return question.recv()
    except EOFError:
        process.join()
        return f"the process ended with {process.exitcode}"


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    output = tmp_path_factory.mktemp("header") / "kernel_operator.h.gch"
    compile_unoptimised(KERNELS, KERNELS / "emulator" / output.stem, output)
    return output


@pytest.fixture(scope="module")
def verdicts(emulator_objects, header, tmp_path_factory):
    def verdicts_of(mutants):
        library = build(tmp_path_factory.mktemp("mutant"), emulator_objects, header, mutants)
        return [(mutant["name"], verdict(library, parts_of(mutant))) for mutant in mutants]

    with ThreadPoolExecutor(2) as pool:
        return dict(chain.from_iterable(pool.map(verdicts_of, compiled_together())))


def test_the_kernels_themselves_pass(emulator_objects, header, tmp_path):
    assert verdict(build(tmp_path, emulator_objects, header, []), PARTS) == "passed"


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
