"""Process of a worker of a Prefect work pool: `python -m flows.team.worker POOL NAME [--register]`.

With `--register`, it makes the pool and registers the deployments of prefect.yaml, and then becomes the worker.
"""

import os
import subprocess
import sys


def main(pool: str, name: str, *options: str) -> None:
    """Replace this process by the worker.

    Raises:
        CalledProcessError: the deployments cannot be registered.
    """
    prefect = [sys.executable, "-m", "prefect"]
    if "--register" in options:
        subprocess.run([*prefect, "work-pool", "create", pool, "--type", "process", "--overwrite"], check=True)
        subprocess.run([*prefect, "--no-prompt", "deploy", "--all", "--pool", pool], check=True)
    os.execv(sys.executable, [*prefect, "worker", "start", "--pool", pool, "--name", name, "--type", "process"])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
