"""Families, fitting, export: on real digits, with real TensorFlow and onnxruntime."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from checkouts import ROOT, TINY

from mnistflow import learners, splits, tasks
from mnistflow.config import Config
from mnistflow.errors import ParityError, StageError
from mnistflow.evaluation import evaluate
from mnistflow.export import export, normalization, test_time_augmentation
from mnistflow.learners import train
from mnistflow.learners.fitting import acceleration, optimizers, supervised
from mnistflow.learners.learner import OnEpoch, Training
from mnistflow.models import families
from mnistflow.models.networks.network import Network
from mnistflow.paths import Paths
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.doubt import Doubt
from mnistflow.tasks.task import Parity, Signature
from mnistflow.tuning import tune

pytestmark = pytest.mark.slow

SMALL = {
    "model.mlp.units": [16],
    "model.cnn.blocks": [[4], [4]],
    "model.cnn.dense": [8],
    **{f"model.{name}.units": [8] for name in ("rnn", "lstm", "gru")},
    "model.attention.width": 16,
    "model.attention.depth": 1,
    "model.resnet.filters": [4, 8],
    "model.svm.components": 40,
    "model.tree.max_leaves": 30,
    "model.forest.trees": 5,
    "model.boosting.rounds": 3,
}
VARIANTS: list[dict[str, Any]] = [
    {"model.family": "linear"},
    {"model.family": "mlp", "model.mlp.units": [], "train.optimizer": "sgd", "train.schedule": "constant"},
    {
        "model.family": "mlp",
        "model.mlp.units": [128, 64],
        "model.mlp.activation": "gelu",
        "model.mlp.batch_normalization": True,
        "model.mlp.l1": 1e-4,
        "train.optimizer": "adamw",
    },
    {
        "model.family": "mlp",
        "model.mlp.units": [32],
        "model.mlp.initializer": "orthogonal",
        "model.mlp.activation": "sigmoid",
        "model.mlp.l2": 1e-4,
    },
    {
        "model.family": "cnn",
        "model.cnn.head": "flatten",
        "model.cnn.stem_stride": 1,
        "model.cnn.activation": "tanh",
        "model.cnn.batch_normalization": False,
        "model.cnn.l2": 1e-4,
        "train.optimizer": "momentum",
    },
    {
        "model.family": "cnn",
        "model.cnn.geometry": "box",
        "model.cnn.pooling": "none",
        "train.from_logits": True,
        "train.label_smoothing": 0.1,
        "train.ema": 0.9,
    },
    {"model.family": "cnn", "model.cnn.geometry": "upright", "train.precision": "bfloat16", "export.views": 5},
    {"model.family": "rnn", "train.optimizer": "rmsprop"},
    {"model.family": "lstm", "model.lstm.units": [8, 4], "model.lstm.dense": [8]},
    {"model.family": "gru", "model.gru.dropout": 0.0},
    {"model.family": "attention", "model.attention.patch": 4},
    {"model.family": "resnet", "model.resnet.stem_stride": 2, "model.resnet.l2": 1e-4},
    {"model.family": "svm", "model.svm.gamma": 0.2, "train.threads": 1, "export.opset": 18, "export.views": 5},
    {"model.family": "cnn", "model.cnn.pooling": "stride", "model.cnn.stem_stride": 1, "train.betas": [0.7, 0.9]},
    {
        "model.family": "cnn",
        "model.cnn.auto_levels": False,
        "model.cnn.stem_stride": 3,
        "model.cnn.stem_kernel": 3,
        "model.cnn.kernel": 2,
        "model.cnn.padding": "valid",
        "train.steps_per_execution": "epoch",
    },
    {"model.family": "tree", "model.tree.criterion": "gini", "model.tree.pruning": 1e-4},
    {"model.family": "forest", "model.forest.thresholds": "random", "model.forest.max_features": 0.1},
    {
        "model.family": "boosting",
        "model.boosting.max_bins": 8,
        "model.boosting.l2": 1.0,
        "export.opset": 14,
        "export.views": 9,
    },
]


def fit(
    settings: Config, data: Dataset, checkpoint_folder: Path | None = None, on_epoch: OnEpoch = lambda *_: None
) -> Training:
    family = settings.model.chosen
    return learners.for_family(family).fit(data, family, settings.train, on_epoch, checkpoint_folder)


def exported(training: Training, settings: Config, data: Dataset, path: Path) -> Parity:
    """Write the ONNX file of a model and return how it compares."""
    learner, task = learners.for_family(settings.model.chosen), tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    moves = test_time_augmentation.offsets(signature, settings.export.views)
    proto = learner.convert(training.model, signature, settings.export.opset)
    normalization.merge_normalizations(proto)
    export.save(test_time_augmentation.averaging(proto, signature, moves), path, {"dataset": data.name})
    expected = test_time_augmentation.mean(
        lambda inputs: learner.predict(training.model, inputs), data.test.inputs, moves
    )
    return export.check_parity(task, expected, path, data, settings.export)


def same_weights(first: Training, second: Training) -> bool:
    pairs = zip(first.model.get_weights(), second.model.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def small(digits: Dataset) -> Dataset:
    """The digits at 8x8: unrolled layers and patches make a graph that grows with the image."""

    def shrunk(split: Split) -> Split:
        return replace(split, inputs=np.ascontiguousarray(split.inputs[:, 2:26:3, 2:26:3]))

    train, validation, test = (shrunk(split) for split in (digits.train, digits.validation, digits.test))
    return replace(digits, input_shape=(8, 8), train=train, validation=validation, test=test)


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints") / "trained"


@pytest.fixture(scope="module")
def trained(settings: Config, digits: Dataset, checkpoint_folder: Path) -> Training:
    """A training with the settings as they are, and its checkpoint."""
    return fit(settings, digits, checkpoint_folder)


@pytest.fixture(scope="module")
def of_another_seed(settings: Config, digits: Dataset) -> Training:
    return fit(settings.with_values({"train.seed": 1}), digits)


@pytest.fixture(scope="module")
def longer(settings: Config) -> Config:
    values = {"train.epochs": 10, "train.patience": 10, "train.learning_rate": 0.02, "train.precision": "float32"}
    return settings.with_values(values)


@pytest.fixture(scope="module")
def plain(longer: Config, digits: Dataset) -> Training:
    """A longer training, to compare others with."""
    return fit(longer, digits)


def test_the_variants_name_every_family_that_predicts_and_needs_nothing_but_data(settings) -> None:
    known = {name: settings.model.parameters_of(name) for name in families()}
    trainable = {name for name, family in known.items() if family.trainable and not family.generates}
    assert {variant["model.family"] for variant in VARIANTS} == trainable


def further_variants_are_long() -> Iterator[Any]:
    """Yield the variants as parameters; `make test` has one of three families."""
    wanted = {"mlp", "cnn", "forest"}
    for variant in VARIANTS:
        family = variant["model.family"]
        marks = [] if family in wanted else [pytest.mark.long]
        wanted.discard(family)
        yield pytest.param(variant, marks=marks, id=" ".join(map(str, variant.values())))


@pytest.mark.parametrize("variant", further_variants_are_long())
def test_every_family_trains_and_exports_to_the_contract(settings, small, tmp_path, variant) -> None:
    settings = settings.with_values({**SMALL, "train.epochs": 1, **variant})
    training = fit(settings, small)
    assert list(training.best) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert training.parameters > 0
    assert json.loads(json.dumps(training.history)) == training.history
    assert json.loads(json.dumps(training.parameters)) == training.parameters
    path = tmp_path / "model.onnx"
    assert exported(training, settings, small, path).max_gap < 1e-5
    session = onnxruntime.InferenceSession(path.read_bytes())
    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 8, 8])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape == ["batch", 10]
    assert session.run(None, {"images": small.test.inputs[:3]})[0].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not any(tensor.external_data for tensor in onnx.load(path).graph.initializer)


@pytest.mark.parametrize("opset", [14, 18])
def test_the_oldest_and_newest_opset_export(settings, digits, trained, tmp_path, opset) -> None:
    exported(trained, settings.with_values({"export.opset": opset}), digits, tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == opset


@pytest.mark.parametrize(("count", "opset"), [(5, 14), (9, 18)])
def test_views_are_the_mean_of_the_answers_for_moved_images(settings, digits, trained, tmp_path, count, opset) -> None:
    exported(trained, settings.with_values({"export.views": count, "export.opset": opset}), digits, tmp_path / "m.onnx")
    images = digits.test.inputs[:100]
    assert not images[:, [0, -1]].any()
    assert not images[:, :, [0, -1]].any()  # so that rolling an image moves it
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if count == 9 or not (down and right)]
    answers = [trained.model.predict(np.roll(images, move, axis=(1, 2)), verbose=0) for move in moves]
    outputs = onnx_session.predict(onnx_session.open_session(tmp_path / "m.onnx"), images)
    np.testing.assert_allclose(outputs, np.mean(answers, axis=0), atol=1e-6)


def test_inputs_that_are_no_images_have_one_view() -> None:
    assert test_time_augmentation.offsets(Signature("windows", "float32", (10, 1), "next_values", (1,)), 9) == ((0, 0),)


def test_another_model_than_the_exported_one_fails_parity(settings, digits, trained, of_another_seed, tmp_path) -> None:
    exported(trained, settings, digits, tmp_path / "m.onnx")
    other = of_another_seed.model.predict(digits.test.inputs, verbose=0)
    with pytest.raises(ParityError, match="predictions"):
        export.check_parity(tasks.get(digits.task), other, tmp_path / "m.onnx", digits, settings.export)


@pytest.mark.parametrize("family", ["svm", "tree", "forest", "boosting"])
def test_the_same_seed_gives_the_same_classifier(settings, small, family) -> None:
    settings = settings.with_values({**SMALL, "model.family": family})
    learner = learners.for_family(settings.model.chosen)
    first, again = (learner.predict(fit(settings, small).model, small.test.inputs) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_classifier_that_is_kept_is_the_same(settings, digits, tmp_path) -> None:
    settings = settings.with_values({**SMALL, "model.family": "svm"})
    learner, model = learners.for_family(settings.model.chosen), fit(settings, digits).model
    learner.save(model, tmp_path)
    kept = learner.predict(learner.load(tmp_path), digits.test.inputs)
    assert np.array_equal(kept, learner.predict(model, digits.test.inputs))


def test_a_class_without_training_images_is_told(settings, digits) -> None:
    lonely = replace(digits, train=digits.train.take(np.flatnonzero(digits.train.targets != 3)))
    with pytest.raises(StageError, match="10 classes, but the training examples have only 9"):
        fit(settings.with_values({**SMALL, "model.family": "forest"}), lonely)


def test_too_few_examples_are_told_in_one_line(settings, digits) -> None:
    """Calibration wants three images of each class."""
    few = digits.train.take(np.unique(digits.train.targets, return_index=True)[1])
    with pytest.raises(StageError, match="scikit-learn cannot fit these examples") as caught:
        fit(settings.with_values({**SMALL, "model.family": "svm"}), replace(digits, train=few))
    assert "\n" not in str(caught.value)


def test_the_same_seed_gives_the_same_weights_and_another_others(settings, digits, trained, of_another_seed) -> None:
    again = fit(settings, digits)
    assert same_weights(trained, again)
    assert trained.history == again.history
    assert not same_weights(trained, of_another_seed)


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


def test_a_training_that_diverges_ends_in_one_line(settings, digits) -> None:
    wild = {"train.optimizer": "sgd", "train.learning_rate": 1e30, "train.schedule": "constant"}
    with pytest.raises(StageError, match=r"diverged.*train\.learning_rate"):
        fit(settings.with_values(wild), digits)


def test_the_average_of_the_weights_is_kept_and_the_training_is_not_disturbed(longer, digits, plain) -> None:
    """Averages so slow that they stay at the first step's weights: learning goes on all the same, beneath them."""
    average = fit(longer.with_values({"train.ema": 0.9999}), digits)
    assert average.history["loss"] == plain.history["loss"]
    assert average.best["val_loss"] > 1.5 * plain.best["val_loss"]
    loss, _ = average.model.evaluate(digits.validation.inputs, digits.validation.targets, batch_size=1000, verbose=0)
    assert loss == pytest.approx(average.best["val_loss"], abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("family", ["cnn", "mlp"])
def test_batch_normalization_goes_by_training_inputs_as_they_are(settings, digits, family) -> None:
    """Augmentation blackens a quarter of each image and dropout a half of each layer: the statistics are of neither."""
    import keras

    strong = {"train.augment": {"shift": 0.3, "rotation": 30.0, "cutout": 0.5}, "train.statistics": 250}
    dropped = {"model.cnn.dropout": 0.5, "model.mlp.dropout": 0.5, "model.mlp.batch_normalization": True}
    changed = settings.with_values({"model.family": family, **strong, **dropped})
    model = fit(changed, digits).model
    running = fit(changed.with_values({"train.statistics": 0}), digits).model
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert normalizations
    for layer in normalizations:
        arriving = keras.Model(model.inputs, layer.input).predict(digits.train.inputs[:250], verbose=0)
        axes = tuple(range(arriving.ndim - 1))
        spread = arriving.std(axis=axes).max()
        assert np.allclose(layer.moving_mean, arriving.mean(axis=axes), atol=0.01 * spread)
        assert np.allclose(layer.moving_variance, arriving.var(axis=axes), atol=0.01 * spread**2)
        assert not np.allclose(running.get_layer(layer.name).moving_mean, layer.moving_mean, atol=0.05 * spread)


@pytest.mark.long
def test_augmentation_fades_through_the_last_epochs(longer, digits) -> None:
    strong = longer.with_values({"train.augment": {"rotation": 180.0, "cutout": 0.5}})
    steady, fading = (fit(strong.with_values({"train.augment_fade": share}), digits).history for share in (0.0, 0.5))
    assert fading["loss"][:5] == steady["loss"][:5]
    assert fading["loss"][9] < steady["loss"][9] - 0.1


def test_smoothed_labels_lower_confidence_and_are_validated_as_they_are_learned(longer, digits, plain) -> None:
    smooth = fit(longer.with_values({"train.label_smoothing": 0.3}), digits)
    outputs = [
        model.predict(digits.train.inputs, verbose=0).max(axis=1).mean() for model in (smooth.model, plain.model)
    ]
    assert outputs[0] < outputs[1] - 0.05
    loss, _ = smooth.model.evaluate(digits.validation.inputs, digits.validation.targets, batch_size=1000, verbose=0)
    assert loss == pytest.approx(smooth.best["val_loss"], abs=1e-5)


def test_one_cycle_rises_in_a_fifth_of_the_steps_and_ends_at_zero(settings) -> None:
    cycle = settings.with_values({"train.schedule": "one_cycle", "train.learning_rate": 0.5}).train
    rates = [float(optimizers.schedule(cycle, 100)(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[20] == max(rates) == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-7)


@pytest.mark.long
@pytest.mark.parametrize("family", ["resnet", "attention"])
def test_bfloat16_trains_a_float32_model(settings, small, family) -> None:
    smaller = {"model.attention.patch": 4, "model.resnet.filters": [4], "model.resnet.blocks": 2}
    values = {**SMALL, "model.family": family, **smaller, "train.epochs": 1}
    exact = fit(settings.with_values({**values, "train.precision": "float32"}), small)
    rounded = fit(settings.with_values({**values, "train.precision": "bfloat16"}), small)
    assert {variable.dtype for variable in rounded.model.trainable_variables} == {"float32"}
    assert {layer.compute_dtype for layer in rounded.model.layers} == {"float32"}
    assert not same_weights(exact, rounded)
    assert rounded.best["val_loss"] == pytest.approx(exact.best["val_loss"], rel=0.1)


def test_a_network_without_convolutions_is_left_in_float32(settings, digits) -> None:
    lstm = settings.with_values({"model.family": "lstm"}).model.chosen
    network = tasks.get(digits.task).build(lstm, tasks.get(digits.task).signature((28, 28), digits.classes))
    assert {layer.compute_dtype for layer in acceleration.accelerated(network, "auto").layers} == {"float32"}


@pytest.mark.parametrize("name", ["fast", "compact", "tiny", "best", "cnn_128", "cnn_64", "cnn_logits"])
def test_a_preset_is_parameters_and_builds(settings, digits, name) -> None:
    from mnistflow import config

    params = config.load(ROOT / "params.yaml")
    chosen = params.with_values({**params.preset(name), "train.augment.shift": 0.2})  # what wins over the preset
    assert chosen.train.augment.shift == 0.2
    assert isinstance(chosen.model.chosen, Network)
    network = tasks.get(digits.task).build(chosen.model.chosen, Signature("images", "uint8", (28, 28), "p", (10,)))
    convolutions = [layer.filters for layer in network.layers if type(layer).__name__ == "Conv2D"]
    assert convolutions == [filters for block in chosen.model.cnn.blocks for filters in block]
    expected = {"cnn_128": 421_642, "cnn_64": 220_234, "cnn_logits": 2_510_230}
    assert network.count_params() == expected.get(name, network.count_params())


def test_the_loss_of_logits_is_that_of_probabilities(longer, digits, plain) -> None:
    before = fit(longer.with_values({"train.from_logits": True}), digits)
    # Later, what was rounded otherwise has grown.
    assert before.history["loss"][:3] == pytest.approx(plain.history["loss"][:3], rel=1e-4)
    assert before.model.predict(digits.test.inputs[:5], verbose=0).sum(axis=1) == pytest.approx(1, abs=1e-5)


KILLED = """
import sys, time
from pathlib import Path
from mnistflow import config, splits, tasks
from mnistflow.learners.fitting import supervised
from mnistflow.paths import Paths
folder, params, checkpoint_folder = map(Path, sys.argv[1:])
data, settings = splits.load(Paths(folder, folder).prepared), config.load(params)
task = tasks.get(data.task)
signature = task.signature(data.input_shape, data.classes)
fitting = supervised.SupervisedFitting(task, signature, settings.model.chosen, settings.train, train=data.train,
                                       validation=data.validation, checkpoint_folder=checkpoint_folder)
fitting.finish(lambda epoch, _: print(epoch, flush=True) or time.sleep(600 * (epoch == 2)))
"""


EVERY_OPTION = {
    "model.mlp.batch_normalization": True,
    "train.augment": {"shift": 0.1, "rotation": 10.0, "scale": 0.1, "shear": 0.1, "elastic": 0.02, "cutout": 0.1},
    "train.augment_fade": 0.7,
    "train.label_smoothing": 0.1,
    "train.ema": 0.9,
    "train.schedule": "one_cycle",
    "train.steps_per_execution": 3,
    "train.precision": "bfloat16",
}


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_weights(settings, digits, prepared, tmp_path) -> None:
    from mnistflow import config

    values = {**TINY, "model.mlp.dropout": 0.5, "train.epochs": 5, "train.patience": 5, **EVERY_OPTION}
    config.write_with_overrides(ROOT / "params.yaml", tmp_path / "params.yaml", values)
    longer = config.load(tmp_path / "params.yaml")
    checkpoint_folder = tmp_path / "checkpoints"
    command = [sys.executable, "-c", KILLED, str(prepared), str(tmp_path / "params.yaml"), str(checkpoint_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    while process.stdout.readline().strip() != "2":
        assert process.poll() is None
    process.kill()
    process.wait()
    assert [path.name for path in checkpoint_folder.glob("epoch-*")] == ["epoch-0002"]
    replayed: list[int] = []
    task = tasks.get(digits.task)
    assert isinstance(longer.model.chosen, Network)
    resumed = supervised.SupervisedFitting(
        task,
        task.signature(digits.input_shape, digits.classes),
        longer.model.chosen,
        longer.train,
        train=digits.train,
        validation=digits.validation,
        checkpoint_folder=checkpoint_folder,
    ).finish(lambda epoch, _: replayed.append(epoch))
    whole = fit(longer, digits)
    assert replayed == list(range(1, 6))
    assert resumed.history == whole.history
    assert same_weights(resumed, whole)


@pytest.mark.long
def test_stages_one_after_the_other(settings: Config, paths: Paths) -> None:
    rates = {"train.learning_rate": {"low": 0.02, "high": 0.03}}  # not that of params.yaml
    values = {"tune.trials": 1, "tune.workers": 1, "tune.space.mlp": rates, "export.views": 5}
    settings = settings.with_values({**values, "evaluate.robustness_images": 50})
    search = tune.tune(paths, settings.learning, settings.tune)
    assert len(search.trials) == 1
    assert set(search.best) == set(settings.tune.space["mlp"])
    record = train.train(paths, settings.learning)
    assert record.settings["train.learning_rate"] == pytest.approx(search.best["train.learning_rate"])
    assert record.settings["train.learning_rate"] != settings.train.learning_rate
    exported = export.export(paths, settings.export)
    assert exported.views == 5
    assert "Pad" in {node.op_type for node in onnx.load(paths.exported / "model.onnx").graph.node}
    assert exported.doubt == Doubt.read(paths.exported)
    assert exported.temperature > 0
    evaluation = evaluate.evaluate(paths, settings.evaluate)
    test = splits.load(paths.prepared).test
    with np.load(paths.evaluated / "predictions.npz") as arrays:
        kept = arrays["outputs"].argmax(axis=1)
    assert evaluation.metrics["accuracy"] == pytest.approx((kept == test.targets).mean())
    assert evaluation == evaluate.load(paths)
    assert evaluation.doubt["set_coverage"] >= evaluation.metrics["accuracy"]
    assert 0.5 < evaluation.doubt["outlier_auroc.noise"] <= 1
    outputs = onnx_session.predict(onnx_session.open_session(paths.exported / "model.onnx"), test.inputs)
    assert outputs.argmax(axis=1).tolist() == kept.tolist()
    assert not any(paths.resume.glob("train-*/*"))


def test_no_trials_means_the_values_of_params_yaml(settings: Config, paths: Paths) -> None:
    search = tune.tune(paths, settings.learning, settings.with_values({"tune.trials": 0}).tune)
    assert search.best == {}
    assert train.tuned(paths, settings.learning) == settings.learning


def test_a_complete_checkpoint_is_not_trained_again(
    settings: Config, digits: Dataset, trained: Training, checkpoint_folder: Path
) -> None:
    inodes = {path.name: path.stat().st_ino for path in checkpoint_folder.iterdir()}
    epochs: list[int] = []
    again = fit(settings, digits, checkpoint_folder, lambda epoch, _: epochs.append(epoch))
    assert same_weights(trained, again)
    assert epochs == list(range(1, len(trained.history["val_loss"]) + 1))
    # A checkpoint that is written again is another folder of the same name.
    assert {path.name: path.stat().st_ino for path in checkpoint_folder.iterdir()} == inodes
