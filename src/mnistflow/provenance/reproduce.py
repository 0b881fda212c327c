"""Reproduction of a run: the same model again, from MLflow's record alone, in a workspace of its own.

Sources, parameters, data and the outcome of the search are taken as recorded and checked first; then the model is
trained, exported and evaluated again. Trials of a search run in parallel, so their order, and with it their choice of
parameters, depends on time: the search is not repeated.

On the recorded machine class (processor, cores, Python, packages), the weights have to be the same, byte for byte.
Elsewhere sums round differently: at most `MAX_DISAGREEMENT` of the predicted classes may differ, or the outputs by
`MAX_GAP` where there are no classes, and the gate has to come to the recorded decision.

Nothing is registered, published or promoted, and the checkout's outputs and dvc.lock stay as they are. The attempt is a
run of kind `reproduce`, a child of the run that it repeats.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnistflow import files, tasks
from mnistflow.arrays import Outputs
from mnistflow.errors import MnistflowError, NotReproduced
from mnistflow.evaluation import evaluate
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.provenance import inputs
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry import weights
from mnistflow.registry.gate.judgement import judge_again
from mnistflow.tasks.task import Task
from mnistflow.tracking import runs
from mnistflow.tracking.runs import Run

STAGES = ("train", "export", "evaluate")
MAX_DISAGREEMENT = 0.01  # share of the test examples
MAX_GAP = 0.05
RESULT = "mnistflow.reproduced"  # tag of the attempt


@dataclass(frozen=True)
class Reproduction:
    """A run that was repeated.

    Attributes:
        sources: where they come from.
        data: where the prepared data comes from.
        elsewhere: the first difference of the machine from the recorded one; None on the same machine class.
        identical: whether the weights are the same, byte for byte.
        disagreements: number of test examples that are predicted otherwise.
        rows: number of test examples.
        decision: the gate's, as recorded; None if it has not judged the run's model, or was overruled.
    """

    run_id: str
    sources: str
    data: str
    elsewhere: str | None
    identical: bool
    disagreements: int
    rows: int
    decision: str | None


def reproduce(checkout: Paths, run_id: str) -> Reproduction:
    """Repeat a run from its record, and compare.

    Raises:
        NotReproduced: an input is gone or differs, or the result does; names the first one.
        RegistryError: there is no such run.
    """
    with tempfile.TemporaryDirectory() as folder, workspaces.of_record(checkout) as workspace:
        record = RunRecord.read(run_id, Path(folder))
        expected = record.weights
        sources = inputs.provide_sources(record, workspace)
        inputs.provide_parameters(record, workspace)
        run = runs.start(checkout, "", f"reproduce {record.logged.name}", kind="reproduce", parent=run_id)
        with runs.finished(run):
            try:
                result = _repeat(record, workspace, run, sources, expected)
            except MnistflowError as error:
                run.set_tags({RESULT: error.problem})
                raise
            run.set_tags({RESULT: "identical" if result.identical else "within the tolerance"})
    return result


def _repeat(record: RunRecord, workspace: Paths, run: Run, sources: str, expected: str) -> Reproduction:
    data = inputs.provide_data(record, workspace, run)
    inputs.provide_search(record, workspace)
    elsewhere = inputs.other_machine(record)
    for stage in STAGES:
        inputs.run_stage(record, workspace, run, stage)
    _check_settings(record, workspace)
    identical = weights.digest(workspace.exported / "model.onnx") == expected
    if not identical and elsewhere is None:
        raise NotReproduced(
            "the weights differ, although no input does", "The training depends on something that is not recorded."
        )
    with np.load(workspace.evaluated / "predictions.npz") as arrays:
        outputs: Outputs = arrays["outputs"]
    disagreements = check_predictions(tasks.get(record.data["task"]), record.outputs, outputs, elsewhere)
    decision = _check_verdict(record, workspace)
    return Reproduction(record.run_id, sources, data, elsewhere, identical, disagreements, len(outputs), decision)


def _check_settings(record: RunRecord, workspace: Paths) -> None:
    """Check the parameters of the training, those included that it derives from the data and the search."""
    for name, value in files.read_json(workspace.trained / "training.json")["settings"].items():
        recorded = record.logged.parameters.get(name, str(value))
        if recorded != str(value):
            raise NotReproduced(f"parameter {name} differs: {value} instead of {recorded}")


def check_predictions(task: Task, recorded: Outputs, outputs: Outputs, elsewhere: str | None) -> int:
    """Return how many examples are predicted otherwise than recorded.

    Args:
        task: compares the outputs.
        recorded: outputs on the test split, float32 `[n, *output_shape]`.
        outputs: of the repeated run, for the same examples.
        elsewhere: the first difference of the machine from the recorded one; None if there is none.

    Raises:
        NotReproduced: they differ by more than the tolerance.
    """
    where = f"{elsewhere}: " if elsewhere else ""
    if outputs.shape != recorded.shape:
        raise NotReproduced(f"{where}predictions of shape {outputs.shape} instead of {recorded.shape}")
    parity = task.compare_outputs(recorded, outputs, tie=0.0)
    has_classes = task.headline.is_share
    if parity.disagreements > MAX_DISAGREEMENT * parity.rows or not (has_classes or parity.max_gap <= MAX_GAP):
        allowed = f"{MAX_DISAGREEMENT:.0%} of the predictions" if has_classes else MAX_GAP
        raise NotReproduced(
            f"{where}{parity.disagreements} of {parity.rows} predictions differ, and outputs by up to "
            f"{parity.max_gap:.2g} (allowed: {allowed})"
        )
    return parity.disagreements


def _check_verdict(record: RunRecord, workspace: Paths) -> str | None:
    """Return the recorded decision, to which the gate comes again; None if there is none of the gate's own."""
    evidence = record.evidence
    if evidence is None or evidence.get("overruled"):
        return None
    name = record.logged.tags[runs.VERSION].partition("/")[0]
    verdict = judge_again(workspace, name, evaluate.load(workspace), evidence)
    if verdict.decision != evidence["decision"]:
        raise NotReproduced(
            f"the gate's decision differs: {verdict.decision} instead of {evidence['decision']}, because "
            f"{'; '.join(verdict.reasons)}"
        )
    return verdict.decision
