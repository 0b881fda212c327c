"""The classifier whose features score generated images, trained on MNIST's digits and Fashion-MNIST's clothes.

It writes the ONNX file from images, uint8 `[batch, 28, 28]`, to the features before its last layer, float32
`[batch, 64]`, and prints its accuracy on both test splits and the file's SHA-256. That file is committed, and
`tasks/generation/features.py` accepts no other one: scores are comparable for as long as it stays.

    python benchmarks/image_features.py --mirror ../shared/datasets --file var/features.onnx
"""

import argparse
from pathlib import Path

import numpy as np
from bare_keras import read
from orchestration import ROOT

from mnistflow import config, files
from mnistflow.export import export, normalization
from mnistflow.learners.networks import Networks
from mnistflow.models.networks.cnn import Cnn
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.task import Signature

SETS = ("mnist", "fashion_mnist")
CLASSES = 10  # of each
HELD_OUT = 5_000  # of the training images, for the choice of the best epoch
FAMILY = Cnn(auto_levels=False, blocks=((16,), (32,), (64,)))
TRAINING = {"train.epochs": 2, "train.augment": {}, "train.batch_size": 128, "train.threads": 1}


def pooled(mirror: Path, part: str) -> Split:
    """Return the images of all data sets with labels that tell the classes of each, shuffled."""
    images, labels = zip(*(read(mirror / name, part) for name in SETS), strict=True)
    targets = np.concatenate([one.astype(np.int64) + number * CLASSES for number, one in enumerate(labels)])
    order = np.random.default_rng(0).permutation(len(targets))
    return Split(np.concatenate(images), targets).take(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--file", type=Path, default=Path("var/features.onnx"))
    parser.add_argument("--images", type=int, default=None, help="of both data sets together; all by default")
    arguments = parser.parse_args()
    known, test = (pooled(arguments.mirror, part) for part in ("train", "t10k"))
    order = np.arange(len(known))[: arguments.images]
    names = tuple(f"{name} {label}" for name in SETS for label in range(CLASSES))
    train, validation = known.take(order[HELD_OUT:]), known.take(order[:HELD_OUT])
    data = Dataset("pooled", "image_classification", names, (28, 28), train, validation, test, {}, "")
    settings = config.load(ROOT / "params.yaml").with_values(TRAINING).train
    learner = Networks()
    learner.prepare(settings)
    training = learner.fit(data, FAMILY, settings, lambda epoch, metrics: print(epoch, dict(metrics), flush=True))

    is_right = learner.predict(training.model, test.inputs).argmax(axis=1) == test.targets
    for number, name in enumerate(SETS):
        print(f"{name}: accuracy {is_right[test.targets // CLASSES == number].mean():.2%} on its test split")
    _write(training.model, arguments.file)
    print(f"{arguments.file}: {arguments.file.stat().st_size:,} bytes, sha256 {files.sha256(arguments.file)}")


def _write(model: object, file: Path) -> None:
    import keras

    assert isinstance(model, keras.Model)
    pooling = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalMaxPooling2D))
    signature = Signature("images", "uint8", (28, 28), "features", pooling.output.shape[1:])
    proto = Networks().convert(keras.Model(model.inputs, pooling.output), signature, opset=17)
    normalization.merge_normalizations(proto)
    file.parent.mkdir(parents=True, exist_ok=True)
    export.save(proto, file, {"sets": ",".join(SETS)})


if __name__ == "__main__":
    main()
