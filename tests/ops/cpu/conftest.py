"""A compiler for tests of the library's cache."""

import pytest


@pytest.fixture(scope="session")
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
case "$*" in *--version) exec g++ --version ;; esac
echo built >> {tmp_path}/calls
for output; do [ "$before" = -o ] && break; before="$output"; done
[ -e {compiled} ] && exec cp {compiled} "$output"
g++ "$@" -O0 && cp "$output" {compiled}
"""
    )
    script.chmod(0o755)
    return script
