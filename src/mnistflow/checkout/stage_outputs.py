"""Stage outputs in the checkout, and whether they belong to its params.yaml and dvc.lock.

`git checkout` replaces params.yaml and dvc.lock, and leaves the outputs under `var/` as they are until `dvc checkout`
or a run replaces them too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mnistflow import yaml_files
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.stage_names import STAGES


def mismatch(paths: Paths, stage: Literal["prepare", "evaluate"]) -> str | None:
    """Return why the outputs of a stage are not those of params.yaml and dvc.lock, or None if they are.

    Without a dvc.lock, nothing states whose they are, which is not taken for a mismatch.
    """
    lock = paths.root / "dvc.lock"
    if not lock.is_file():
        return None
    parameters = yaml_files.read(paths.params)
    try:
        stages = yaml_files.read(lock)["stages"]
        needed = {name: stages[name] for name in STAGES[: STAGES.index(stage) + 1]}
        if other := other_parameter(_with_fallback(parameters, stages), needed):
            return f"dvc.lock and params.yaml differ in `{other}`"
        outputs = {entry["path"]: entry["md5"] for entry in stages[stage]["outs"]}
    except (ConfigError, KeyError, TypeError, AttributeError):
        return f"dvc.lock does not describe stage {stage}"
    folder = next(path for path in outputs if not path.startswith("var/reports/"))
    if md5(paths.root / folder) == outputs[folder]:
        return None
    return f"{folder} is not what dvc.lock describes (`dvc checkout` restores that)"


def _with_fallback(parameters: Any, stages: Mapping[str, Any]) -> Any:
    """Return the parameters of a run that used `fetch.fallback`, if the dvc.lock is of one."""
    fetch = parameters["fetch"]
    locked = stages["fetch"]["params"]["params.yaml"]["fetch.dataset"]
    is_fallback = locked is not None and locked == fetch.get("fallback")
    return {**parameters, "fetch": {**fetch, "dataset": locked}} if is_fallback else parameters


def other_parameter(parameters: Any, stages: Mapping[str, Any]) -> str | None:
    """Return the dotted key of the first parameter that a dvc.lock has another value of, or None.

    Args:
        parameters: content of params.yaml.
        stages: those of the dvc.lock, by name.
    """
    for stage in stages.values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            if other := _first_difference(key, _value(parameters, key), value):
                return other
    return None


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _first_difference(key: str, value: Any, locked: Any) -> str | None:
    """Return the dotted key of the first single value that differs, or None."""
    if not (isinstance(value, dict) and isinstance(locked, dict)):
        return None if value == locked else key
    inner = (_first_difference(f"{key}.{name}", value.get(name), locked.get(name)) for name in {**value, **locked})
    return next(filter(None, inner), None)


def md5(path: Path) -> str | None:
    """Return the hash by which DVC identifies a file or a folder; None if there is neither.

    That of a folder is the hash of the list of its files, with their hashes.
    """
    if not path.is_dir():
        return _digest(path.read_bytes()) if path.is_file() else None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _digest(file.read_bytes()), "relpath": file.relative_to(path).as_posix()} for file in files]
    return f"{_digest(json.dumps(sorted(listed, key=lambda one: one['relpath'])).encode())}.dir"


def _digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
