"""Code map: the folders of the three packages, what each is for, and which imports which, read from the sources."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import markup

PACKAGES: Mapping[str, Path] = {
    "flows": markup.ROOT / "flows",
    "mnistflow": markup.ROOT / "src/mnistflow",
    "serving": markup.ROOT / "serving",
}


@cache
def folders() -> dict[str, Path]:
    """Return every folder with Python modules, by its dotted name, packages first."""
    found = {}
    for package, root in PACKAGES.items():
        for folder in sorted({path.parent for path in root.rglob("*.py")}):
            found[".".join([package, *folder.relative_to(root).parts])] = folder
    return found


def purpose(folder: Path) -> str:
    """Return the first sentence of the docstring of a folder's `__init__`; the others say what it imports."""
    init = folder / "__init__.py"
    text = (ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "") if init.exists() else ""
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


@cache
def imports(package: str) -> dict[str, set[str]]:
    """Return which parts of a package each part imports; a part is a folder, or a module beside the folders."""
    graph: dict[str, set[str]] = {}
    root = PACKAGES[package]
    for path in sorted(root.rglob("*.py")):
        part = path.relative_to(root).parts[0].removesuffix(".py")
        if part.startswith("__") or part.endswith("_pb2"):
            continue
        used = {name.split(".")[1] for name in _imported(path, package) if "." in name}
        graph.setdefault(part, set()).update(used - {part})
    return {part: {name for name in used if name in graph} for part, used in graph.items()}


def layers(package: str) -> list[list[str]]:
    """Return the parts of a package in rows: a part imports only from rows below its own."""
    graph = imports(package)
    height: dict[str, int] = {}

    def of(part: str, above: tuple[str, ...]) -> int:
        if part not in height:
            below = [of(name, (*above, part)) for name in sorted(graph[part]) if name not in above]
            height[part] = 1 + max(below, default=-1)
        return height[part]

    for part in graph:
        of(part, ())
    rows = range(max(height.values()), -1, -1)
    return [sorted(part for part in graph if height[part] == row) for row in rows]


def _imported(path: Path, package: str) -> Iterator[str]:
    """Yield the dotted names that a module imports from its own package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(f"{package}."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
