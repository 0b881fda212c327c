"""Python API reference: a page for each folder of code, which mkdocstrings fills without importing anything."""

from code_map import folders


def pages() -> dict[str, str]:
    """Return the page of each package, by its dotted name."""
    return {name: f"reference/python/{name}.md" for name in folders()}


def page(name: str) -> str:
    """Return the page of a package: its modules, one after another."""
    folder = folders()[name]
    modules = [
        name if path.stem == "__init__" else f"{name}.{path.stem}"
        for path in sorted(folder.glob("*.py"), key=lambda path: (path.stem != "__init__", path.stem))
        if path.stem != "__main__" and not path.stem.endswith("_pb2")
    ]
    return "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)]) + "\n"
