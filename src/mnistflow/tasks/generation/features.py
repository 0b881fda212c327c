"""Image features: outputs of a fixed classifier before its last layer, in which generated and real images are compared.

The classifier is part of the package and has learned the digits of MNIST and the clothes of Fashion-MNIST
(`benchmarks/image_features.py`). No other file is accepted, so that scores of different runs, machines and data sets
are distances in the same space. A classifier of the data set at hand would know its classes better, but would change
with every retraining, and the scores with it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import StageError
from mnistflow.runtime import onnx_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FILE = "features.onnx"
SHA256 = "b3c1f93aa6623cea65b95324c4a50fe7eeb4203c12d4930fe32d445b2bfa5380"
IMAGE_SHAPE = (28, 28)


def features(images: Array) -> Outputs:
    """Return the features, float32 `[n, 64]`, of images uint8 `[n, 28, 28]`.

    Raises:
        StageError: the classifier is another one than the scores are defined by.
    """
    return onnx_session.predict(_session(), images)


@cache
def _session() -> InferenceSession:
    content = resources.files(__package__).joinpath(FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise StageError(f"{FILE}, which scores generated images, is damaged", "Install mnistflow again.")
    return onnx_session.open_session(content)
