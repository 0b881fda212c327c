"""Process that runs the deployments at their times: `python -m flows.orchestration.deployment_runner [--alone]`."""

import sys

from flows.orchestration import deployments
from mnistflow import environment
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths

if __name__ == "__main__":
    located = Paths.locate()
    environment.configure(located)
    try:
        deployments.serve(located, alone="--alone" in sys.argv[1:])
    except MnistflowError as error:
        sys.exit(f"error: {error}")
