"""Commit of dvc.lock in a git repository: what it holds, and when it is refused."""

import subprocess
from pathlib import Path

import pytest

from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.pipeline import lock_commit


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Paths:
    """A repository with committed inputs of a run, and a dvc.lock that git does not know."""
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", "src/module.py", "flows/flow.py", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    git(tmp_path, "init", "-q")
    for name in ("user.name", "user.email"):
        git(tmp_path, "config", name, "somebody")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "start")
    (tmp_path / "dvc.lock").write_text("of a run\n")
    return Paths(tmp_path, tmp_path)


def test_the_commit_holds_the_lock_alone_and_leaves_what_else_is_staged(checkout: Paths) -> None:
    (checkout.root / "notes.md").write_text("staged\n")
    git(checkout.root, "add", "notes.md")
    lock_commit.require_commit_possible(checkout)
    commit = lock_commit.commit(checkout, "digits-classifier version 1\n\nMLflow run: 12\n")
    assert commit
    assert git(checkout.root, "show", "--format=%B", "--name-only", commit).split() == [
        *("digits-classifier", "version", "1"),
        *("MLflow", "run:", "12"),
        "dvc.lock",
    ]
    assert git(checkout.root, "status", "--porcelain") == "M  notes.md\n"
    assert lock_commit.commit(checkout, "again") is None


@pytest.mark.parametrize("name", ["params.yaml", "src/module.py", "src/new.py"])
def test_a_run_whose_inputs_are_not_committed_is_refused(checkout: Paths, name: str) -> None:
    (checkout.root / name).write_text("changed\n")
    with pytest.raises(ConfigError, match=f"{name} differs from the last commit") as refused:
        lock_commit.require_commit_possible(checkout)
    assert "\n" not in str(refused.value)
    (checkout.root / "dvc.yaml").write_text("changed\n")
    with pytest.raises(ConfigError, match="and 1 more differ from the last commit"):
        lock_commit.require_commit_possible(checkout)


def test_an_unfinished_merge_is_refused(checkout: Paths) -> None:
    git(checkout.root, "checkout", "-qb", "other")
    git(checkout.root, "commit", "-qm", "other", "--allow-empty")
    git(checkout.root, "checkout", "-q", "-")
    git(checkout.root, "merge", "-q", "--no-ff", "--no-commit", "other")
    with pytest.raises(ConfigError, match="a merge is not finished"):
        lock_commit.require_commit_possible(checkout)


def test_what_git_refuses_is_one_line(checkout: Paths, tmp_path_factory: pytest.TempPathFactory) -> None:
    hook = checkout.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho one; echo two >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ConfigError, match="git commit: two"):
        lock_commit.commit(checkout, "refused")
    outside = tmp_path_factory.mktemp("outside")
    with pytest.raises(ConfigError, match="not a git repository"):
        lock_commit.require_commit_possible(Paths(outside, outside))
