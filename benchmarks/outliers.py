"""How well a champion tells pictures that show no digit, and what its prediction sets promise, on MNIST's test split.

The outliers are those of stage evaluate (letters, noise, clouds), and the test images of the data sets of clothes and
Japanese characters in a mirror's folder; those that it does not have are left out.

    python benchmarks/outliers.py --mirror ../shared/datasets --repository var/models
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistflow.evaluation import doubt as evaluation
from mnistflow.evaluation import outliers
from mnistflow.runtime import onnx_session
from mnistflow.tasks.doubt import Doubt

OTHERS = ("fashion_mnist", "kmnist")
SHAPE = (28, 28)

Images = NDArray[np.uint8]


def images(folder: Path) -> Images:
    content = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, *SHAPE)


def labels(folder: Path) -> NDArray[np.int64]:
    content = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(content, np.uint8, offset=8).astype(np.int64)


def kinds(mirror: Path) -> Iterator[tuple[str, Images]]:
    yield from outliers.kinds(SHAPE).items()
    for name in OTHERS:
        if (mirror / name).is_dir():
            yield name, images(mirror / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mirror", type=Path, default=Path("../shared/datasets"), help="folder with the files of MNIST in `mnist`"
    )
    parser.add_argument("--repository", type=Path, default=Path("var/models"))
    parser.add_argument("--model", default="mnist-classifier")
    arguments = parser.parse_args()
    folder = arguments.repository / arguments.model
    version = folder / (folder / "champion").read_text(encoding="utf-8").strip()
    doubt = Doubt(**json.loads((version / "model.json").read_text(encoding="utf-8"))["doubt"])
    session = onnx_session.open_session(version / "model.onnx")

    digits, targets = (read(arguments.mirror / "mnist") for read in (images, labels))
    probabilities = onnx_session.predict(session, digits)
    covered, size = evaluation.coverage(doubt, probabilities, targets)
    print(f"coverage {covered.mean():.2%}, classes in a set {size:.3f}")
    print(f"digits refused {doubt.is_refused(probabilities).mean():.2%}\n")
    print("| outliers | images | AUROC | refused |\n| --- | --- | --- | --- |")
    for name, found in kinds(arguments.mirror):
        auroc, refused = evaluation.detection(doubt, probabilities, onnx_session.predict(session, found))
        print(f"| {name} | {len(found):,} | {auroc:.4f} | {refused:.1%} |")


if __name__ == "__main__":
    main()
