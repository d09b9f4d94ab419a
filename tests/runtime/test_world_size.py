"""How many ranks a process is one of, and which device it takes, from what its launcher has set."""

import mindspore as ms
import pytest

from neonext_ms.errors import UserError
from neonext_ms.runtime.ranks import join_ranks, world_size

MSRUN = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "4"}
RANK_TABLE = {"RANK_TABLE_FILE": "table.json", "RANK_SIZE": "8", "RANK_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        (MSRUN, 4),
        (RANK_TABLE, 8),
        ({"MS_SIMULATION_LEVEL": "1", "RANK_SIZE": "8"}, 8),
        (MSRUN | {"RANK_SIZE": "16"}, 4),
        # left in the shell by another job
        ({"RANK_SIZE": "8", "RANK_ID": "3"}, 1),
        ({"MS_WORKER_NUM": "8"}, 1),
        ({"RANK_SIZE": "many"}, 1),
    ],
)
def test_only_a_launcher_makes_a_rank(environment, expected):
    assert world_size(environment) == expected


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5", "9" * 20, "٣"])
def test_a_launcher_that_tells_no_number_is_one_line(number):
    with pytest.raises(
        UserError, match=f"RANK_SIZE must be the number of ranks of the job, at least 1, got '{number}'"
    ):
        world_size(RANK_TABLE | {"RANK_SIZE": number})


@pytest.mark.parametrize("device_id, expected", [("5", 5), ("", 0)])
def test_a_rank_takes_the_npu_that_its_launcher_names(monkeypatch, device_id, expected):
    """MindSpore's answers on a machine with NPUs."""
    taken = []
    monkeypatch.setattr(ms.hal, "is_available", lambda device: True)
    monkeypatch.setattr(ms, "set_device", lambda *arguments: taken.append(arguments))
    monkeypatch.setattr(ms, "set_context", lambda **_: None)
    monkeypatch.setenv("DEVICE_ID", device_id)
    join_ranks("auto")
    assert taken == [("Ascend", expected)]
    monkeypatch.setenv("DEVICE_ID", "npu0")
    with pytest.raises(UserError, match="DEVICE_ID must be the number of an NPU, at least 0, got 'npu0': unset it"):
        join_ranks("auto")
