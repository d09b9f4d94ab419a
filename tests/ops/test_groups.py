"""Channel groups, block specs, shifts and output sizes."""

import subprocess
import sys

import pytest

from neonext_ms.errors import UserError
from neonext_ms.ops import Group, output_size, parse_spec


def test_spec_splits_channels_evenly_and_gives_the_last_group_the_rest():
    assert parse_spec("4+7", 96, 1) == [Group.square(4, 48, 1), Group.square(7, 48, 1)]
    assert parse_spec("4+7", 97, 1) == [Group.square(4, 48, 1), Group.square(7, 49, 1)]
    assert parse_spec("2+3+5", 11) == [Group.square(2, 3), Group.square(3, 3), Group.square(5, 5)]
    assert parse_spec("1+4", 8, 1) == [Group.square(1, 4, 0), Group.square(4, 4, 1)]


def test_the_three_dictionary_forms():
    assert Group.from_dict({"kernel": 7, "channels": 5, "shift": 2}) == Group(5, (7, 7), (7, 7), (2, 2))
    assert Group.from_dict({"h_in": 3, "h_out": 2, "w_in": 5, "w_out": 4, "channels": 6}) == Group(6, (2, 3), (5, 4))
    rectangle = {"kernel_a": 4, "kernel_b": 7, "channels": 9, "shift_a": 1, "shift_b": 2}
    assert Group.from_dict(rectangle) == Group(9, (4, 4), (7, 7), (1, 2))


def test_shift_makes_sub_groups_with_the_remainder_in_the_last():
    assert Group.square(7, 48, 1).left_runs() == [(6 * i, 6 * i + 6, i) for i in range(6)] + [(36, 48, 6)]
    # (7 - 1) // 2 + 1 = 4 sub-groups of 12 // 4 channels, shifted by 0, 2, 4, 6.
    assert Group.square(7, 13, 2).left_runs() == [(0, 3, 0), (3, 6, 2), (6, 9, 4), (9, 13, 6)]
    assert Group.square(4, 3, 1).left_runs() == [(0, 3, 3)], "fewer channels than sub-groups: all in the last"
    group = Group(9, (4, 4), (7, 7), (1, 0))
    assert group.left_runs() == [(0, 2, 0), (2, 4, 1), (4, 6, 2), (6, 9, 3)]
    assert group.right_runs() == [(0, 9, 0)]


def test_output_size_is_exact():
    assert Group.resample(2, 1, 3).output_size(15, 13) == (7, 6)
    assert Group.resample(3, 2, 3).output_size(12, 10) == (8, 6)
    # In floating point 22 / 11 * 7 and its like can fall below the whole number.
    for blocks in range(1, 200):
        assert Group.resample(49, 10, 1).output_size(49 * blocks, 49 * blocks) == (10 * blocks, 10 * blocks)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: parse_spec("4-7", 8), ["4-7", "4+7"]),
        (lambda: parse_spec("", 8), ["4+7"]),
        (lambda: parse_spec("0+4", 8), ["0+4"]),
        (lambda: parse_spec("4+7", 1), ["4+7", "2 channels", "got 1"]),
        (lambda: Group.square(4, 8, 4), ["(=4)", "smaller than the block size (=4)"]),
        (lambda: Group(3, (1, 2), (2, 1), (1, 0)), ["only square", "(1, 2)"]),
        (lambda: Group.square(0, 3), ["at least 1"]),
        (lambda: Group.square(4, 2.0), ["integers"]),
        (lambda: Group.from_dict({"kernel": 4}), ["kernel", "channels", "expected"]),
        (lambda: Group.from_dict({"kernel": 4, "channels": 2, "shfit": 1}), ["shfit"]),
        (lambda: output_size([Group.resample(2, 1, 3)], 1, 8), ["1 x 8", "0 x 4"]),
        (lambda: output_size([Group.resample(2, 1, 3), Group.square(4, 3)], 8, 8), ["agree", "8 x 8"]),
    ],
)
def test_mistakes_are_named_in_one_line(make, words):
    with pytest.raises(UserError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_needs_no_framework():
    code = "import sys, neonext_ms, neonext_ms.ops.reference; sys.exit('mindspore' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
