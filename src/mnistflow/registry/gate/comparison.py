"""Comparison of a workspace's model with the champion, example by example on test split and golden set."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Outputs
from mnistflow.evaluation.evaluate import GOLDEN
from mnistflow.paths import Paths
from mnistflow.registry import registration
from mnistflow.registry.gate.verdict import Comparison, GoldenComparison
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Task
from mnistflow.tracking import runs

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def compare(workspace: Paths, data: Dataset, champion: Version, level: float) -> Comparison:
    """Run the champion on the test split and compare it with the predictions of the candidate.

    Args:
        workspace: that of the candidate.
        data: its data set.
        champion: the version that serves.
        level: of the comparison; see `alpha_spending`.

    Raises:
        RegistryError: the artifact store does not have the files of the champion.
    """
    task = tasks.get(data.task)
    with np.load(workspace.evaluated / "predictions.npz") as arrays:
        candidate: Outputs = arrays["outputs"]
        candidate_golden: Outputs | None = arrays.get(GOLDEN)
    with tempfile.TemporaryDirectory(dir=workspace.var) as folder:
        session = onnx_session.open_session(registration.download(champion, Path(folder)).model)
        test = task.evaluation_split(data.test)
        outputs = onnx_session.predict(session, test.inputs)
        golden = None if candidate_golden is None else _compare_golden(task, data, candidate_golden, session)
    measured = task.measure(outputs, test.targets, data.classes)
    return Comparison(
        version=champion.number,
        score=measured.metrics[task.headline.name],
        by_class=dict(measured.by_class),
        test=task.paired_test(candidate, outputs, test.targets),
        level=level,
        robustness=_recorded_robustness(champion, task.headline.name),
        golden=golden,
    )


def _compare_golden(
    task: Task, data: Dataset, candidate: Outputs, session: InferenceSession
) -> GoldenComparison | None:
    if data.golden is None:
        return None
    outputs, targets = onnx_session.predict(session, data.golden.inputs), data.golden.targets
    return GoldenComparison(
        sha256=data.sha256["golden"],
        examples=len(targets),
        candidate=task.score(candidate, targets),
        score=task.score(outputs, targets),
        test=task.paired_test(candidate, outputs, targets),
    )


def _recorded_robustness(champion: Version, headline: str) -> float | None:
    """Return the robustness that the champion's run recorded.

    None if it was measured under fewer corruptions, or the run was deleted.
    """
    recorded = runs.find(champion.run_id)
    name = f"test_robust_{headline}"
    return recorded.metrics.get(name) if recorded and f"{name}.held_out" in recorded.metrics else None
