"""A user's own images become the same files whatever form they come in, and errors name what is wrong with them."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from mnistflow.data.sources import idx, own_images
from mnistflow.errors import DataError
from serving.images import preprocessing

NAMES = ("one", "two", "zero")
LABELS = {0: "zero", 1: "one", 2: "two"}


def examples(each: int = 15) -> list[tuple[str, np.ndarray]]:
    """Return large handwritten digits, dark on white, with the names of their classes."""
    source = load_digits()
    chosen = [index for digit in LABELS for index in np.flatnonzero(source.target == digit)[:each]]
    return [
        (LABELS[source.target[index]], np.kron(255 - source.images[index] * 15, np.ones((8, 6))).astype(np.uint8))
        for index in chosen
    ]


def write_folder(folder: Path, pairs: list[tuple[str, np.ndarray]]) -> Path:
    for number, (name, image) in enumerate(pairs):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name / f"{number:03}.png")
    return folder


@pytest.mark.parametrize("place", ["letters", "letters/train"])
def test_a_folder_becomes_mnists_files_with_a_stratified_test_split(tmp_path: Path, place: str) -> None:
    write_folder(tmp_path / place, examples())
    source = own_images.find(tmp_path / "letters")
    assert source.classes == NAMES
    source.write_official_files(tmp_path)
    splits = idx.read_splits(tmp_path)
    assert splits.train.inputs.shape == (36, 28, 28)
    assert np.bincount(splits.test.targets).tolist() == [3, 3, 3]
    borders = splits.train.inputs[:, [0, -1]]
    assert np.median(borders) == 0  # dark ink on white paper came in, bright on black goes on
    assert splits.train.inputs.max() > 200


def test_the_same_images_give_the_same_bytes_in_a_folder_and_in_an_npz(tmp_path: Path) -> None:
    pairs = sorted(examples(), key=lambda pair: pair[0])
    np.savez(tmp_path / "own.npz", x=np.stack([image for _, image in pairs]), y=[name for name, _ in pairs])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    np.savez(tmp_path / "bytes.npz", x=np.stack([image for _, image in pairs]), y=[name.encode() for name, _ in pairs])
    assert own_images.find(tmp_path / "bytes.npz").classes == NAMES
    one = own_images.find(write_folder(tmp_path / "letters", pairs)).write_official_files(tmp_path / "a")
    other = own_images.find(tmp_path / "own.npz").write_official_files(tmp_path / "b")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_test_split_that_is_given_stays_the_test_split(tmp_path: Path) -> None:
    pairs = examples()
    write_folder(tmp_path / "letters/train", pairs[::2])
    write_folder(tmp_path / "letters/test", pairs[1::2])
    source = own_images.find(tmp_path / "letters")
    source.write_official_files(tmp_path)
    splits = idx.read_splits(tmp_path)
    assert (len(splits.train), len(splits.test)) == (23, 22)
    given = sorted(pairs[1::2], key=lambda pair: pair[0])
    assert np.array_equal(
        splits.test.inputs, [own_images.to_mnist_format(Image.fromarray(image)) for _, image in given]
    )


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    names = {"one": "train", "two": "test", "zero": "zero"}
    source = own_images.find(write_folder(tmp_path / "vehicles", [(names[name], image) for name, image in examples()]))
    assert source.classes == ("test", "train", "zero")


def test_the_fingerprint_follows_the_images_and_not_the_place(tmp_path: Path) -> None:
    pairs = examples()
    first = own_images.find(write_folder(tmp_path / "here", pairs))
    assert own_images.find(write_folder(tmp_path / "there", pairs)).sha256 == first.sha256
    (tmp_path / "here/zero/new.png").write_bytes((tmp_path / "here/zero/000.png").read_bytes())
    assert own_images.find(tmp_path / "here").sha256 != first.sha256


def test_what_is_not_used_is_counted_and_named(tmp_path: Path) -> None:
    letters = write_folder(tmp_path / "letters", examples())
    assert own_images.unused(letters) == ()
    (letters / "one/folder.png").mkdir()
    (letters / "one/broken.png").symlink_to(letters / "nowhere")
    for empty in ("omega", "psi"):
        (letters / empty).mkdir()
    for name in ("notes.txt", "one/scan.tiff", "one/deeper/photo.png", "two/.hidden"):
        (letters / name).parent.mkdir(exist_ok=True)
        (letters / name).write_text("x")
    empty_folders, other_files = own_images.unused(letters)
    assert empty_folders == f"{letters}: class folders without images (2): omega, psi"
    assert other_files.endswith("in a class folder (3): notes.txt, one/deeper/photo.png, one/scan.tiff")
    assert own_images.find(letters).classes == NAMES


def encoded(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", **options)
    return content.getvalue()


@pytest.mark.parametrize(
    "transform",
    [
        lambda ink: Image.fromarray(np.asarray(ink).astype(np.uint16) * 257),
        lambda ink: Image.merge("LA", (Image.new("L", ink.size, 255), ink)),
        lambda ink: Image.merge("LA", (Image.new("L", ink.size, 0), ink)),
        lambda ink: Image.merge("LA", (Image.new("L", ink.size, 0), ink)).convert("RGBA"),
    ],
    ids=["16 bits", "bright on transparent", "dark on transparent", "in colours"],
)
def test_pictures_of_all_kinds_show_the_same_as_the_server_reads(
    transform: Callable[[Image.Image], Image.Image],
) -> None:
    ink = Image.fromarray(examples()[0][1])
    picture = transform(ImageOps.invert(ink) if np.asarray(ink)[0, 0] > 127 else ink)
    trained = own_images.to_mnist_format(picture)
    served = preprocessing.read(encoded(picture), mode="plain", max_pixels=10**6).input
    assert np.ptp(trained) > 200
    assert np.abs(trained.astype(int) - served).max() <= 2


def missing(folder: Path) -> Path:
    return folder / "nowhere"


def one_class(folder: Path) -> Path:
    return write_folder(folder / "letters", examples()[:5])


def no_image(folder: Path) -> Path:
    write_folder(folder / "letters", examples())
    (folder / "letters/zero/bad.png").write_text("no image")
    (folder / "letters/one/worse.jpg").write_text("no image")
    return folder / "letters"


def a_single_image(folder: Path) -> Path:
    return write_folder(folder / "letters", [*examples()[:20], ("zwei", examples()[0][1])])


def missing_array(folder: Path) -> Path:
    np.savez(folder / "own.npz", x_train=np.zeros((4, 28, 28), np.uint8), y_train=[0, 0, 1, 1])
    return folder / "own.npz"


def floats(folder: Path) -> Path:
    np.savez(folder / "own.npz", x=np.zeros((20, 28, 28)), y=[0, 1] * 10)
    return folder / "own.npz"


def lengths(folder: Path) -> Path:
    np.savez(folder / "own.npz", x=np.zeros((20, 28, 28), np.uint8), y=[0, 1])
    return folder / "own.npz"


def objects(folder: Path) -> Path:
    sizes = np.empty(20, object)
    sizes[:] = [np.zeros((20 + number, 28), np.uint8) for number in range(20)]
    np.savez(folder / "own.npz", x=sizes, y=np.array(["a", "b"] * 10, object))
    return folder / "own.npz"


def a_name_that_is_no_text(folder: Path) -> Path:
    letters = write_folder(folder / "letters", examples())
    os.rename(letters / "one", os.fsencode(letters) + b"/\xe4")  # noqa: PTH104  # as of an archive in Latin-1
    return letters


def a_long_name(folder: Path) -> Path:
    return write_folder(folder / "letters", [("x" * 240, image) for _, image in examples()] + examples())


def rubbish(folder: Path) -> Path:
    (folder / "own.npz").write_bytes(b"PK rubbish")
    return folder / "own.npz"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "nowhere is missing"),
        (one_class, "images of 1 classes"),
        (no_image, r"cannot be read as images \(2\): one/worse.jpg, zero/bad.png"),
        (a_single_image, "'zwei' has 1 images, too few"),
        (missing_array, "no array 'x_test'"),
        (floats, "float64"),
        (lengths, "differ in length"),
        (objects, r"own.npz: arrays of Python objects \(2\): x, y"),
        (a_name_that_is_no_text, "is not a name in UTF-8"),
        (a_long_name, "more than 100 characters"),
        (rubbish, "cannot be read as an .npz file"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        own_images.find(make(tmp_path)).write_official_files(tmp_path)
    assert "\n" not in str(caught.value)
