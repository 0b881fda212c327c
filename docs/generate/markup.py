"""Markdown helpers of the generated reference pages."""

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that names the file it is generated from."""
    return "\n\n".join([f"# {title}", f"Generated from `{source}` when the site is built.", *filter(None, parts)]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; line breaks and pipes in cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines)


def cell(text: str) -> str:
    """Return text that fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: object) -> str:
    """Return a value as inline code, written as in JSON and YAML; nothing for an empty text."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"`{text}`" if text else ""


def docstring(thing: Any) -> str:
    """Return a docstring without its indentation; empty where there is none."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")
