"""Judgement with a golden set, of a model that repairs what drift has broken, and loses a little on the test split."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import serving_kit as kit
from mlflow.artifacts import load_dict
from tracking_server import register

from mnistflow import files, splits
from mnistflow.arrays import Array
from mnistflow.config import Config
from mnistflow.data import catalog, prepare
from mnistflow.data.feedback import golden
from mnistflow.data.feedback.reports import Report
from mnistflow.evaluation import evaluate
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.registry import promotion, versions
from mnistflow.registry.gate import alpha_spending, explanation
from mnistflow.registry.gate.config import GateConfig
from mnistflow.registry.gate.judgement import EVIDENCE, judge, judge_again, record_verdict
from mnistflow.splits import Dataset, OfficialSplits
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

DATASET = "digits"
GOLDEN = 120


def turned(images: Array) -> Array:
    """Return pictures of a kind that the official splits do not have."""
    return np.ascontiguousarray(np.rot90(images, axes=(1, 2)))


@pytest.fixture
def data(paths: Paths, settings: Config, digits: Dataset) -> Dataset:
    """Draw a golden set of turned digits, and prepare the data with it."""
    sent = zip(turned(digits.validation.inputs), digits.validation.targets, strict=True)
    reports = [
        Report(f"r{row}", 0, 1.0, image, "0", str(label), "", "accept") for row, (image, label) in enumerate(sent)
    ]
    official = OfficialSplits(digits.train, digits.test)
    entry = catalog.get(DATASET)
    golden.draw(paths, entry, reports, official, number=GOLDEN, seed=0, since=None, by="ada")
    assert prepare.prepare(paths, settings.prepare).golden == GOLDEN
    return splits.load(paths.prepared)


@pytest.fixture
def policy(settings: Config) -> GateConfig:
    return settings.gate.model_copy(update={"margin": 0.2, "max_recall_drop": 1.0, "max_robustness_drop": None})


def evaluated(paths: Paths, settings: Config, classifier: kit.Classifier) -> Evaluation:
    paths.exported.mkdir(parents=True, exist_ok=True)
    onnx.save(classifier.onnx(), paths.exported / "model.onnx")
    files.write_json(paths.exported / "export.json", {"doubt": None})
    return evaluate.evaluate(paths, settings.evaluate)


def test_a_win_on_the_golden_set_promotes_if_the_test_split_loses_at_most_the_margin(
    paths: Paths, settings: Config, data: Dataset, policy: GateConfig, tmp_path: Path
) -> None:
    images, labels = data.train.inputs, data.train.targets
    before = register(paths, DATASET, kit.linear_classifier(images, labels), images)
    promotion.make_champion(paths, before, "gate")
    both = np.concatenate([images, turned(images)]), np.concatenate([labels, labels])
    candidate = kit.fit_network(*both)
    evaluation = evaluated(paths, settings, candidate)
    assert evaluation.golden["golden_examples"] == GOLDEN
    assert evaluation.logged["golden_accuracy"] > 0.7
    version = register(paths, DATASET, candidate, images)
    runs.resume(version.run_id).log_params({"data.name": DATASET, "data.sha256": "d"})

    strict = judge(paths, version, evaluation, policy.model_copy(update={"margin": 0.01})).verdict
    assert strict.decision == "hold"
    assert "on the test split, more than gate.margin 0.01" in strict.reasons[1]
    judgement = judge(paths, version, evaluation, policy)
    record_verdict(paths, version, judgement, evaluation, policy)

    assert judgement.comparison is not None and judgement.comparison.golden is not None
    assert judgement.verdict.promoted, judgement.verdict.reasons
    assert "on the golden set" in judgement.verdict.reasons[0]
    assert judgement.comparison.golden.score < 0.4
    (spent,) = alpha_spending.spent(version.name)
    assert (
        judgement.comparison.p_threshold == spent.level
    )  # half of the level on each of two sides, for each of two tests
    evidence = load_dict(f"runs:/{version.run_id}/{EVIDENCE}")
    assert evidence["golden_sha256"] == data.sha256["golden"]
    assert judge_again(paths, version.name, evaluation, evidence) == judgement.verdict
    text = explanation.explain(version.name, version.number)
    assert f"On the golden set of {GOLDEN} examples, {data.sha256['golden'][:12]}, it reached" in text
    assert "shared by both tests" in text

    known = versions.find(version.name, version.number)
    assert judge(paths, known, evaluation, policy).recorded
    other = Evaluation(**{**vars(evaluation), "golden_sha256": "another set"})
    assert not judge(paths, known, other, policy).recorded
