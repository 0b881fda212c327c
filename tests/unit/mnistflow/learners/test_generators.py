"""A generator learns digits, resumes bit for bit, and is exported to the contract."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageSequence

from mnistflow import learners, tasks
from mnistflow.config import Config
from mnistflow.errors import ConfigError
from mnistflow.export import export, normalization
from mnistflow.learners.learner import OnEpoch, Training
from mnistflow.splits import Dataset

pytestmark = pytest.mark.slow

TASK = tasks.get("generation")
TINY = {
    "model.family": "gan",
    "model.gan.generator": 8,
    "model.gan.discriminator": 4,
    "train.epochs": 3,
    "train.batch_size": 16,
    "train.min_steps": 0,
    "train.ema": 0.9,
    "train.learning_rate": 0.001,
    "train.betas": [0.5, 0.99],
}


class _StoppedError(Exception):
    """Ends a training after its first epoch."""


@pytest.fixture(scope="module")
def data(digits: Dataset) -> Dataset:
    small = digits.train.take(np.arange(160))
    return replace(digits, name="digits_generation", task="generation", train=small)


@pytest.fixture(scope="module")
def tiny(settings: Config) -> Config:
    return settings.with_values(TINY)


def fit(settings: Config, data: Dataset, folder: Path, on_epoch: OnEpoch = lambda *_: None) -> Training:
    family = settings.model.chosen
    return learners.for_family(family).fit(data, family, settings.train, on_epoch, folder)


@pytest.fixture(scope="module")
def trained(tiny: Config, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return fit(tiny, data, tmp_path_factory.mktemp("whole"))


@pytest.mark.long
def test_an_interrupted_training_resumes_to_the_same_weights(tiny, data, trained, tmp_path) -> None:
    def stop(epoch: int, _: Mapping[str, float]) -> None:
        if epoch == 1:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        fit(tiny, data, tmp_path, stop)
    epochs: list[int] = []
    resumed = fit(tiny, data, tmp_path, lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3]
    assert resumed.history == trained.history
    pairs = zip(resumed.model.network.get_weights(), trained.model.network.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert np.array_equal(resumed.model.frames, trained.model.frames)


def test_it_comes_nearer_to_the_digits(trained) -> None:
    distances = trained.history["val_frechet_distance"]
    assert min(distances) < distances[0]
    assert trained.best["val_loss"] == min(trained.history["val_loss"])


def test_a_wasserstein_gan_comes_nearer_too(tiny, data, tmp_path) -> None:
    settings = tiny.with_values({"model.gan.loss": "wasserstein", "model.gan.discriminator_steps": 2})
    history = fit(settings, data, tmp_path).history
    assert min(history["val_frechet_distance"]) < history["val_frechet_distance"][0]
    assert min(history["discriminator_loss"]) < 0 < max(map(abs, history["generator_loss"]))


def test_the_exported_graph_draws_the_same_images(tiny, data, trained, tmp_path) -> None:
    learner, signature = learners.for_family(tiny.model.chosen), TASK.signature(data.input_shape, data.classes)
    learner.save(trained.model, tmp_path)
    loaded = learner.load(tmp_path)
    inputs = TASK.evaluation_split(data.test).inputs
    expected = learner.predict(loaded, inputs)
    assert np.array_equal(expected, learner.predict(trained.model, inputs))
    proto = learner.convert(loaded, signature, tiny.export.opset)
    normalization.merge_normalizations(proto)
    export.save(proto, tmp_path / "model.onnx", {"dataset": data.name})
    parity = export.check_parity(TASK, expected, tmp_path / "model.onnx", data, tiny.export)
    assert parity.max_gap <= 1
    session = onnxruntime.InferenceSession((tmp_path / "model.onnx").read_bytes())
    found = [(one.name, one.type, one.shape) for one in (*session.get_inputs(), *session.get_outputs())]
    assert found == [
        ("latent", "tensor(float)", ["batch", 64]),
        ("class", "tensor(int64)", ["batch"]),
        ("images", "tensor(uint8)", ["batch", 28, 28]),
    ]


def test_film_and_interpolation(tiny, trained, tmp_path) -> None:
    learners.for_family(tiny.model.chosen).write_plots(trained.model, tmp_path)
    with Image.open(tmp_path / "film.gif") as film, Image.open(tmp_path / "interpolation.png") as picture:
        assert len(list(ImageSequence.Iterator(film))) == len(trained.history["val_loss"])
        assert picture.size == (12 * 28, 10 * 28)


def test_another_backend_is_refused(tiny) -> None:
    other = tiny.train.model_copy(update={"backend": "jax"})
    with pytest.raises(ConfigError, match="family gan is trained with tensorflow"):
        learners.for_family(tiny.model.chosen).require(tiny.model.chosen, other)
