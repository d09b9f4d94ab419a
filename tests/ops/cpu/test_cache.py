"""The CPU library's cache: what is damaged or could be somebody else's is never loaded."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.cpu_library import BUILD, environment, run

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def built(cache, compiler):
    """The library, built."""
    assert run(BUILD, environment(cache, compiler)).returncode == 0
    return next(cache.glob("*.so"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A library that, if it is loaded, leaves a mark in the working folder."""
    source = tmp_path_factory.mktemp("hostile") / "hostile.c"
    source.write_text(
        '#include <stdio.h>\n__attribute__((constructor)) static void mark(void) { fclose(fopen("loaded", "w")); }\n'
        'const char *neonext_simd(void) { return "foreign"; }\n'
    )
    library = source.with_suffix(".so")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def builds(tmp_path):
    return (tmp_path / "calls").read_text().split().count("built")


def of_another_machine(data: bytes) -> bytes:
    return data[:18] + b"\xf7\x00" + data[20:]  # e_machine: BPF


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"hello\n", of_another_machine],
    ids=["empty", "cut", "not a library", "for another machine"],
)
def test_damaged_library_is_built_again(damage, built, cache, compiler, tmp_path):
    data = built.read_bytes()
    built.write_bytes(damage(data))
    done = run(BUILD, environment(cache, compiler))
    assert done.returncode == 0, done.stderr
    assert built.read_bytes() == data and builds(tmp_path) == 2


def test_intact_library_for_another_machine_is_built_again(built, cache, compiler, tmp_path):
    data = built.read_bytes()
    built.write_bytes(of_another_machine(data))
    digest = subprocess.run(["sha256sum", built], capture_output=True, text=True).stdout.split()[0]
    built.with_suffix(".sha256").write_text(digest + "\n")
    assert run(BUILD, environment(cache, compiler)).returncode == 0
    assert built.read_bytes() == data and builds(tmp_path) == 2


@pytest.mark.parametrize("digest", [None, "", "0" * 64 + "\n", "\udcff"])
def test_library_without_its_digest_is_never_loaded(digest, built, cache, compiler, hostile, tmp_path):
    shutil.copy(hostile, built)
    built.with_suffix(".sha256").unlink()
    if digest is not None:
        built.with_suffix(".sha256").write_text(digest, errors="surrogateescape")
    done = run(BUILD, environment(cache, compiler), tmp_path)
    assert done.returncode == 0 and "foreign" not in done.stdout
    assert builds(tmp_path) == 2 and not (tmp_path / "loaded").exists()
    run(BUILD, environment(cache, compiler))
    assert builds(tmp_path) == 2  # the new one is kept


def test_damaged_library_without_a_compiler_is_not_loaded(built, cache, hostile, tmp_path):
    shutil.copy(hostile, built)
    done = run(BUILD, environment(cache, PATH=str(tmp_path)), tmp_path)
    assert done.returncode == 1 and "no C++ compiler" in done.stderr
    assert not (tmp_path / "loaded").exists()


def test_folder_that_others_may_write_is_not_used(built, cache, compiler, tmp_path):
    cache.chmod(0o777)
    done = run(BUILD, environment(cache, compiler))
    assert done.returncode == 0 and str(cache) not in done.stdout
    assert done.stderr.count("\n") == 1 and f"the cache {cache} (owner {os.geteuid()}, mode 777)" in done.stderr


@root_only
def test_folder_of_another_user_is_not_used(built, cache, compiler):
    os.chown(cache, 54321, 54321)
    done = run(BUILD, environment(cache, compiler))
    assert done.returncode == 0 and str(cache) not in done.stdout
    assert "(owner 54321, mode 700) may be written by other users" in done.stderr


@pytest.mark.parametrize("change", ["mode", pytest.param("owner", marks=root_only), "link"])
def test_library_that_others_may_write_is_built_again(change, built, cache, compiler, tmp_path):
    if change == "mode":
        built.chmod(0o775)
    elif change == "owner":
        os.chown(built, 54321, 54321)
    else:
        built.symlink_to(built.rename(tmp_path / "elsewhere.so"))
    done = run(BUILD, environment(cache, compiler))
    assert done.returncode == 0 and builds(tmp_path) == 2
    status = built.lstat()
    assert stat.S_ISREG(status.st_mode) and not status.st_mode & 0o022 and status.st_uid == os.geteuid()


def test_library_is_its_owners_alone_whatever_the_umask(cache, compiler, tmp_path):
    env = environment(cache, compiler)
    for _ in range(2):
        subprocess.run(BUILD, env=env, umask=0, check=True, stdout=subprocess.DEVNULL)
    assert builds(tmp_path) == 1 and stat.S_IMODE(next(cache.glob("*.so")).stat().st_mode) == 0o755


def test_what_a_killed_build_left_goes_with_the_next_one(built, cache, compiler):
    (left := cache / f".{built.stem}-a1b2c3d4").write_bytes(b"half of it")
    built.write_bytes(b"")
    assert run(BUILD, environment(cache, compiler)).returncode == 0 and not left.exists()


def test_lock_follows_no_link_and_empties_no_file(built, cache, compiler, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    lock = next(cache.glob("*.lock"))
    lock.unlink()
    for put in (lambda: lock.symlink_to(precious), lambda: os.link(precious, lock)):
        built.write_bytes(b"")
        put()
        done = run(BUILD, environment(cache, compiler))
        assert done.returncode == 0 and precious.read_text() == "mine"
        lock.unlink()


def test_cache_on_a_file_system_without_programs(cache, compiler, tmp_path):
    cache.mkdir(mode=0o700)
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o noexec,mode=700 tmpfs {cache} && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode != 0:
        pytest.skip("file systems may not be mounted here")
    done = run([*mount, *BUILD], environment(cache, compiler, TMPDIR=str(tmp_path)))
    assert done.returncode == 0 and str(tmp_path / "neonext_ms-") in done.stdout
    assert done.stderr.count("\n") == 1 and "is mounted noexec" in done.stderr


@root_only
def test_user_without_a_name_or_a_home(compiler, tmp_path):
    """As of `docker run --user 12345`."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    rights = "+dac_override,+dac_read_search"  # to reach this interpreter
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", f"--inh-caps={rights}"]
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # all may enter /tmp, but not pytest's folder in it
        private = Path(name) / "private"
        private.mkdir()
        for folder in (name, private):
            os.chmod(folder, 0o777)
        env = environment("", shutil.copy(compiler, name), TMPDIR=str(private))
        for variable in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
            env.pop(variable, None)
        done = run([*user, f"--ambient-caps={rights}", *BUILD], env, tmp_path)
        assert done.returncode == 0 and done.stdout.startswith(str(private)), done.stderr
        assert "there is no home directory (set NEONEXT_CACHE_DIR to a folder of your own" in done.stderr
        assert not Path(tmp_path, "~").exists() and list(private.iterdir()) == []
