"""`python -m flows.runner [--alone]`: runs the deployments at their times, as a process of its own; see `services`."""

import sys

from flows import deployments
from mnistflow import environment
from mnistflow.project import Project

if __name__ == "__main__":
    located = Project.locate()
    environment.configure(located)
    deployments.serve(located, alone="--alone" in sys.argv[1:])
