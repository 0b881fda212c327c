"""Markdown helpers of the generated reference pages."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def page(title: str, source: str, *parts: str) -> str:
    """Return a page that names the file it is generated from."""
    head = [f"# {title}", f"Generated from `{source}` when the site is built."]
    return "\n\n".join([*head, *filter(None, parts)]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; line breaks and pipes in cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell(entry) for entry in line)} |" for line in lines)


def cell(written: str) -> str:
    """Return text that fits into one cell of a table."""
    return " ".join(written.split()).replace("|", "\\|")


def code(value: object) -> str:
    """Return a value as inline code, written as in JSON and YAML; nothing for an empty text."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"`{text}`" if text else ""


def with_type(meaning: str, kind: str) -> str:
    """Return the meaning of a value followed by its type, which needs no column of its own on a narrow screen."""
    return f"{text(meaning)} <small>({text(kind)})</small>".strip()


def text(written: str) -> str:
    """Return text in which `<` is shown as it is, outside of inline code."""
    return "".join(part if number % 2 else part.replace("<", "&lt;") for number, part in _split_code(written))


def _split_code(written: str) -> Iterator[tuple[int, str]]:
    """Yield the parts of a text between and within its backticks, the latter with odd numbers."""
    for number, part in enumerate(written.split("`")):
        yield number, f"`{part}`" if number % 2 else part


def breakable(path: str) -> str:
    """Return a path as inline code that may break after its slashes."""
    return f"<code>{path.replace('/', '/<wbr>')}</code>"
