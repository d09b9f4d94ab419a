"""MindSpore's cache of graphs is never used: it gives a run the settings of another."""

import os

import pytest

from neonext_ms.runtime.ranks import join_ranks
from tests.support.cli import run


@pytest.mark.parametrize("value, used", [("1", True), ("0", False), ("", False)])
def test_the_cache_is_switched_off_and_said_to_be(monkeypatch, caplog, value, used):
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", value)
    join_ranks("CPU")
    assert "MS_COMPILER_CACHE_ENABLE" not in os.environ
    assert [record.message for record in caplog.records] == used * [
        "MS_COMPILER_CACHE_ENABLE is not used: that cache cannot tell runs with other settings apart"
    ]


def test_by_every_command(monkeypatch, capsys):
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    code, _, _ = run(capsys, "env")
    assert code == 0 and "MS_COMPILER_CACHE_ENABLE" not in os.environ
