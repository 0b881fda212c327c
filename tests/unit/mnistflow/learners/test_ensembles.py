"""Ensembles of registered models: what is averaged, and what is refused; with a real registry and real graphs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import stores
from configured import configured

from mnistflow import learners, tasks
from mnistflow.config import Config
from mnistflow.errors import ConfigError, MnistflowError, ParityError
from mnistflow.export import export
from mnistflow.learners.learner import Training
from mnistflow.paths import Paths
from mnistflow.pipeline import run_plan
from mnistflow.registry import manifest, registration
from mnistflow.registry.manifest import Manifest
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

SMALL = {"model.forest.trees": 3, "model.boosting.rounds": 2, "model.svm.components": 20}
VERSIONS = [("forest", 17), ("svm", 17), ("boosting", 18)]  # families and opsets
OTHER_OPSET = 3


@pytest.fixture(scope="module")
def registered(settings: Config, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Version]]:
    """A registry with three versions, the last one with another opset."""
    folder = tmp_path_factory.mktemp("registry")
    stores.copy_mlflow(folder)
    paths = Paths(folder, folder)
    with configured(paths):
        yield [register(paths, folder, settings, digits, family, opset) for family, opset in VERSIONS]


def register(paths: Paths, folder: Path, settings: Config, digits: Dataset, family: str, opset: int) -> Version:
    chosen = settings.with_values({**SMALL, "model.family": family, "export.opset": opset})
    path = folder / f"{family}-{opset}.onnx"
    write(fit(chosen, digits), chosen, digits, path)
    signature = tasks.get(digits.task).signature(digits.input_shape, digits.classes)
    run = runs.start(paths, "digits", family, kind="retrain")
    facts = Manifest(
        name="digits-classifier",
        task=digits.task,
        dataset="digits",
        classes=digits.classes,
        **manifest.tensors(signature),
        preprocessing="digit",
        sha256=f"{family}-{opset}",
        data_sha256=digits.data_sha256,
        metrics={},
        run_id=run.run_id,
        git_commit="unknown",
        created="2026-01-01T00:00:00+00:00",
        mnistflow_version="0",
        doubt=None,
    )
    return registration.register(run, path, None, digits.test.inputs[:2], facts)


def fit(settings: Config, digits: Dataset) -> Training:
    family = settings.model.chosen
    return learners.for_family(family).fit(digits, family, settings.train, lambda *_: None)


def write(training: Training, settings: Config, digits: Dataset, path: Path) -> None:
    signature = tasks.get(digits.task).signature(digits.input_shape, digits.classes)
    learner = learners.for_family(settings.model.chosen)
    export.save(learner.convert(training.model, signature, settings.export.opset), path, {})


def ensemble(settings: Config, *members: int | str, sha256: list[str] | None = None) -> Config:
    values = {"model.ensemble.members": list(members), "model.ensemble.sha256": sha256}
    return settings.with_values({"model.family": "ensemble", **values})


def test_one_graph_computes_the_mean_of_its_members(settings, digits, registered, tmp_path) -> None:
    chosen = ensemble(settings, 1, registered[1].run_id)
    training = fit(chosen, digits)
    learner, path = learners.for_family(chosen.model.chosen), tmp_path / "model.onnx"
    write(training, chosen, digits, path)
    files = [downloaded(version, tmp_path) for version in registered[:2]]
    outputs = [onnx_session.predict(onnx_session.open_session(file), digits.test.inputs) for file in files]
    merged = onnx_session.predict(onnx_session.open_session(path), digits.test.inputs)
    assert merged == pytest.approx(np.mean(outputs, axis=0), abs=1e-6)
    expected = learner.predict(training.model, digits.test.inputs)
    assert export.check_parity(tasks.get(digits.task), expected, path, digits, settings.export).max_gap < 1e-6
    with pytest.raises(ParityError):
        export.check_parity(tasks.get(digits.task), outputs[0], path, digits, settings.export)
    graph = onnx.load(path).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "probabilities"]
    assert training.parameters == sum(onnx_session.count_parameters(file.read_bytes()) for file in files)
    assert list(training.best) == ["accuracy", "loss", "val_accuracy", "val_loss"]


def test_a_network_and_a_classifier_of_scikit_learn_are_averaged(settings, digits, registered, tmp_path) -> None:
    chosen = settings.with_values({"model.family": "linear"})
    learner, family, task = learners.get("keras"), chosen.model.chosen, tasks.get(digits.task)
    signature = task.signature(digits.input_shape, digits.classes)
    learner.prepare(chosen.train)
    export.save(learner.convert(task.build(family, signature), signature, 17), tmp_path / "linear.onnx", {})
    files = [tmp_path / "linear.onnx", downloaded(registered[1], tmp_path)]
    merged = learners.get("ensemble").convert(tuple(file.read_bytes() for file in files), signature, 17)
    export.save(merged, tmp_path / "model.onnx", {})
    outputs, mean = (
        [onnx_session.predict(onnx_session.open_session(file), digits.test.inputs) for file in several]
        for several in (files, [tmp_path / "model.onnx"])
    )
    np.testing.assert_allclose(mean[0], np.mean(outputs, axis=0), atol=1e-6)


def downloaded(version: Version, folder: Path) -> Path:
    (folder / str(version.number)).mkdir()
    return registration.download(version, folder / str(version.number)).model


def test_an_ensemble_that_is_kept_is_the_same(settings, digits, registered, tmp_path) -> None:
    chosen = ensemble(settings, 2, 1)
    learner, model = learners.for_family(chosen.model.chosen), fit(chosen, digits).model
    learner.save(model, tmp_path)
    assert learner.load(tmp_path) == model


def test_a_run_is_pinned_to_the_files_of_its_members(settings, digits, registered) -> None:
    chosen = ensemble(settings, 1, 2)
    pinned = run_plan.pin_models(chosen, "digits")
    assert pinned == {"model.ensemble.sha256": ["forest-17", "svm-17"]}
    fit(chosen.with_values(pinned), digits)
    with pytest.raises(MnistflowError, match="version 2 has changed since the start of this run"):
        fit(ensemble(settings, 1, 2, sha256=["forest-17", "other"]), digits)


def test_what_cannot_be_averaged_is_one_line(settings, digits, registered) -> None:
    run, signature = registered[0].run_id, tasks.get(digits.task).signature((28, 28), digits.classes)
    refused = {
        "digits-classifier has no version 9. Its versions: 1, 2, 3": lambda: fit(ensemble(settings, 1, 9), digits),
        f"no version registered by run {'0' * 32}": lambda: fit(ensemble(settings, 1, "0" * 32), digits),
        "not all different versions": lambda: fit(ensemble(settings, 1, run), digits),
        "members is empty": lambda: run_plan.pin_models(settings.with_values({"model.family": "ensemble"}), "digits"),
        "mnist-classifier has no version 1": lambda: run_plan.pin_models(ensemble(settings, 1, 2), "mnist"),
        "version 1 has classes": lambda: fit(ensemble(settings, 1, 2), replace(digits, classes=("a", "b"))),
        "export.opset 17 and 18": lambda: learners.get("ensemble").convert(
            fit(ensemble(settings, 1, OTHER_OPSET), digits).model, signature, 17
        ),
    }
    for message, attempt in refused.items():
        with pytest.raises(MnistflowError) as caught:
            attempt()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("members", [[1], [1, 1], [0, 1], ["champion", 1], [1.5, 2], 3])
def test_members_are_versions_or_runs_two_or_more(settings, members) -> None:
    with pytest.raises(ConfigError, match=r"model\.ensemble.*members") as caught:
        settings.with_values({"model.ensemble.members": members})
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_a_student_learns_what_its_teacher_says(settings, digits, registered) -> None:
    taught = settings.with_values({"train.distillation.teacher": 2, "train.distillation.weight": 1.0})
    pinned = run_plan.pin_models(taught, "digits")
    assert pinned == {"train.distillation.teacher": 2, "train.distillation.sha256": "svm-17"}
    # All labels are wrong, so that whatever is right comes from the teacher.
    wrong = replace(digits, train=replace(digits.train, targets=(digits.train.targets + 1) % 10))
    chosen = taught.with_values({**pinned, "train.epochs": 8, "train.patience": 8})
    assert accuracy(fit(chosen, wrong), digits) > 0.5 > accuracy(fit(chosen_without_teacher(chosen), wrong), digits)
    with pytest.raises(MnistflowError, match=r"train\.distillation\.teacher: .* version 2 has changed"):
        fit(taught.with_values({"train.distillation.sha256": "other"}), digits)
    with pytest.raises(MnistflowError, match="no version with alias champion"):
        run_plan.pin_models(settings.with_values({"train.distillation.teacher": "champion"}), "digits")


def chosen_without_teacher(settings: Config) -> Config:
    return settings.with_values({"train.distillation.teacher": None})


def accuracy(training: Training, digits: Dataset) -> float:
    outputs = training.model.predict(digits.test.inputs, verbose=0)
    return float((outputs.argmax(axis=1) == digits.test.targets).mean())


def test_each_member_has_its_sha256(settings) -> None:
    with pytest.raises(ConfigError, match="sha256: must be null or have one entry per member"):
        ensemble(settings, 1, 2, sha256=["forest-17"])
