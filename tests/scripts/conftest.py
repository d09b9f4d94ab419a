"""Fixtures of scripts and launcher."""

import pytest

from tests.support.job import Job
from tests.support.shell import *  # noqa: F403


@pytest.fixture
def start(tmp_path, environment):
    jobs = []

    def run(*arguments, **options):
        jobs.append(Job(tmp_path, environment, *arguments, **options))
        return jobs[-1]

    yield run
    for job in jobs:
        job.kill()
