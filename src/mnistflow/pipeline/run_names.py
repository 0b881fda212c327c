"""Names, descriptions and tags of a run: they state how its parameters differ from params.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mnistflow import learners
from mnistflow.config import Config
from mnistflow.tracking import runs

MAX_NAME_LENGTH = 100
# What stages of dvc.yaml read of params.yaml.
SHAPING = ("fetch.dataset", "prepare.", "model.", "tune.", "train.", "export.", "evaluate.")


def title(base: Config, overrides: Mapping[str, Any]) -> str:
    """Return the name of a run: the family, the preset, and what else is overridden.

    Args:
        base: params.yaml.
        overrides: by dotted key.

    Raises:
        ConfigError: an override is not valid.
    """
    return _title(base, base.with_values(overrides), overrides)


def title_against(base: Config, config: Config) -> str:
    """Return the name of a run whose parameters are all in its params.yaml: `cnn seed=1`.

    Args:
        base: the parameters that it is an experiment with, such as those of the last commit.
    """
    return _title(base, config, differences(base, config))


def differences(base: Config, config: Config) -> dict[str, Any]:
    """Return the values, by dotted key, that stages of dvc.yaml read and that are others than in `base`."""
    old = base.entries()
    shaping = {key: value for key, value in config.entries().items() if key.startswith(SHAPING)}
    return {key: value for key, value in shaping.items() if not isinstance(value, dict) and value != old.get(key)}


def _title(base: Config, config: Config, overrides: Mapping[str, Any]) -> str:
    family, description = config.model.family, summarize_overrides(base, config, overrides)
    # A preset may have the name of its family.
    title = description if description.split(" ")[0] == family else f"{family} {description}".strip()
    return title[:MAX_NAME_LENGTH]


def summarize_overrides(base: Config, config: Config, overrides: Mapping[str, Any]) -> str:
    """Return the preset if the overrides contain one, and the other overrides in their order: `fast epochs=1`.

    Args:
        base: params.yaml.
        config: the same with the overrides in place.
        overrides: by dotted key.
    """
    preset, reference = _reference(base, config, overrides)
    return " ".join([*([preset] if preset else []), *_changes(reference, config, overrides)])


def tags_of(base: Config, config: Config, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that state how a run differs from params.yaml, which may change later.

    They name the preset, all overrides including its own, and the number of epochs that the preset or params.yaml asks
    for, if the run has fewer.

    Args:
        base: params.yaml.
        config: the same with the overrides in place.
        overrides: by dotted key.
    """
    preset, reference = _reference(base, config, overrides)
    old, new = base.entries(), config.entries()
    changed = {key: [old.get(key), new[key]] for key in _changed_keys(base, config, overrides)}
    learner = learners.for_family(config.model.chosen)
    full_epochs = learner.max_epochs(reference.train)
    return {
        runs.OVERRIDES: json.dumps(changed, default=str),
        **({runs.PRESET: preset} if preset else {}),
        **({runs.FULL_EPOCHS: str(full_epochs)} if full_epochs > learner.max_epochs(config.train) else {}),
    }


def _reference(base: Config, config: Config, overrides: Mapping[str, Any]) -> tuple[str | None, Config]:
    """Return the preset that needs the fewest other overrides, with its parameters; None and params.yaml for none."""
    candidates: list[tuple[str | None, Config]] = [
        (name, base.with_values(values))
        for name, values in base.presets.items()
        if values and values.keys() <= overrides.keys()
    ]
    candidates.append((None, base))
    return min(candidates, key=lambda one: bool(one[0]) + len(_changes(one[1], config, overrides)))


def _changes(before: Config, after: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Return what the overrides changed, one entry a value, without the sections `model` and `train` in its name."""
    new = after.entries()
    keys = _changed_keys(before, after, overrides)
    return [f"{_short(key)}={new[key]}" for key in keys if key != "model.family"]


def _changed_keys(before: Config, after: Config, overrides: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of single values that the overrides changed, in the order of the overrides."""
    old, new = before.entries(), after.entries()
    changed = [key for key, value in new.items() if not isinstance(value, dict) and value != old.get(key)]
    return list(dict.fromkeys(key for override in overrides for key in changed if f"{key}.".startswith(f"{override}.")))


def _short(key: str) -> str:
    return key.rpartition(".")[2] if key.startswith(("model.", "train.")) else key
