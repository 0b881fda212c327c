"""`python -m serving.classify`: what the champion sees in image files, without a server."""

import argparse
import sys
from pathlib import Path

import numpy as np

from serving.catalogue import Catalogue
from serving.errors import ServingError, StartError
from serving.metrics import Metrics
from serving.model import Model
from serving.preprocessing import Manner, to_model_input
from serving.repository import ModelRepository
from serving.settings import Settings

SHOWN = 3


def main() -> None:
    """Print a line an image; exits 1 with one line for the first that cannot be read."""
    parser = argparse.ArgumentParser(prog="mnistflow predict")
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    arguments = parser.parse_args()
    try:
        catalogue = Catalogue(ModelRepository(arguments.repository), Metrics(), arguments.model, 0)
        catalogue.open()
        for path in arguments.images:
            sys.stdout.write(f"{path}: {_describe(catalogue.default(), _read(path))}\n")
    except ServingError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"{path} cannot be read ({error.strerror}). Name a PNG or JPEG file.") from None


def _describe(model: Model, image: bytes) -> str:
    manner: Manner = "digit" if model.manifest.preprocessing == "digit" else "plain"
    pixels = to_model_input(image, manner=manner, max_pixels=Settings().max_pixels)
    (input_name,), (output_name, *_) = model.inputs, model.outputs
    probabilities = model.run({input_name: pixels[np.newaxis]}, [output_name])[output_name][0]
    best = np.argsort(-probabilities)[:SHOWN]
    classes = model.manifest.classes
    others = ", ".join(f"{classes[index]} {probabilities[index]:.2%}" for index in best)
    return f"{classes[best[0]]}   ({others}; {model.name} version {model.version})"


if __name__ == "__main__":
    main()
