"""`python -m flows.runner`: runs the deployments at their times, as a process of its own; see `services`."""

from flows import deployments
from mnistflow import environment
from mnistflow.project import Project

if __name__ == "__main__":
    located = Project.locate()
    environment.configure(located)
    deployments.serve(located)
