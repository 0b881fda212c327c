"""The `mnistflow` command, where the packages that it needs are installed."""

import gc
import os
import sys


def main() -> None:
    """Run the command line; exits 1 with one line where only the server is installed."""
    # What is imported is not garbage, and Python would look through it after every 700 objects.
    gc.set_threshold(50_000)
    # Pydantic would look for plugins in the metadata of all packages: a tenth of the time of a short command.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from flows.cli.app import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed. Install the pipeline: pip install '.[pipeline]'.")
    run()


if __name__ == "__main__":
    main()
