"""The CPU library's cache and build: what a user meets on machines of all kinds."""

import os
import stat
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

BUILD = [sys.executable, "-m", "neonext_ms.ops.cpu.library"]
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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Where the first call of `compiler` leaves its output for the others."""
    return tmp_path_factory.mktemp("compiled") / "library.so"


@pytest.fixture
def compiler(tmp_path, compiled):
    """A compiler that counts its calls, and is quick: it does not optimise, and compiles the same only once."""
    script = tmp_path / "bin" / "quick-g++"
    script.parent.mkdir()
    script.write_text(
        f"""#!/bin/sh
[ "$1" = --version ] && exec g++ --version
echo built >> {tmp_path}/calls
for output; do [ "$before" = -o ] && break; before="$output"; done
[ -e {compiled} ] && exec cp {compiled} "$output"
g++ "$@" -O0 && cp "$output" {compiled}
"""
    )
    script.chmod(stat.S_IRWXU)
    return script


def environment(cache, compiler=None, **changes):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NEONEXT_CACHE_DIR": str(cache), "GLOG_v": "3", **changes}
    env.pop("CXX", None)
    return {**env, "CXX": str(compiler)} if compiler else env


def run(command, env, folder=None):
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_four_processes_build_once(tmp_path, compiler):
    cache = tmp_path / "cache"
    env = environment(cache, compiler)
    processes = [subprocess.Popen(BUILD, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(outputs) == 1 and str(cache) in outputs.pop()
    assert (tmp_path / "calls").read_text().split() == ["built"]
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".so"]


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


def test_cache_that_cannot_be_written(tmp_path, compiler):
    private = tmp_path / "private"
    private.mkdir()
    env = environment("/proc/neonext", compiler, TMPDIR=str(private))  # not even root can make a folder there
    done = run(BUILD, env)
    assert done.returncode == 0 and done.stdout.startswith(str(private))
    assert list(private.iterdir()) == []  # and nothing is left behind


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
