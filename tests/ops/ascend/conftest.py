"""Fixtures of the tests of the binding."""

import logging

import pytest

from neonext_ms.ops import fallback


@pytest.fixture
def warnings(caplog, monkeypatch):
    """The warnings of a test, as in a process that has given none yet."""
    monkeypatch.setattr(fallback, "_given", set())
    with caplog.at_level(logging.WARNING):
        yield caplog
