"""Schema of params.yaml: base class of its sections, and shared field types.

Each section is defined in the folder of the code that it configures, so that a stage depends on its own section only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import reduce
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnistflow.errors import ConfigError, MissingKeys

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Penalty = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Sizes = Annotated[tuple[Positive, ...], Field(strict=False)]  # from a list in YAML

MAX_SUGGESTIONS = 3
OVERRIDDEN = "the overridden parameters"  # origin of values, for messages
# Keys in these sections contain dots, so they cannot be overridden individually.
DOTTED_SECTIONS = ("presets.", "tune.space.")


class Section(BaseModel):
    """Base class of the sections of params.yaml: frozen, without unknown keys or implicit conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def entries(self) -> dict[str, Any]:
        """Return all values by dotted key, including those of whole subsections."""
        return dict(_entries(self.model_dump(mode="json")))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy in which dotted keys (`train.epochs`) have new values.

        Raises:
            ConfigError: a key does not exist, or a value is invalid.
        """
        return self.validated(self.tree_with_values(self.model_dump(mode="json"), values), OVERRIDDEN)

    def converted(self, key: str, value: Any, origin: str) -> Any:
        """Return a value as the field at a dotted key has it, such as 3.0 for 3 in a field of floats.

        The other fields of the key's section keep their values.

        Raises:
            ConfigError: the value is invalid there.
        """
        *parents, name = key.split(".")
        section: Section = reduce(getattr, parents, self)
        return getattr(section.validated(section.model_dump(mode="json") | {name: value}, origin), name)

    @classmethod
    def tree_with_values(cls, tree: Any, values: Mapping[str, Any]) -> Any:
        """Return a tree of this section in which dotted keys have new values, which are not checked yet.

        Args:
            tree: of plain values, valid; is changed.
            values: by dotted key.

        Raises:
            ConfigError: a key does not exist.
        """
        for key, value in values.items():
            if not _has_key(tree, key):  # it may have a default that the tree, or an earlier value, leaves out
                tree = cls.validated(tree, OVERRIDDEN).model_dump(mode="json")
            _set_value(tree, key, value)
        return tree

    @classmethod
    def validated(cls, tree: Any, origin: str) -> Self:
        """Return the section described by a tree of plain values.

        Args:
            tree: as loaded from YAML.
            origin: of the tree, for the error message.

        Raises:
            ConfigError: lists each invalid key with the reason.
        """
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            problems = "; ".join(_problem(entry) for entry in error.errors())
            missing = tuple(_path(entry) for entry in error.errors() if entry["type"] == "missing")
            message = f"{origin}: {problems}"
            fix = "Correct these keys, or remove unknown ones; see params.yaml in git for valid ones."
            if missing:
                raise MissingKeys(message, fix, missing) from error
            raise ConfigError(message, fix) from error


def _has_key(tree: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


def _set_value(tree: Any, key: str, value: Any) -> None:
    """Replace the value at a dotted key of a tree of dictionaries.

    Raises:
        ConfigError: the tree has no such key; suggests similar keys.
    """
    if not _has_key(tree, key):
        similar = _similar(key, tree)
        fix = f"Did you mean {similar}?" if similar else "Use a key of params.yaml."
        raise ConfigError(f"override {key}: no such key in params.yaml", fix)
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[last] = deepcopy(value)  # presets may share the value


def _similar(key: str, tree: Mapping[str, Any]) -> str:
    """Return the same key of the chosen family, else keys with the same last part, else the most similar spelling."""
    known = [other for other, _ in _entries(tree)]
    section, _, name = key.rpartition(".")
    family = tree[section].get("family") if isinstance(tree.get(section), dict) else None
    if (of_family := f"{section}.{family}.{name}") in known:
        return of_family
    same_name = [other for other in known if other.endswith(f".{key}") and not other.startswith(DOTTED_SECTIONS)]
    return " or ".join(same_name[:MAX_SUGGESTIONS] or get_close_matches(key, known, n=1))


def _entries(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{name}.")


def _path(entry: Any) -> str:
    return ".".join(str(part) for part in entry["loc"] if part not in ("Range", "Choices"))


def _problem(entry: Any) -> str:
    path = _path(entry)
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    if entry["type"] == "missing":
        return f"{path}: is missing"
    value = "" if isinstance(entry["input"], dict) else f" (got {entry['input']!r})"
    return f"{path}: {message}{value}" if path else f"{message}{value}"
