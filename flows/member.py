"""`python -m flows.member RESULT PARENT_RUN`: a member of a sweep, in a process of its own.

In the workspace it is started in, it runs the stages, records them, and writes what they came to.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from flows import signals
from mnistflow import cli, comparison, config, environment, files, pipeline, recording, tasks, tracking
from mnistflow.data import splits
from mnistflow.pipeline import Pipeline
from mnistflow.project import Project


def main(result: Path, parent_run: str) -> None:
    """Run the workspace of the current folder."""
    cli.end_with_owner()
    workspace = Project.locate()
    environment.configure(workspace)
    settings = config.load(workspace.params)
    run = tracking.start(workspace, settings.fetch.dataset, settings.model.family, kind="retrain", parent=parent_run)
    with tracking.finished(run):
        steps = Pipeline(workspace, run.run_id)
        for stage in pipeline.STAGES:
            done = steps.run(stage)
            print(f"{stage}: {'done' if done.executed else 'unchanged'} ({done.seconds:.1f} s)", flush=True)  # noqa: T201
        evaluation = recording.record(workspace, run)
    headline = tasks.get(splits.load(workspace.prepared).task).headline.name
    contender = comparison.Contender.of(workspace, evaluation, headline, run.run_id)
    files.write_json(result, asdict(contender))
    pipeline.tidy(workspace)


if __name__ == "__main__":
    try:
        with signals.interrupting():
            cli.run(lambda: main(Path(sys.argv[1]), sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(130)
