"""The CPU library's cache and build: what a user meets on machines of all kinds."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from neonext_ms.ops.cpu import library
from tests.support.cpu_library import BUILD, ROOT, environment, run

USE = """
import logging, sys
logging.basicConfig(format="WARNED %(message)s", level=logging.WARNING, stream=sys.stdout)
import numpy as np
from mindspore import Tensor
from neonext_ms.errors import UserError
from neonext_ms.ops import NeoCell, parse_spec
cells = [NeoCell(parse_spec("4", 8)) for _ in range(3)]
y = cells[0](Tensor(np.ones((1, 8, 8, 8), np.float32)))
print("BACKEND", cells[0].backend, y.shape)
try:
    NeoCell(parse_spec("4", 8), backend="fused")
except UserError as error:
    print("REFUSED", error)
"""


def test_four_processes_build_once(tmp_path, compiler):
    cache = tmp_path / "cache"
    env = environment(cache, compiler)
    processes = [subprocess.Popen(BUILD, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(outputs) == 1 and str(cache) in outputs.pop()
    assert (tmp_path / "calls").read_text().split() == ["built"]
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".sha256", ".so"]


def test_built_library_serves_without_a_compiler_and_another_source_gets_another_name(tmp_path, compiler):
    cache = tmp_path / "cache"
    first = run(BUILD, environment(cache, compiler)).stdout
    without = run(BUILD, environment(cache, PATH=str(tmp_path)))
    assert without.returncode == 0 and without.stdout == first

    copy = tmp_path / "copy"
    (copy / "ascend_kernels").mkdir(parents=True)
    subprocess.run(["cp", "-r", str(ROOT / "neonext_ms"), str(copy)], check=True)
    subprocess.run(["cp", "-r", str(ROOT / "ascend_kernels" / "cpu"), str(copy / "ascend_kernels")], check=True)
    source = copy / "ascend_kernels" / "cpu" / "gelu.h"
    source.write_text(source.read_text() + "// changed\n")
    changed = run(BUILD, {**environment(cache, PATH=str(tmp_path)), "PYTHONPATH": str(copy)}, copy)
    assert changed.returncode == 1 and "no C++ compiler" in changed.stderr


CPUINFO = "processor\t: 0\nvendor_id\t: X\ncpu family\t: 6\nmodel\t\t: 85\nstepping\t: 7\nflags\t\t: avx\n"
CPUINFO += "Features\t: fp\nCPU implementer\t: 0x48\nCPU part\t: 0xd01\n"
CPUINFO += "model name\t: Y\ncpu MHz\t\t: 2500.0\nbogomips\t: 5000.0\n"


@pytest.mark.parametrize("line", CPUINFO.splitlines())
def test_the_name_tells_kinds_of_processors_apart(line, monkeypatch):
    """As where machines share a home directory; not their numbers and clocks."""

    def key(first):
        monkeypatch.setattr(Path, "read_text", lambda path: f"{first}\nprocessor\t: 1\nflags\t\t: other\n")
        return library._key([])

    same = line.split("\t")[0] in ("processor", "model name", "cpu MHz", "bogomips")
    assert (key(CPUINFO) == key(CPUINFO.replace(line, f"{line}1"))) == same


def test_the_name_tells_compilers_and_their_options_apart(monkeypatch):
    (compiler, *_), flags = library._compiler(), library._FLAGS
    keys = [library._compiler_key(command) for command in ([compiler], [compiler], [compiler, "-O1"])]
    monkeypatch.setattr(library, "_FLAGS", [*flags, "-O1"])
    keys.append(library._compiler_key([compiler]))
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_cache_that_cannot_be_written(tmp_path, compiler):
    private = tmp_path / "private"
    private.mkdir()
    env = environment("/proc/neonext", compiler, TMPDIR=str(private))  # not even root can make a folder there
    done = run(BUILD, env)
    assert done.returncode == 0 and done.stdout.startswith(str(private))
    assert done.stderr.count("\n") == 1 and "set NEONEXT_CACHE_DIR to a folder of your own" in done.stderr
    assert list(private.iterdir()) == []  # and nothing is left behind


@pytest.mark.parametrize("command", ["{wrapper} {compiler}", "{compiler} -DNOTHING='a b'", "{folder}/with space"])
def test_compiler_with_a_wrapper_or_options_or_a_space_in_its_path(command, tmp_path, compiler):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexec "$@"\n')
    wrapper.chmod(stat.S_IRWXU)
    shutil.copy(compiler, tmp_path / "with space")
    command = command.format(wrapper=wrapper, compiler=compiler, folder=tmp_path)
    done = run(BUILD, environment(tmp_path / "cache", command))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().split() == ["built"]


@pytest.mark.parametrize("command", ["no-such-wrapper g++", "'g++"])
def test_compiler_that_is_not_there_is_named(command, tmp_path):
    done = run(BUILD, environment(tmp_path / "cache", command))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert (
        "no-such-wrapper not found on PATH (CXX names it" in done.stderr
        or "expected a command: No closing quotation" in done.stderr
    )


def test_what_is_not_a_number_of_threads_is_refused(tmp_path, compiler):
    for text in ("abc", "-1", "2.5", "1025", "9" * 5000):
        done = run(BUILD, environment(tmp_path / "cache", compiler, NEONEXT_NUM_THREADS=text))
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert f"NEONEXT_NUM_THREADS is '{text[:20]}', expected a number of threads" in done.stderr
    for text in ("", " 2 ", "0", "1024"):
        assert run(BUILD, environment(tmp_path / "cache", compiler, NEONEXT_NUM_THREADS=text)).returncode == 0


def test_what_is_installed_is_what_is_compiled_and_no_test(tmp_path):
    build = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path / "base")]
    subprocess.run([*build, "build_py", "--build-lib", str(tmp_path / "lib")], cwd=ROOT, check=True)
    installed = {path.name for path in (tmp_path / "lib/neonext_ms/ops/cpu/kernel").rglob("*") if path.is_file()}
    checkout = "from neonext_ms.ops.cpu.library import _sources; print(*[path.name for path in _sources()])"
    compiled = run([sys.executable, "-c", checkout], environment(tmp_path)).stdout.split()
    assert installed == set(compiled) and "mlp.cpp" in installed and "driver.cpp" not in installed


def test_no_compiler_falls_back_with_one_warning(tmp_path):
    done = run([sys.executable, "-c", USE], environment(tmp_path / "cache", PATH=str(tmp_path)), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNED") == 1
    assert "WARNED NeoCell falls back to the slower dense backend: no C++ compiler: g++" in done.stdout
    assert "BACKEND dense (1, 8, 8, 8)" in done.stdout
    assert "REFUSED the backend 'fused' is not available: no C++ compiler" in done.stdout


def test_failed_build_tells_what_the_compiler_said(tmp_path):
    broken = tmp_path / "broken-g++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo "x.cpp:1:2: error: no such luck" >&2; exit 1; }\n')
    broken.chmod(stat.S_IRWXU)
    done = run([sys.executable, "-c", USE], environment(tmp_path / "cache", broken), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WARNED") == 1 and "x.cpp:1:2: error: no such luck" in done.stdout
    assert "BACKEND dense" in done.stdout
    assert not list((tmp_path / "cache").glob("*.so"))


def test_prebuilding_script(tmp_path, compiler):
    script = ["bash", str(ROOT / "scripts" / "build_kernels.sh")]
    done = run([*script, "cpu"], environment(tmp_path / "cache", compiler))
    assert done.returncode == 0 and list((tmp_path / "cache").glob("*.so"))
    assert run([*script, "gpu"], environment(tmp_path / "cache", compiler)).returncode == 2
