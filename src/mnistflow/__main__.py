"""`python -m mnistflow`: the application alone, without the flows."""

from mnistflow.cli import run, application

if __name__ == "__main__":
    run(application)
