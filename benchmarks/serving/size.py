"""How large the environment of the server is when it is installed: by distribution, the largest first.

An environment is made from serving/requirements.lock, with the package in it, compiled as pip does, and thrown away.

    python benchmarks/serving/size.py
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_MEGABYTES = 350
LISTING = """
import json
from importlib.metadata import distributions
print(json.dumps({each.name: sum(file.locate().stat().st_size for file in each.files) for each in distributions()}))
"""


def sizes(environment: Path) -> dict[str, int]:
    """Install the server in a new environment and return the bytes of each distribution, and of all bytecode."""
    uv, python = Path(sys.executable).with_name("uv"), environment / "bin/python"
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "serving/requirements.lock"], check=True)
    subprocess.run([*install, "--no-deps", ROOT], check=True)
    found: dict[str, int] = json.loads(subprocess.check_output([python, "-B", "-c", LISTING]))
    return found | {"bytecode": sum(file.stat().st_size for file in environment.rglob("*.pyc"))}


def main() -> int:
    """Print the sizes; exit status 1 when they are above the limit."""
    with tempfile.TemporaryDirectory() as folder:
        found = sizes(Path(folder) / "venv")
    found["all"] = sum(found.values())
    print(f"{platform.machine()}, Python {platform.python_version()}, MB")
    for name, size in sorted(found.items(), key=lambda entry: entry[1], reverse=True):
        print(f"{name:<20}{size / 1e6:>8.1f}")
    return int(found["all"] > MAX_MEGABYTES * 1e6)


if __name__ == "__main__":
    sys.exit(main())
