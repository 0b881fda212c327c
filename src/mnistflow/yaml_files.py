"""YAML files and values, read as YAML 1.2 and DVC read their numbers."""

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mnistflow.errors import ConfigError

try:
    from yaml import CSafeLoader as _SafeLoader  # by libyaml: ten times as fast
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

Model = TypeVar("Model", bound=BaseModel)


class _Loader(_SafeLoader):
    """Loader that reads `1e-5` as a number, which PyYAML takes for a string, and refuses duplicate keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace the merge keys (`<<`) of a mapping by the entries that they refer to.

        A replaced entry stays before the one that replaces it, so a mapping is checked only before its first call.
        """
        if node not in self._checked:
            self._checked.add(node)
            _refuse_duplicate_keys(node)
        super().flatten_mapping(node)


def _refuse_duplicate_keys(node: yaml.MappingNode) -> None:
    first: dict[tuple[str, str], yaml.Node] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and (other := first.setdefault((key.tag, key.value), key)) is not key:
            raise yaml.constructor.ConstructorError(
                problem=f"key {key.value!r} occurs twice, first in line {other.start_mark.line + 1}",
                problem_mark=key.start_mark,
            )


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: the text is not valid YAML.
    """
    return yaml.load(text, _Loader)  # noqa: S506


def read(path: Path) -> Any:
    """Return the value in a YAML file.

    Raises:
        ConfigError: the file is missing or holds no valid YAML.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing", "Change into the checkout, or restore it with git.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", "Correct that line.") from error


def read_model(path: Path, kind: type[Model], fix: str) -> Model:
    """Return the content of a YAML file as a Pydantic model.

    Args:
        path: of the file.
        kind: class of the model.
        fix: what the user can do if the file is not valid.

    Raises:
        ConfigError: the file is missing, holds no valid YAML, or is not such a model.
    """
    try:
        return kind.model_validate(parse(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
    raise ConfigError(f"{path}: {problem}", fix)
