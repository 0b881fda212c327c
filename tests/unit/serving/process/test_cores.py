"""Number of usable cores, with and without the quota of a container."""

import os

import pytest

from serving.process import cores

BOUND = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("content", "count"),
    [("50000 100000", 1), ("100000 100000", 1), (f"{10**9} 100000", BOUND), ("max 100000", BOUND), ("", BOUND)],
)
def test_no_more_are_counted_than_the_quota_is_worth(tmp_path, content, count):
    (tmp_path / "cpu.max").write_text(content)

    assert cores.usable(tmp_path / "cpu.max") == count


def test_without_a_quota_all_are_counted(tmp_path):
    assert cores.usable(tmp_path / "cpu.max") == BOUND
