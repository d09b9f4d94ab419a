"""The tiling: what it serves, how it splits, and that every plan respects capacities and 16-bit limits."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_kernels.emulator.library import KERNELS
from tests.ascend_kernels import cases


def plan(emulator, operator, shape, cores=24):
    return emulator.report(operator, "float16", shape, cores)


@pytest.mark.parametrize(
    "operator, shape, cores, reason",
    [
        ("neo_cell", (1, 1, 1, 14, 14, 14), 24, "one pixel wide"),
        ("neo_cell", (1, 1, 14, 1, 14, 14), 24, "one pixel wide"),
        ("neo_cell", (1, 1, 14, 14, 1, 14), 24, "one pixel wide"),
        ("neo_cell_grad", (1, 1, 14, 14, 14, 1), 24, "one pixel wide"),
        ("neo_cell", (1, 1, 144, 128, 128, 128), 24, "at most 128 x 128"),
        ("neo_cell_grad", (1, 1, 112, 112, 112, 112), 24, "at most 96 x 96"),
        ("neo_cell", (0, 8, 14, 14, 14, 14), 24, "empty"),
        ("neo_cell", (1, 8, 14, 14, 14, 14), 0, "no cube core"),
        ("neo_cell_kron", (128, 1536, 1, 49, 1, 49), 24, "65535"),
        ("neo_cell_kron", (8, 8, 1, 144, 1, 144), 24, "L0B"),
        ("neo_cell_kron", (8, 8, 1, 1, 1, 1), 24, "one element"),
    ],
)
def test_refusals_name_the_reason(emulator, operator, shape, cores, reason):
    assert reason in plan(emulator, operator, shape, cores)["refusal"]


@pytest.mark.parametrize("cores", [1, 7, 20, 24])
@pytest.mark.parametrize("channels, images", [(1, 1), (1, 64), (5, 9), (96, 3), (1536, 2)])
def test_split_over_cores(emulator, cores, channels, images):
    """Channels first; images only when cores are left over; never more cores than there are."""
    tiling = plan(emulator, "neo_cell", (images, channels, 14, 14, 14, 14), cores)["tiling"]
    assert tiling["channel_cores"] == min(channels, cores)
    assert tiling["image_cores"] == max(1, min(images, cores // tiling["channel_cores"]))


@pytest.mark.parametrize("shape", [cases.square(128, 384, 14), cases.square(128, 96, 56), cases.square(50, 7, 28)])
def test_order_of_summation_does_not_depend_on_the_cores(emulator, shape):
    """What decides in which order dA and dB are summed: images of a tile, and parts of N."""
    plans = [plan(emulator, "neo_cell_grad", shape, cores)["tiling"] for cores in (1, 7, 20, 24)]
    assert len({(t["tile_images"], t["splits"]) for t in plans}) == 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["neo_cell", "neo_cell_grad"]),
    st.integers(1, 40),
    st.integers(1, 200),
    st.tuples(*[st.integers(1, 140)] * 4),
    st.sampled_from([1, 3, 20, 24]),
)
def test_every_plan_is_refused_or_clean(emulator, operator, images, channels, planes, cores):
    """Dry runs: the emulator checks capacities, alignments, ranges, flags, queues and races of whatever is planned."""
    report = plan(emulator, operator, (images, channels, *planes), cores)
    assert report["refusal"] or report["violation_count"] == 0, report["violations"]
    limit = 128 if operator == "neo_cell" else 96
    if min(planes) >= 2 and max(planes) <= limit:
        assert not report["refusal"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 900), st.integers(2, 130), st.integers(2, 130), st.sampled_from([1, 20, 24]))
def test_every_kronecker_plan_is_refused_or_clean(emulator, images, channels, depth, out, cores):
    report = plan(emulator, "neo_cell_kron", (images, channels, 1, depth, 1, out), cores)
    assert report["refusal"] or report["violation_count"] == 0, report["violations"]


def test_the_header_is_plain_cpp11(tmp_path):
    """CANN's templates compile op_host as C++11."""
    source = tmp_path / "include.cpp"
    source.write_text('#include "neo_cell_tiling.h"\nint main() { return sizeof(neocell::Tiling) % 4; }\n')
    subprocess.run(
        [
            "g++",
            "-std=c++11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            f"-I{KERNELS / 'common'}",
            str(source),
        ],
        check=True,
    )
