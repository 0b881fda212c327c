"""Markdown helpers of the generated reference pages."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that names the file it is generated from."""
    head = [f"# {title}", f"Generated from `{source}` when the site is built."]
    return "\n\n".join([*head, *filter(None, parts)]) + "\n"


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


def with_type(meaning: str, kind: str) -> str:
    """Return the meaning of a value followed by its type, which needs no column of its own on a narrow screen."""
    return f"{meaning} <small>({kind})</small>".strip()


def breakable(path: str) -> str:
    """Return a path as inline code that may break after its slashes."""
    return f"<code>{path.replace('/', '/<wbr>')}</code>"
