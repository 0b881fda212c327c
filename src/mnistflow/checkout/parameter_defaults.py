"""Defaults of parameters that a params.yaml from before an update lacks, as git has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mnistflow import yaml_files
from mnistflow.checkout import git

_ABSENT = object()
_REVISIONS = 50  # of params.yaml, the newest first; the newest that has a key is mostly among the first


def where_to_add(path: Path, keys: Sequence[str]) -> str:
    """Return, as an imperative, what to add to a params.yaml; empty without git, or if no revision has the keys.

    Args:
        path: of the params.yaml.
        keys: dotted keys that it lacks.
    """
    found = {key: line for key in keys if (line := _line(path, key))}
    return f"Add what it lacks, here with the defaults: {'; '.join(found.values())}." if len(found) == len(keys) else ""


def _line(path: Path, key: str) -> str:
    """Return one key with its default, or the place of a whole section; empty if no revision has it."""
    section, _, name = key.rpartition(".")
    for revision in git.commits_of(path, _REVISIONS):
        value = _value(git.file_at(path, revision) or "", key)
        if isinstance(value, dict):
            return f"the section `{key}` of `git show {revision[:12]}:{path.name}`"
        if value is not _ABSENT:
            return f"`{name}: {json.dumps(value)}` in section `{section}`"
    return ""


def _value(text: str, key: str) -> Any:
    try:
        found = yaml_files.parse(text)
    except yaml.YAMLError:
        return _ABSENT
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return _ABSENT
        found = found[part]
    return found
