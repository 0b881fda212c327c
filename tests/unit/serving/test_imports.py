"""What the server is not made of: other servers were attacked through it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import serving

# Unpickling runs what is sent, a client fetches whatever URL it is given, parsers of forms have had their own faults.
FORBIDDEN = {
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("http.client", "urllib.request", "urllib3", "requests", "httpx", "aiohttp", "ftplib"),
    *("multipart", "python_multipart", "email", "cgi"),
}


def imported(source: Path) -> Iterator[str]:
    """Yield every module that a file imports, and the modules around it."""
    for node in ast.walk(ast.parse(source.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))


def test_the_server_unpickles_fetches_and_parses_no_forms() -> None:
    sources = list(Path(serving.__file__).parent.rglob("*.py"))
    found = {str(source.relative_to(Path(serving.__file__).parent)): set(imported(source)) for source in sources}

    assert "orjson" in found["http/response.py"]
    assert not {name: modules & FORBIDDEN for name, modules in found.items() if modules & FORBIDDEN}
