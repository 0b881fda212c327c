"""Families, fitting, export: on real digits, with real TensorFlow and onnxruntime."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mnistflow import evaluate, export, fitting, onnx_model, tasks, train, tune
from mnistflow.config import Config
from mnistflow.data.splits import Dataset
from mnistflow.errors import ParityError
from mnistflow.fitting import Training
from mnistflow.models import families
from mnistflow.project import Project

pytestmark = pytest.mark.slow

SMALL = {
    "model.mlp.units": [16],
    "model.cnn.blocks": [[4], [4]],
    "model.cnn.dense": [8],
    **{f"model.{name}.units": [8] for name in ("rnn", "lstm", "gru")},
    "model.attention.width": 16,
    "model.attention.depth": 1,
    "model.resnet.filters": [4, 8],
}
VARIANTS: list[dict[str, Any]] = [
    {"model.family": "linear"},
    {"model.family": "mlp"},
    {"model.family": "mlp", "model.mlp.units": [], "train.optimizer": "sgd", "train.schedule": "constant"},
    {"model.family": "mlp", "model.mlp.activation": "gelu", "train.optimizer": "adamw", "train.weight_decay": 0.01},
    {"model.family": "mlp", "model.mlp.batch_normalization": True, "model.mlp.l1": 1e-4, "train.optimizer": "rmsprop"},
    {"model.family": "cnn"},
    {"model.family": "cnn", "model.cnn.kernel": 5, "model.cnn.dense": [], "train.optimizer": "momentum"},
    {
        "model.family": "cnn",
        "model.cnn.batch_normalization": True,
        "model.cnn.activation": "tanh",
        "model.cnn.l2": 1e-4,
    },
    {"model.family": "rnn"},
    {"model.family": "lstm", "model.lstm.units": [8, 4], "model.lstm.dense": [8]},
    {"model.family": "gru", "model.gru.dropout": 0.0},
    {"model.family": "attention"},
    {"model.family": "attention", "model.attention.patch": 4, "model.attention.dropout": 0.0},
    {"model.family": "resnet"},
    {"model.family": "resnet", "model.resnet.blocks": 2, "model.resnet.stem_stride": 2, "model.resnet.l2": 1e-4},
]


def fit(settings: Config, data: Dataset, journal: Path | None = None) -> Training:
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    return fitting.fit(
        task, signature, settings.model, settings.train, data.train, data.validation, lambda *_: None, journal
    )


def same_weights(first: Training, second: Training) -> bool:
    pairs = zip(first.model.get_weights(), second.model.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_variants_name_every_family() -> None:
    assert {variant["model.family"] for variant in VARIANTS} == set(families())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: " ".join(map(str, variant.values())))
def test_every_family_trains_and_exports_to_the_contract(settings, digits, tmp_path, variant) -> None:
    settings = settings.with_values({**SMALL, "train.epochs": 1, **variant})
    model = fit(settings, digits).model
    task = tasks.get(digits.task)
    path = tmp_path / "model.onnx"
    proto = export.convert(model, task.signature(digits.input_shape, digits.classes), settings.export.opset)
    export.save(proto, path, {"dataset": "digits"})
    export.check_parity(task, model, path, digits, settings.export)
    session = onnxruntime.InferenceSession(path.read_bytes())
    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 28, 28])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape == ["batch", 10]
    assert session.run(None, {"images": digits.test.inputs[:3]})[0].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not any(tensor.external_data for tensor in onnx.load(path).graph.initializer)


@pytest.mark.parametrize("opset", [14, 18])
def test_the_oldest_and_newest_opset_export(settings, digits, tmp_path, opset) -> None:
    model = fit(settings.with_values({"train.epochs": 1}), digits).model
    task = tasks.get(digits.task)
    export.save(export.convert(model, task.signature((28, 28), digits.classes), opset), tmp_path / "m.onnx", {})
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == opset
    export.check_parity(task, model, tmp_path / "m.onnx", digits, settings.export)


def test_another_model_than_the_exported_one_fails_parity(settings, digits, tmp_path) -> None:
    task = tasks.get(digits.task)
    exported = fit(settings.with_values({"train.epochs": 1}), digits).model
    other = fit(settings.with_values({"train.epochs": 1, "train.seed": 5}), digits).model
    export.save(export.convert(exported, task.signature((28, 28), digits.classes), 17), tmp_path / "m.onnx", {})
    with pytest.raises(ParityError, match="predictions"):
        export.check_parity(task, other, tmp_path / "m.onnx", digits, settings.export)


def test_the_same_seed_gives_the_same_weights_and_another_others(settings, digits) -> None:
    first, again = fit(settings, digits), fit(settings, digits)
    assert same_weights(first, again)
    assert first.history == again.history
    assert not same_weights(first, fit(settings.with_values({"train.seed": 1}), digits))


def test_early_stopping_keeps_the_best_epoch(settings, digits) -> None:
    hasty = settings.with_values(
        {"train.epochs": 60, "train.patience": 2, "train.learning_rate": 0.05, "train.schedule": "constant"}
    )
    training = fit(hasty, digits)
    losses = training.history["val_loss"]
    assert len(losses) < 60
    assert len(losses) - training.best_epoch >= 2
    assert training.best["val_loss"] == min(losses)
    loss, _ = training.model.evaluate(digits.validation.inputs, digits.validation.targets, batch_size=1000, verbose=0)
    assert loss == pytest.approx(min(losses), abs=1e-5)


KILLED = """
import sys, time
from pathlib import Path
from mnistflow import config, fitting, tasks
from mnistflow.data import splits
from mnistflow.project import Project
folder, params, journal = map(Path, sys.argv[1:])
data, settings = splits.load(Project(folder, folder).prepared), config.load(params)
task = tasks.get(data.task)
fitting.fit(task, task.signature(data.input_shape, data.classes), settings.model, settings.train, data.train,
            data.validation, lambda epoch, _: print(epoch, flush=True) or time.sleep(0.2), journal)
"""


def test_a_killed_training_goes_on_to_the_same_weights(settings, digits, prepared, tmp_path) -> None:
    from mnistflow import config

    from .conftest import ROOT, TINY

    values = {**TINY, "model.mlp.dropout": 0.5, "train.epochs": 8, "train.patience": 8}
    config.write_with_overrides(ROOT / "params.yaml", tmp_path / "params.yaml", values)
    longer = config.load(tmp_path / "params.yaml")
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", KILLED, str(prepared), str(tmp_path / "params.yaml"), str(journal)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    while process.stdout.readline().strip() != "3":
        assert process.poll() is None
    process.kill()
    process.wait()
    assert any(journal.glob("epoch-*"))
    replayed: list[int] = []
    task = tasks.get(digits.task)
    resumed = fitting.fit(
        task,
        task.signature(digits.input_shape, digits.classes),
        longer.model,
        longer.train,
        digits.train,
        digits.validation,
        lambda epoch, _: replayed.append(epoch),
        journal,
    )
    whole = fit(longer, digits)
    assert replayed == list(range(1, 9))
    assert resumed.history == whole.history
    assert same_weights(resumed, whole)


def test_stages_one_after_the_other(settings: Config, project: Project) -> None:
    settings = settings.with_values({"tune.trials": 2, "tune.workers": 2})
    search = tune.tune(project, settings)
    assert len(search.trials) == 2
    assert set(search.best) == set(settings.tune.space["mlp"])
    record = train.train(project, settings)
    assert record.settings["train.learning_rate"] == pytest.approx(search.best["train.learning_rate"])
    export.export(project, settings)
    evaluation = evaluate.evaluate(project, settings)
    with np.load(project.evaluated / "predictions.npz") as arrays:
        from mnistflow.data import splits

        right = arrays["outputs"].argmax(axis=1) == splits.load(project.prepared).test.targets
    assert evaluation.metrics["accuracy"] == pytest.approx(right.mean())
    assert evaluation == evaluate.load(project)
    outputs = onnx_model.predict(
        onnx_model.open_session(project.exported / "model.onnx"), splits.load(project.prepared).test.inputs
    )
    assert outputs.argmax(axis=1).tolist() == arrays_argmax(project)
    assert not any(project.resume.glob("train-*/*"))


def arrays_argmax(project: Project) -> list[int]:
    with np.load(project.evaluated / "predictions.npz") as arrays:
        return list(arrays["outputs"].argmax(axis=1).tolist())


def test_no_trials_means_the_values_of_params_yaml(settings: Config, project: Project) -> None:
    search = tune.tune(project, settings.with_values({"tune.trials": 0}))
    assert search.best == {}
    assert train.tuned_config(project, settings) == settings


def test_a_hopeless_trial_is_pruned(settings: Config, project: Project) -> None:
    hopeless = settings.with_values(
        {
            "tune.trials": 12,
            "tune.workers": 1,
            "tune.epochs": 4,
            "tune.pruner": "median",
            "tune.space": {"mlp": {"train.learning_rate": {"choices": [0.01, 1e-9, 1e-8, 1e-7]}}, "cnn": {}},
        }
    )
    search = tune.tune(project, hopeless)
    pruned = [trial for trial in search.trials if trial.loss is None]
    assert search.best == {"train.learning_rate": 0.01}
    assert pruned
    assert all(trial.epochs < 4 for trial in pruned)


def test_time_is_spent_once(settings: Config, digits: Dataset, tmp_path: Path) -> None:
    """A training that is complete in its journal is not trained again."""
    journal = tmp_path / "journal"
    first = fit(settings, digits, journal)
    kept = {path.name: path.stat().st_mtime_ns for path in journal.iterdir()}
    time.sleep(0.01)
    again = fit(settings, digits, journal)
    assert same_weights(first, again)
    assert {path.name: path.stat().st_mtime_ns for path in journal.iterdir()} == kept
