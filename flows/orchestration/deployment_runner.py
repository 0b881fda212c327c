"""Process that runs the deployments at their times: `python -m flows.orchestration.deployment_runner [--alone]`."""

import sys

from flows.orchestration import deployments
from mnistflow import environment
from mnistflow.paths import Paths

if __name__ == "__main__":
    located = Paths.locate()
    environment.configure(located)
    deployments.serve(located, alone="--alone" in sys.argv[1:])
