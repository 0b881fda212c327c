"""Comparison of a workspace's model with the champion, example by example on the same test split."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Outputs
from mnistflow.paths import Paths
from mnistflow.registry import registration
from mnistflow.registry.gate.verdict import Comparison
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tracking import runs


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
    with tempfile.TemporaryDirectory(dir=workspace.var) as folder:
        session = onnx_session.open_session(registration.download(champion, Path(folder)).model)
        outputs = onnx_session.predict(session, data.test.inputs)
    measured = task.measure(outputs, data.test.targets, data.classes, bins=1)
    return Comparison(
        version=champion.number,
        score=measured.metrics[task.headline.name],
        by_class=dict(measured.by_class),
        test=task.paired_test(candidate, outputs, data.test.targets),
        level=level,
        robustness=_recorded_robustness(champion, task.headline.name),
    )


def _recorded_robustness(champion: Version, headline: str) -> float | None:
    """Return the robustness that the champion's run recorded; None if it was measured under fewer corruptions."""
    metrics = runs.read(champion.run_id).metrics
    name = f"test_robust_{headline}"
    return metrics.get(name) if f"{name}.held_out" in metrics else None
