"""`python -m mnistflow`: the stages alone, without the flows."""

from mnistflow.cli import application, run

if __name__ == "__main__":
    run(application)
