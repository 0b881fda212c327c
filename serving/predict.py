"""Command `mnistflow predict` (`python -m serving.predict`): classifies image files, without a server.

The model is loaded into this process, with the checks of `engine.model` but without the manager and the validation
process of a server, which would take several times as long as the prediction.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from serving.engine.model import IMAGE_SHAPE, Model
from serving.engine.repository import ModelRepository, require_champion
from serving.errors import CommandError, ServingError
from serving.images.decoding import FORMATS
from serving.images.mode import Mode
from serving.images.preprocessing import Reading, read
from serving.protocol.tensors import Array
from serving.settings import Settings

SHOWN = 3


def main() -> None:
    """Print one line for each image. Unreadable images get an error line each, and make the exit status 1."""
    parser = argparse.ArgumentParser(prog="mnistflow predict")
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    arguments = parser.parse_args()
    try:
        model = _champion(ModelRepository(arguments.repository), arguments.model)
    except ServingError as error:
        sys.exit(f"error: {error}")
    readable = [_print_prediction(model, path) for path in arguments.images]
    sys.exit(not all(readable))


def _champion(repository: ModelRepository, name: str) -> Model:
    """Load the champion of a model.

    Raises:
        CommandError: there is no repository or champion, or the champion does not classify images.
        ModelRefusedError: the champion's files are damaged, or do not reproduce the recorded predictions.
    """
    model = Model(repository.read(name, require_champion(repository, name)))
    if not model.classifies_images:
        side, _ = IMAGE_SHAPE
        raise CommandError(
            f"{name} does not classify images of {side}x{side}. Use a server instead: `mnistflow serve`, /v2."
        )
    return model


def _print_prediction(model: Model, path: Path) -> bool:
    """Print the prediction for an image, or its error; return whether the image could be read."""
    try:
        sys.stdout.write(f"{path}: {_describe(model, path)}\n")
    except ServingError as error:
        sys.stderr.write(f"error: {error}\n")
        return False
    return True


def _read(path: Path, mode: Mode) -> Reading:
    try:
        return read(path.read_bytes(), mode=mode, max_pixels=Settings().max_pixels)
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}). Name a {FORMATS} file.") from None
    except ServingError as error:
        raise CommandError(f"{path}: {error}. Try another {FORMATS} file.") from None


def _describe(model: Model, path: Path) -> str:
    reading = _read(path, model.manifest.preprocessing)
    (input_name,), (output_name, *_) = model.inputs, model.outputs
    probabilities = model.run({input_name: reading.input[np.newaxis]}, [output_name])[output_name][0]
    best = np.argsort(-probabilities)[:SHOWN]
    classes = model.manifest.classes
    others = ", ".join(f"{classes[index]} {probabilities[index]:.2%}" for index in best)
    reason = _doubt(model, reading, probabilities)
    warning = f"   uncertain: {reason}" if reason else ""
    return f"{classes[best[0]]}{warning}   ({others}; {model.name} version {model.version})"


def _doubt(model: Model, reading: Reading, probabilities: Array) -> str | None:
    """Return why the prediction is uncertain; None if it is not."""
    if reading.shows_several:
        return "the image shows several digits"
    if model.manifest.doubt is None:
        return None
    return model.manifest.doubt.describe(probabilities, model.manifest.classes).get("reason")


if __name__ == "__main__":
    main()
