"""What a follower does with an empty registry: versions that stay on disk, pauses, and reports of problems."""

import os
from pathlib import Path

import pytest
from configured import configured

from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry.repository import follower, publisher
from mnistflow.registry.rollouts import Rollout

NAME = "digits-classifier"


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "var/models" / NAME / name).mkdir(parents=True)
        (folder / "var/models" / NAME / name / "model.onnx").write_text(name)


def test_versions_in_use_and_the_newest_others_stay(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    assert follower.prune(paths, NAME, (), 0) == []
    make(tmp_path, *map(str, range(1, 10)))
    folder = paths.models / NAME
    (folder / "champion").write_text("2\n")
    publisher.write_rollout(paths, NAME, Rollout(3, 0.1))
    assert follower.prune(paths, NAME, (1, 5), 2) == [4, 6, 7]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["1", "2", "3", "5", "8", "9"]
    assert follower.prune(paths, NAME, (1, 5), 2) == []
    assert follower.prune(paths, NAME, (), 0) == [1, 5, 8, 9]


def test_only_old_unfinished_folders_are_removed(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    make(tmp_path, ".4.aaaa.tmp", ".5.bbbb.tmp")
    old = paths.models / NAME / ".4.aaaa.tmp"
    os.utime(old, (0, 0))
    follower.prune(paths, NAME, (), 0)
    assert [path.name for path in (paths.models / NAME).iterdir()] == [".5.bbbb.tmp"]


def test_a_registry_without_a_champion_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "1")
    lines: list[str] = []
    with configured(Paths(tmp_path, tmp_path)) as paths:
        with pytest.raises(RegistryError, match=f"the registry has no champion: {NAME}, other-classifier"):
            follower.Follower(paths, (NAME, "other-classifier"), 3, lines.append).follow_all()
        assert lines == []
        (paths.models / NAME / "champion").write_text("1\n")
        follow = follower.Follower(paths, (NAME, "other-classifier"), 3, lines.append)
        for _ in range(2):
            assert follow.poll()
            with pytest.raises(RegistryError, match="the registry has no champion"):
                follow.follow_all()
        assert lines == [f"{NAME}: the registry has no champion: version 1 continues to serve"]


def test_pauses_grow_with_failures_and_differ() -> None:
    assert all(3.75 <= follower.pause(5, 0) <= 5 for _ in range(100))
    assert all(22.5 <= follower.pause(5, 1000) <= 30 for _ in range(100))
    assert follower.pause(120, 9) >= 90
    assert len({follower.pause(5, 1) for _ in range(100)}) > 90


def test_a_problem_of_several_models_is_reported_once() -> None:
    lines: list[str] = []
    problems = follower.ProblemLog(lines.append)
    for _ in range(2):
        problems.set("digits", "no answer")
        problems.set("mnist", "no answer")
    assert lines == ["digits: the published version continues to serve: no answer"]
    problems.set("digits", "")
    assert len(lines) == 1
    problems.set("mnist", "")
    assert lines[1:] == ["digits: following again"]
    assert not problems.current


def test_another_problem_is_reported_instead_of_an_end() -> None:
    lines: list[str] = []
    problems = follower.ProblemLog(lines.append)
    problems.set("digits", "no answer")
    problems.set("mnist", "no answer")
    problems.set("digits", "disk full")
    problems.set("mnist", "")
    problems.set("digits", "")
    assert lines[1:] == [
        "digits: the published version continues to serve: disk full",
        "mnist: following again",
        "digits: following again",
    ]
