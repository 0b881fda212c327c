"""Warm start: a registered network goes on from its weights; what it is shown, what is trained, and what is refused."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stores
from configured import configured

from mnistflow import files, learners, tasks
from mnistflow.config import Config
from mnistflow.errors import MnistflowError
from mnistflow.export import export
from mnistflow.learners import warm_start
from mnistflow.learners.learner import Training
from mnistflow.paths import Paths
from mnistflow.pipeline import run_plan
from mnistflow.registry import manifest, registration
from mnistflow.registry.manifest import Manifest
from mnistflow.registry.versions import Version
from mnistflow.splits import Dataset, Split
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

UNITS = [24, 20]


@pytest.fixture(scope="module")
def chosen(settings: Config) -> Config:
    return settings.with_values(
        {"model.family": "mlp", "model.mlp.units": UNITS, "train.epochs": 6, "train.batch_size": 16}
    )


@pytest.fixture(scope="module")
def first(chosen: Config, digits: Dataset) -> Training:
    return fit(chosen, digits)


@pytest.fixture(scope="module")
def version(
    chosen: Config, digits: Dataset, first: Training, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Version]:
    """A registered network, and a registered model that is none."""
    folder = tmp_path_factory.mktemp("registry")
    stores.copy_mlflow(folder)
    learner, signature = (
        learners.for_family(chosen.model.chosen),
        tasks.get(digits.task).signature((28, 28), digits.classes),
    )
    learner.save(first.model, folder)
    files.write_json(folder / "training.json", {"settings": {"train.backend": "tensorflow"}})
    path = folder / "graph.onnx"
    export.save(learner.convert(first.model, signature, chosen.export.opset), path, {})
    with configured(Paths(folder, folder)) as paths:
        found = [
            register(paths, path, digits, {"model.family": "mlp", "model.units": UNITS}, folder),
            register(paths, path, digits, {"model.family": "svm"}, None),
        ]
        yield found[0]


def register(paths: Paths, path: Path, digits: Dataset, parameters: dict[str, object], trained: Path | None) -> Version:
    run = runs.start(paths, "digits", "run", kind="retrain")
    run.log_params(parameters)
    facts = Manifest(
        name="digits-classifier",
        task=digits.task,
        dataset="digits",
        classes=digits.classes,
        **manifest.tensors(tasks.get(digits.task).signature(digits.input_shape, digits.classes)),
        preprocessing="digit",
        sha256="0" * 64,
        data_sha256=digits.data_sha256,
        metrics={},
        run_id=run.run_id,
        git_commit="unknown",
        created="2026-01-01T00:00:00+00:00",
        mnistflow_version="0",
        doubt=None,
    )
    found = registration.register(run, path, trained, digits.test.inputs[:2], facts)
    run.finish()
    return found


def fit(settings: Config, data: Dataset, checkpoint_folder: Path | None = None) -> Training:
    family = settings.model.chosen
    return learners.for_family(family).fit(data, family, settings.train, lambda *_: None, checkpoint_folder)


def accuracy(settings: Config, training: Training, split: Split) -> float:
    outputs = learners.for_family(settings.model.chosen).predict(training.model, split.inputs)
    return float((outputs.argmax(axis=1) == split.targets).mean())


def turned(split: Split) -> Split:
    """Return images rotated by a quarter turn."""
    return Split(np.ascontiguousarray(np.rot90(split.inputs, axes=(1, 2))), split.targets)


def drifted(digits: Dataset) -> Dataset:
    """Return the data set with 200 turned images among its training images."""
    new = turned(digits.train.take(np.arange(200)))
    joined = Split(
        np.concatenate([digits.train.inputs, new.inputs]), np.concatenate([digits.train.targets, new.targets])
    )
    return replace(digits, train=joined)


def test_it_learns_the_new_images_keeps_the_old_and_trains_the_best_part_only(
    chosen: Config, digits: Dataset, first: Training, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mnistflow.learners.warm_start")
    settings = chosen.with_values({"train.warm_start": version.number})
    warm = fit(settings, drifted(digits))
    assert accuracy(chosen, warm, turned(digits.test)) > accuracy(chosen, first, turned(digits.test)) + 0.1
    assert accuracy(chosen, warm, digits.test) > accuracy(chosen, first, digits.test) - 0.05
    (line,) = (message for message in caplog.messages if " is trained" in message)
    part = line.partition("version 1: ")[2].partition(" is trained")[0]
    unchanged = [
        all(np.array_equal(ours, theirs) for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True))
        for one, other in zip(warm.model.layers, first.model.layers, strict=True)
        if one.get_weights()
    ]
    assert unchanged == {"all": [False] * 3, "first block": [False, True, True], "head": [True, True, False]}[part]


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_weights(
    chosen: Config, digits: Dataset, version: Version, tmp_path: Path
) -> None:
    settings = chosen.with_values({"train.warm_start": version.run_id, "train.epochs": 2})
    data, family = drifted(digits), settings.model.chosen
    whole = fit(settings, data, tmp_path / "whole")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learners.for_family(family).fit(data, family, settings.train, die, tmp_path / "killed")
    resumed = fit(settings, data, tmp_path / "killed")
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_half_of_the_examples_are_those_that_the_version_knows_least(digits: Dataset) -> None:
    size = len(digits.train)
    outputs = np.full((size, 10), 1e-4, np.float32)
    outputs[np.arange(size), digits.train.targets] = 0.999
    unknown = np.arange(0, size, 20)
    outputs[unknown] = 0.1
    train, validation = warm_start.draw_examples(digits, outputs, seed=0)
    (held_out, drawn) = (len(validation) - len(digits.validation), len(train))
    assert 0 < held_out < drawn
    shown = {image.tobytes() for image in (*train.inputs, *validation.inputs[-held_out:])}
    assert sum(digits.train.inputs[index].tobytes() in shown for index in unknown) > 0.9 * len(unknown)


def test_a_run_is_pinned_to_the_version_and_its_architecture(chosen: Config, version: Version) -> None:
    other = chosen.with_values({"model.mlp.units": [8], "train.warm_start": version.number})
    pinned = run_plan.pin_models(other, "digits")
    assert pinned == {"train.warm_start": version.run_id, "tune.trials": 0, "model.mlp.units": UNITS}


def test_what_cannot_be_continued_is_one_line(chosen: Config, digits: Dataset, version: Version) -> None:
    def pin(reference: object, family: str) -> object:
        values = {"model.family": family, "train.warm_start": reference}
        return run_plan.pin_models(chosen.with_values(values), "digits")

    narrow = chosen.with_values({"train.warm_start": version.number, "model.mlp.units": [8]})
    graph_only = chosen.with_values({"train.warm_start": 2})
    refused = {
        "family svm cannot continue an earlier model. Set it to null.": lambda: pin(version.number, "svm"),
        "version 1 is of family mlp, not cnn": lambda: pin(version.number, "cnn"),
        "version 2 is of family svm, not mlp": lambda: pin(2, "mlp"),
        "train.warm_start: digits-classifier has no version with alias champion": lambda: pin("champion", "mlp"),
        "version 1 has classes": lambda: fit(narrow, replace(digits, classes=("a", "b"))),
        "has another architecture than this network": lambda: fit(narrow, digits),
        "version 2 has no Keras model": lambda: fit(graph_only, digits),
    }
    for message, attempt in refused.items():
        with pytest.raises(MnistflowError) as caught:
            attempt()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
