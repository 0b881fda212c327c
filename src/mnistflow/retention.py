"""Retention: section `gc` of params.yaml."""

from pydantic import NonNegativeInt, PositiveInt

from mnistflow.schema import Section


class RetentionConfig(Section):
    """Section `gc`: for how many days `mnistflow gc` keeps unreferenced objects.

    Attributes:
        automatic: whether the deployment `upkeep/daily` removes what is older.
        runs: MLflow runs without a version, since their end.
        versions: registered versions with their runs, since their registration.
        workspaces: folders in `var/runs`, since their last use.
        resume: checkpoints of interrupted searches and trainings in `var/resume`, since their last use.
        cache: files in DVC's cache and run cache, since they were written.
        inferences: rows of the inference log without feedback, since their request.
        flow_runs: flow runs in Prefect's own database, since their end.
    """

    automatic: bool
    runs: NonNegativeInt
    versions: NonNegativeInt
    workspaces: NonNegativeInt
    resume: NonNegativeInt
    cache: NonNegativeInt
    inferences: NonNegativeInt
    flow_runs: PositiveInt
