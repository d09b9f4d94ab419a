"""Which rank is blamed when all of them have fallen silent."""

import os
import subprocess
import sys

import pytest

from neonext_ms.launch.ranks import Ranks


@pytest.fixture
def silent(tmp_path):
    """Ranks that have made so many updates each (None: not the first sign of life yet), as they are after 100 s."""
    processes = []

    def make(*updates, stopped=()):
        ranks = Ranks(tmp_path, 0.0)
        for i, update in enumerate(updates):
            processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
            (tmp_path / f"rank_{i}.pid").write_text(f"{processes[-1].pid} 1 host\n")
            if update is not None:
                (tmp_path / f"rank_{i}.beat").write_text(f"{update + 5} {update}\n")
            if i in stopped:
                os.kill(processes[-1].pid, 19)
                os.waitpid(processes[-1].pid, os.WUNTRACED)
        ranks.look(1.0)
        ranks.look(101.0)
        return ranks

    yield make
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("updates", "stopped", "blamed"),
    [
        ((8, 7, 8), (), "rank 1"),  # the others wait in the reduction of update 8
        ((7, 8, 8), (), "rank 0"),
        ((8, 8, 8), (2,), "rank 2"),
        ((7, 8, 8), (2,), "rank 2"),
        ((3, None, 3), (), "rank 1"),
    ],
)
def test_a_hang_is_blamed_on_the_stopped_rank_or_the_one_with_the_fewest_updates(silent, updates, stopped, blamed):
    ranks = silent(*updates, stopped=stopped)
    assert ranks.hung(start_timeout=90, hang_timeout=90).name == blamed


def test_nobody_is_blamed_before_the_time_is_over(silent):
    ranks = silent(8, 7, None)  # seen first at 1 s, silent until 101 s
    assert ranks.hung(start_timeout=100, hang_timeout=100) is None
    assert ranks.hung(start_timeout=99, hang_timeout=100) is not None, "for the first sign of life of rank 2"
    assert ranks.hung(start_timeout=100, hang_timeout=99) is not None


def test_a_rank_that_is_done_cannot_hang(silent, tmp_path):
    ranks = silent(8)
    (tmp_path / "rank_0.beat").write_text("done\n")
    ranks.look(102.0)
    assert ranks.hung(start_timeout=1, hang_timeout=1) is None
    assert ranks.ranks[0].finished and ranks.ranks[0].update is None
