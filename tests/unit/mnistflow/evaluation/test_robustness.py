"""Corruptions of images, and what is left of a model under them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mnistflow import tasks
from mnistflow.evaluation import robustness
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.corruptions import IMAGE_CORRUPTIONS, Corruption

pytestmark = pytest.mark.slow

KINDS = {kind.name: kind for kind in IMAGE_CORRUPTIONS}
TASK = tasks.get("image_classification")


def apply(name: str, images: NDArray[np.uint8], strength: float, seed: int = 0) -> NDArray[np.uint8]:
    return np.asarray(KINDS[name].apply(images, strength, np.random.default_rng(seed)))


def spot(row: int, column: int, count: int = 1) -> NDArray[np.uint8]:
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, row, column] = 255
    return images


def centre(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    places = np.indices(image.shape).reshape(2, -1)
    return np.asarray((places * image.reshape(-1)).sum(axis=1) / image.sum())


@pytest.mark.parametrize("kind", IMAGE_CORRUPTIONS, ids=lambda kind: kind.name)
def test_a_corruption_is_seeded_changes_every_image_and_grows_with_its_severity(
    kind: Corruption, digits: Dataset
) -> None:
    images = digits.test.inputs[:50]
    kept = images.copy()
    distances = []
    for strength in kind.steps:
        corrupted = apply(kind.name, images, strength)
        assert (corrupted.dtype, corrupted.shape) == (np.uint8, images.shape)
        assert np.array_equal(corrupted, apply(kind.name, images, strength))
        assert (corrupted != images).any(axis=(1, 2)).all()
        distances.append(np.abs(corrupted.astype(float) - images).mean())
    assert distances == sorted(distances)
    assert np.array_equal(images, kept)


def test_a_shift_has_the_length_asked_for_in_every_direction() -> None:
    moved = np.array([centre(image) - 14 for image in apply("shift", spot(14, 14, 200), 0.14)])
    assert np.hypot(*moved.T) == pytest.approx(0.14 * 28, abs=0.35)
    assert np.abs(moved.mean(axis=0)).max() < 1


def test_a_rotation_keeps_the_distance_to_the_centre_and_turns_both_ways() -> None:
    turned = np.array([centre(image) - 13.5 for image in apply("rotation", spot(4, 13, 50), 30)])
    assert np.hypot(*turned.T) == pytest.approx(9.5, abs=0.4)
    assert {round(angle / 5) * 5 for angle in np.degrees(np.arctan2(turned[:, 1], -turned[:, 0]))} == {-35, 25}


def test_a_scaled_image_is_what_pillow_makes_of_it(digits: Dataset) -> None:
    image = digits.test.inputs[0]
    larger = next(out for seed in range(9) if (out := apply("scale", image[None], 0.25, seed)[0]).sum() > image.sum())
    expected = np.asarray(Image.fromarray(image).resize((35, 35), Image.Resampling.BILINEAR))[3:31, 3:31]
    assert np.abs(larger.astype(float) - expected).mean() < 12


def test_noise_blur_contrast_and_inversion_do_what_they_are_named_after(digits: Dataset) -> None:
    grey = np.full((20, 28, 28), 128, np.uint8)
    assert apply("noise", grey, 0.1).std() == pytest.approx(25.5, rel=0.03)
    blurred = apply("blur", spot(14, 14), 1.0)[0]
    assert blurred[14, 14] == pytest.approx(255 / (2 * np.pi), abs=1)
    images = digits.test.inputs[:5]
    assert apply("contrast", images, 0.5).std() == pytest.approx(images.std() / 2, rel=0.03)
    assert np.array_equal(apply("inversion", apply("inversion", images, 1), 1), images)


def test_the_metrics_are_those_of_the_predictions_for_the_corrupted_images(digits: Dataset) -> None:
    """A reader that knows the clean images by heart, and answers 0 to all others, shows which are judged."""
    known = {image.tobytes(): target for image, target in zip(digits.test.inputs, digits.test.targets, strict=True)}

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(10, dtype=np.float32)[[known.get(image.tobytes(), 0) for image in images]]

    zeros = float((digits.test.targets == 0).mean())
    measured = robustness.measure(TASK, predict, digits.test, len(digits.test))
    assert measured.clean == 1
    assert measured.metrics["robust_accuracy.shift.1"] == pytest.approx(zeros)
    assert measured.metrics["robust_accuracy"] == pytest.approx(zeros)
    assert {name.split(".")[1] for name in measured.metrics if "." in name} == {*KINDS, "augmented", "held_out"}
    few = robustness.measure(TASK, predict, digits.test, 10)
    assert few.rows == 10
    assert few.metrics == robustness.measure(TASK, predict, digits.test, 10).metrics


def test_nothing_asked_for_is_nothing_measured_and_the_picture_says_so(digits: Dataset, tmp_path) -> None:
    def predict(_: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError

    none = robustness.measure(TASK, predict, digits.test, 0)
    assert none.metrics == {}
    robustness.draw(tmp_path / "none.png", none)
    assert Image.open(tmp_path / "none.png").width > 100


def test_the_picture_has_a_column_a_corruption(digits: Dataset, tmp_path) -> None:
    split = Split(digits.test.inputs[:20], digits.test.targets[:20])
    measured = robustness.measure(TASK, lambda images: np.full((len(images), 10), 0.1, np.float32), split, 20)
    robustness.draw(tmp_path / "robustness.png", measured)
    picture = Image.open(tmp_path / "robustness.png")
    assert picture.width > 100 * len(KINDS)
