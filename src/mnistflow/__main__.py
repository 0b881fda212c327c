"""`python -m mnistflow`: the stages alone, without the flows."""

from mnistflow.cli import run, stages

if __name__ == "__main__":
    run(stages)
