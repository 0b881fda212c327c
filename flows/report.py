"""A retraining in words: for the Prefect artifact and the terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mnistflow.project import Project

if TYPE_CHECKING:
    from flows.retrain import Outcome


def headline(outcome: Outcome) -> str:
    """Return the verdict in one line."""
    accuracy = f"test accuracy {outcome.evaluation.metrics['accuracy']:.2%}"
    name = f"{outcome.version.name} version {outcome.version.number}"
    if not outcome.changed:
        return f"unchanged: {name}, {accuracy}"
    said = {"promote": "promoted", "hold": "kept as challenger", "reject": "rejected"}[outcome.verdict.decision]
    return f"{said}: {name}, {accuracy}"


def markdown(outcome: Outcome, project: Project) -> str:
    """Return what changed, the metrics, the verdict and where to look further."""
    stages = "\n".join(
        f"| {stage.stage} | {'ran' if stage.executed else 'from the cache'} | {stage.seconds:.1f} |"
        for stage in outcome.stages
    )
    metrics = "\n".join(f"| {name} | {value:.5g} |" for name, value in outcome.evaluation.logged.items())
    reasons = "\n".join(f"- {reason}" for reason in outcome.verdict.reasons)
    return f"""# {headline(outcome)}

{reasons}

Champion now: version {outcome.champion}.

| stage | what happened | seconds |
| --- | --- | ---: |
{stages}

| metric | value |
| --- | ---: |
{metrics}

- MLflow run `{outcome.run_id}` in {os.environ["MLFLOW_TRACKING_URI"]}
- model repository {project.models / outcome.version.name}
"""
