"""Own images of a user: a folder with one folder per class, or an .npz file, converted to the format of MNIST.

A folder contains `<class>/*.png` (or JPEG, BMP, WebP, GIF), or `train/<class>/...` and optionally `test/<class>/...`.
An .npz file contains `x_train`, `y_train`, `x_test` and `y_test`, or `x` and `y`; images are uint8
`[n, height, width]`, optionally with a last dimension of 1 or 3 colours. Without a test split, a fifth of the images,
stratified by class, becomes the test split. It is always the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mnistflow import files
from mnistflow.data.sources import idx
from mnistflow.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"})
FORMATS = "PNG, JPEG, BMP, WebP or GIF"
MAX_CLASSES = 255
MAX_NAME = 100  # characters of a class

_SIDE = 28
_LIGHT = 127  # images with a brighter border are inverted: foreground is bright, background black
_TEST_FRACTION = 0.2
_SEED = 0  # of the test split, independent of the seeds of a run
_TRAIN, _TEST = "train", "test"

Item = TypeVar("Item")
Examples = tuple[NDArray[np.uint8], NDArray[Any]]


@dataclass(frozen=True)
class Source:
    """A folder or file with a user's images.

    Attributes:
        path: of the folder or .npz file.
        classes: names of the classes, sorted.
        count: number of images in all splits.
        sha256: hash over all images and labels.
    """

    path: Path
    classes: tuple[str, ...]
    count: int
    sha256: str

    def write_official_files(self, folder: Path) -> tuple[Path, ...]:
        """Write the images as four IDX files with MNIST's names, and return their paths. The bytes are always the same.

        Raises:
            DataError: an image cannot be read, or a class is too small to be split.
        """
        splits = _read_npz(self.path) if self.path.is_file() else _read_folder(self.path)
        indices = {name: number for number, name in enumerate(self.classes)}
        numbered = {
            name: (images, np.array([indices[_text(label)] for label in labels], np.uint8))
            for name, (images, labels) in splits.items()
        }
        official = numbered if _TEST in numbered else _split(*numbered[_TRAIN], self)
        return tuple(
            idx.write(folder / f"{prefix}-{kind}-ubyte", array)
            for prefix, name in (("train", _TRAIN), ("t10k", _TEST))
            for kind, array in zip(("images-idx3", "labels-idx1"), official[name], strict=True)
        )


def find(path: Path) -> Source:
    """Return the classes and the hash of a user's images, without decoding the images of a folder.

    Raises:
        DataError: `path` does not exist, is not in a supported format, or has too few or too many classes.
    """
    if path.is_file():
        labels = [_text(label) for name, array in _arrays(path).items() if name.startswith("y") for label in array]
        digest = files.sha256(path)
    elif path.is_dir():
        images = list(_image_files(path))
        _check_names(path, [file for _, _, file in images])
        labels = [label for _, label, _ in images]
        listed = "".join(f"{files.sha256(file)}  {file.relative_to(path)}\n" for _, _, file in images)
        digest = sha256(listed.encode()).hexdigest()
    else:
        raise DataError(f"{path} is missing", "Correct the path in fetch.own; it is relative to the checkout.")
    names = set(labels)
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(
            f"{path} has images of {len(names)} classes; 2 to {MAX_CLASSES} are supported",
            "Use one folder per class: <class>/*.png.",
        )
    return Source(path, tuple(sorted(names)), len(labels), digest)


def _text(label: object) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)


def _check_names(path: Path, images: Sequence[Path]) -> None:
    """Raise DataError if a name cannot be written as text, or is too long for the name of a metric."""
    for file in images:
        name = file.relative_to(path).as_posix()
        if not name.isprintable():
            readable = name.encode(errors="replace").decode()
            raise DataError(f"{path}: {readable!r} is not a name in UTF-8, or is not printable", "Rename it.")
        if len(file.parent.name) > MAX_NAME:
            raise DataError(
                f"{path}: the class {file.parent.name[:40]}... has more than {MAX_NAME} characters", "Rename it."
            )


def unused(path: Path) -> tuple[str, ...]:
    """Return a line about a folder's class folders without images, and one about files that are not used, if any.

    Each counts and names all of them. Hidden files and folders are ignored.
    """
    if not path.is_dir():
        return ()
    images = {file for _, _, file in _image_files(path)}
    classes = {file.parent for file in images}
    visible = [place for place in sorted(path.rglob("*")) if not _is_hidden(place.relative_to(path))]
    roots = _roots(path).values()
    empty = [place for place in visible if place.is_dir() and place.parent in roots and place not in classes]
    others = [place for place in visible if place.is_file() and place not in images]
    lines = (
        _counted(path, "class folders without images", empty),
        _counted(path, f"files that are not used, because they are not {FORMATS} in a class folder", others),
    )
    return tuple(filter(None, lines))


def to_mnist_format(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image in the format of MNIST: uint8 `[28, 28]`, grey-scale, bright on black, with its whole frame.

    The server's preprocessing `plain` gives the same result.
    """
    if image.mode.startswith("I"):
        # 16 bits per pixel, which convert("L") would clip.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA") or (image.mode == "P" and image.has_transparency_data):
        image = _on_paper(image.convert("RGBA"))
    grey = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    if np.median(np.concatenate((grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]))) > _LIGHT:
        grey = 255 - grey
    if grey.shape == (_SIDE, _SIDE):
        return grey
    square = ImageOps.pad(Image.fromarray(grey), (max(grey.shape),) * 2, color=0)
    return np.asarray(square.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def _on_paper(image: Image.Image) -> Image.Image:
    """Put a transparent image on white paper, or on black if what it shows is bright."""
    alpha = np.asarray(image.getchannel("A"), np.float64)
    grey = np.asarray(image.convert("RGB").convert("L"))
    is_bright = alpha.any() and np.average(grey, weights=alpha) > _LIGHT
    paper = Image.new("RGBA", image.size, "black" if is_bright and alpha.mean() <= _LIGHT else "white")
    paper.alpha_composite(image)
    return paper


def _image_files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield split, class and path of each image file, sorted."""
    for split, root in _roots(folder).items():
        for file in sorted(root.glob("*/*")):
            if file.suffix.lower() in SUFFIXES and file.is_file() and not _is_hidden(file.relative_to(folder)):
                yield split, file.parent.name, file


def _roots(folder: Path) -> Mapping[str, Path]:
    """Return the folder of class folders by split."""
    has_splits = any((folder / _TRAIN).glob("*/*"))  # otherwise, `train` may be the name of a class
    return {name: folder / name for name in (_TRAIN, _TEST)} if has_splits else {_TRAIN: folder}


def _is_hidden(place: Path) -> bool:
    return any(part.startswith(".") for part in place.parts)


def _counted(folder: Path, what: str, places: Sequence[Path]) -> str:
    """Return one line that counts and names files or folders; empty if there are none."""
    names = ", ".join(str(place.relative_to(folder)) for place in places)
    return f"{folder}: {what} ({len(places)}): {names}" if places else ""


def _read_folder(folder: Path) -> Mapping[str, Examples]:
    images: dict[str, list[NDArray[np.uint8]]] = {}
    labels: dict[str, list[str]] = {}
    unreadable = []
    for split, label, file in _with_progress(list(_image_files(folder))):
        image = _read_image(file)
        if image is None:
            unreadable.append(file)
            continue
        images.setdefault(split, []).append(image)
        labels.setdefault(split, []).append(label)
    if unreadable:
        problem = _counted(folder, "files that cannot be read as images", unreadable)
        raise DataError(problem, "Remove them, or save them as PNG.")
    return {split: (np.stack(images[split]), np.array(labels[split])) for split in images}


def _read_image(file: Path) -> NDArray[np.uint8] | None:
    """Return an image in the format of MNIST; None if it cannot be read."""
    try:
        with Image.open(file) as image:
            return to_mnist_format(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _read_npz(path: Path) -> Mapping[str, Examples]:
    arrays = _arrays(path)
    pairs = {_TRAIN: ("x", "y")} if "x" in arrays else {name: (f"x_{name}", f"y_{name}") for name in (_TRAIN, _TEST)}
    return {split: (_resized(arrays[x], path, x), arrays[y]) for split, (x, y) in pairs.items()}


def _arrays(path: Path) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            _refuse_objects(path, archive)
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, BadZipFile, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as an .npz file", "Write it with numpy.savez.") from error
    names = ("x", "y") if "x" in arrays else ("x_train", "y_train", "x_test", "y_test")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(
            f"{path} has no array {missing[0]!r}", "It must contain x and y, or x_train, y_train, x_test and y_test."
        )
    for x, y in zip(names[::2], names[1::2], strict=True):
        if arrays[y].ndim != 1 or len(arrays[x]) != len(arrays[y]):
            raise DataError(
                f"{path}: {y} and {x} differ in length, or {y} is not one-dimensional", "Write one label per image."
            )
    return {name: arrays[name] for name in names}


def _refuse_objects(path: Path, archive: Any) -> None:
    """Raise DataError for arrays of Python objects, whose loading could run code; their headers are read only."""
    objects = []
    for name in archive.files:
        with archive.zip.open(f"{name}.npy") as stream:
            read = np.lib.format.read_array_header_1_0
            if np.lib.format.read_magic(stream) != (1, 0):
                read = np.lib.format.read_array_header_2_0
            if read(stream)[2].hasobject:
                objects.append(name)
    if objects:
        raise DataError(
            f"{path}: arrays of Python objects ({len(objects)}): {', '.join(objects)}",
            "Save images of one size as uint8 [n, height, width], labels as numbers or text; "
            "images of several sizes need a folder.",
        )


def _resized(images: NDArray[Any], path: Path, name: str) -> NDArray[np.uint8]:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{path}: {name} is {images.dtype} {list(images.shape)}, not uint8 [n, height, width(, 3)]",
            "Save pixels from 0 to 255 as uint8.",
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    return np.stack([to_mnist_format(Image.fromarray(image)) for image in _with_progress(list(images))])


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8], source: Source) -> Mapping[str, Examples]:
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)), test_size=_TEST_FRACTION, stratify=labels, random_state=_SEED
        )
    except ValueError as error:
        counts = np.bincount(labels, minlength=len(source.classes))
        raise DataError(
            f"{source.path}: class {source.classes[counts.argmin()]!r} has {counts.min()} images, too few to split",
            "Add images, at least 10 per class.",
        ) from error
    return {_TRAIN: (images[train], labels[train]), _TEST: (images[test], labels[test])}


def _with_progress(items: Sequence[Item]) -> Iterable[Item]:
    """Yield the items, with a progress bar if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, "reading images", console=console, transient=True, disable=not console.is_terminal)
