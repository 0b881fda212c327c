"""YAML files: duplicate keys."""

import re

import pytest

from mnistflow import yaml_files
from mnistflow.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("train:\n  epochs: 2\n  seed: 0\n  epochs: 6\n", "key 'epochs' occurs twice, first in line 2 .* line 4"),
        ("augment: {shift: 0.1, shift: 0.2}\n", "key 'shift' occurs twice, first in line 1 .* line 1, column 23"),
        ("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: *a\n  <<: *b\n", "key '<<' occurs twice, first in line 4 .* line 5"),
        ("x: 1\nlist:\n- {y: 1}\n- z: 1\n  z: 1\n", "key 'z' occurs twice, first in line 4 .* line 5"),
    ],
)
def test_a_duplicate_key_is_refused_with_both_lines(tmp_path, text, place) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))} is not valid YAML: {place}"):
        yaml_files.read(path)


def test_a_merged_key_may_be_replaced() -> None:
    text = """
outer: {inner: &inner {<<: &innermost {x: 0, y: 2}, x: 1}}
first: &first
  <<: *inner
  y: 3
second:
  <<: [*first, *inner]
  x: 4
"""
    assert yaml_files.parse(text) == {
        "outer": {"inner": {"x": 1, "y": 2}},
        "first": {"x": 1, "y": 3},
        "second": {"x": 4, "y": 3},
    }


def test_keys_of_different_types_are_no_duplicates() -> None:
    assert yaml_files.parse("1: a\n'1': b\n") == {1: "a", "1": "b"}
