"""Warm start beside a full retraining: how much of the lost accuracy comes back, and for how much processor time.

A network learns MNIST and is registered. Then images of another kind join the training images, as feedback on drifted
traffic does, and it is trained again: from scratch, and from its own weights. Accuracies are of the official test
images, as they are and changed in the same way. Prints a row of a Markdown table for each kind of drift.

    python benchmarks/warm_start.py --mirror ../shared/datasets --kinds rotated inverted --new 1000
"""

import argparse
import hashlib
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from bare_keras import read
from scipy import ndimage
from sklearn.model_selection import train_test_split

from mnistflow import config, environment, files, learners, tasks
from mnistflow.arrays import Array
from mnistflow.config import Config
from mnistflow.data import catalog
from mnistflow.export import export
from mnistflow.learners.config import TrainConfig
from mnistflow.paths import Paths
from mnistflow.registry import manifest, registration
from mnistflow.registry.manifest import Manifest
from mnistflow.registry.versions import Version
from mnistflow.splits import Dataset, Split
from mnistflow.tracking import runs

ROOT = Path(__file__).parents[1]
DEGREES = 50
OPSET = 17


def rotated(images: Array) -> Array:
    return np.asarray(ndimage.rotate(images, DEGREES, axes=(1, 2), reshape=False, order=1))


def inverted(images: Array) -> Array:
    return np.asarray(255 - images)


KINDS: Mapping[str, tuple[Callable[[Array], Array], Mapping[str, Any]]] = {
    "rotated": (rotated, {}),
    "inverted": (inverted, {"model.cnn.auto_levels": False, "train.augment.photometric": 0.0}),
}


@dataclass(frozen=True)
class Outcome:
    """A trained network, its accuracies, and the processor time of its training."""

    model: keras.Model
    usual: float
    drifted: float
    seconds: float


def dataset(train: Split, validation: Split, test: Split) -> Dataset:
    entry = catalog.entries()["mnist"]
    hashes = {"train": "", "validation": "", "test": ""}
    return Dataset("mnist", entry.task, entry.classes, (28, 28), train, validation, test, hashes, "0" * 64)  # type: ignore[arg-type]


def trained(data: Dataset, settings: Config, train: TrainConfig, drifted: Split) -> Outcome:
    learner, family = learners.for_family(settings.model.chosen), settings.model.chosen
    started = time.process_time()
    model = learner.fit(data, family, train, lambda *_: None).model
    seconds = time.process_time() - started
    usual, changed = (
        float((learner.predict(model, split.inputs).argmax(axis=1) == split.targets).mean())
        for split in (data.test, drifted)
    )
    return Outcome(model, usual, changed, seconds)


def registered(paths: Paths, data: Dataset, settings: Config, model: keras.Model) -> Version:
    """Register a network as `mnistflow retrain` does."""
    learner, signature = (
        learners.for_family(settings.model.chosen),
        tasks.get(data.task).signature((28, 28), data.classes),
    )
    paths.trained.mkdir(parents=True, exist_ok=True)
    learner.save(model, paths.trained)
    files.write_json(paths.trained / "training.json", {"settings": {"train.backend": settings.train.backend}})
    file = paths.var / "model.onnx"
    export.save(learner.convert(model, signature, OPSET), file, {})
    run = runs.start(paths, "mnist", "champion", kind="retrain")
    facts = Manifest(
        name="mnist-classifier",
        task=data.task,
        dataset="mnist",
        classes=data.classes,
        **manifest.tensors(signature),
        preprocessing="digit",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        data_sha256=data.data_sha256,
        metrics={"accuracy": 0.0},
        run_id=run.run_id,
        git_commit="",
        created="2026-01-01T00:00:00+00:00",
        mnistflow_version="0",
        doubt=None,
    )
    version = registration.register(run, file, paths.trained, data.test.inputs[:2], facts)
    run.finish()
    return version


def compare(paths: Paths, mirror: Path, kind: str, new: int, limit: int | None) -> str:
    """Return a row of the table."""
    change, overrides = KINDS[kind]
    settings = config.load(ROOT / "params.yaml").with_values(overrides)
    images, labels = read(mirror / "mnist", "train")
    test = Split(*read(mirror / "mnist", "t10k"))
    old, rest = train_test_split(np.arange(len(images)), test_size=6000 + new, stratify=labels, random_state=0)
    old = old[:limit]
    train, validation = Split(images[old], labels[old]), Split(images[rest[:6000]], labels[rest[:6000]])
    feedback = Split(change(images[rest[6000:]]), labels[rest[6000:]])
    drifted = Split(change(test.inputs), test.targets)
    joined = Split(np.concatenate([train.inputs, feedback.inputs]), np.concatenate([train.targets, feedback.targets]))
    before = trained(dataset(train, validation, test), settings, settings.train, drifted)
    version = registered(paths, dataset(train, validation, test), settings, before.model)
    data = dataset(joined, validation, test)
    full = trained(data, settings, settings.train, drifted)
    warm_settings = settings.train.model_copy(update={"warm_start": version.number})
    warm = trained(data, settings, warm_settings, drifted)
    recovery = (warm.drifted - before.drifted) / (full.drifted - before.drifted)
    cells = [
        kind,
        *(f"{one.drifted:.1%}, {one.usual:.2%}" for one in (before, full, warm)),
        f"{recovery:.0%}",
        f"{full.seconds:.0f}",
        f"{warm.seconds:.0f}",
        f"{full.seconds / warm.seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--new", type=int, default=1000, help="images of the new kind")
    parser.add_argument("--limit", type=int, help="old training images; all without it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("mnistflow.learners.warm_start").setLevel(logging.INFO)
    sys.stdout.write(
        "| drift | before: drifted, official | full retraining | warm start | recovery | full, s | warm, s | factor |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory() as folder:
            paths = Paths(Path(folder), Path(folder))
            environment.configure(paths)
            sys.stdout.write(compare(paths, arguments.mirror, kind, arguments.new, arguments.limit) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
