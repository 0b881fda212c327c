"""Outcome: what the retrain flow returns, with each stage, the gate's verdict, and the champion after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.pipeline.run_plan import RunPlan
from mnistflow.pipeline.stage_runner import StageOutcome
from mnistflow.registry import versions
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.versions import Decision, Version

Result = Literal[
    "promoted", "promoted-again", "kept-as-challenger", "rejected", "unchanged", "evaluated-not-registered"
]
RESULTS: Mapping[Decision, Result] = {"promote": "promoted", "hold": "kept-as-challenger", "reject": "rejected"}


@dataclass(frozen=True)
class GateOutcome:
    """Result of registration and gate.

    Attributes:
        registered: whether the version is new; otherwise the same file was registered before.
        opponent: the champion that the version was compared with; None if there was none, or it is the champion.
    """

    version: Version
    registered: bool
    verdict: Verdict
    opponent: Version | None


@dataclass(frozen=True)
class Outcome:
    """Result of a retraining.

    Attributes:
        run_id: MLflow run that the retraining has recorded, or the one of the version if nothing was to be done.
        gate: None for a model that is not to be registered.
        champion: number of the version that serves now.
    """

    plan: RunPlan
    stages: tuple[StageOutcome, ...]
    run_id: str
    evaluation: Evaluation
    gate: GateOutcome | None
    champion: int | None

    @property
    def dataset(self) -> str:
        """The data set that the run was about."""
        return self.plan.dataset

    @property
    def changed(self) -> bool:
        """Whether there is a new version, or any stage had to run."""
        return bool(self.gate and self.gate.registered) or any(stage.executed for stage in self.stages)

    @property
    def result(self) -> Result:
        """The result of the retraining; `promoted-again` is an older version that became champion again."""
        gate = self.gate
        if gate is None:
            return "evaluated-not-registered"
        if not self.changed:
            return "promoted-again" if gate.opponent and self.champion == gate.version.number else "unchanged"
        return RESULTS[gate.verdict.decision]

    @property
    def quality(self) -> str:
        """The formatted headline metric on the test split."""
        headline = versions.task_of(self.dataset).headline
        return headline.describe(self.evaluation.metrics[headline.name])
