"""Fixtures of scripts and launcher."""

from tests.support.shell import *  # noqa: F403
