"""How many epochs halving and Hyperband save against a full grid, at the same best validation loss.

Every point of a grid is trained to the end once, on 6,000 images of MNIST. Each pruner then sees the recorded
validation losses, one epoch after the other, as stage tune reports them, in many orders of the grid: each order is a
search of its own, and what it finds is compared with the grid's best.

    python benchmarks/multi_fidelity.py --orders 20
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from bare_keras import read
from orchestration import ROOT

from mnistflow import config, tasks
from mnistflow.learners.fitting import supervised
from mnistflow.learners.learner import MONITORED
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend
from mnistflow.splits import Split
from mnistflow.tuning.study import make_pruner

GRID: dict[str, list[Any]] = {
    "model.mlp.units": [[32], [128], [256, 128]],
    "model.mlp.dropout": [0.0, 0.3],
    "train.learning_rate": [0.0003, 0.001, 0.003, 0.01],
}
EPOCHS = 27
IMAGES, VALIDATION = 6000, 6000


def losses_of_grid(folder: Path) -> list[list[float]]:
    """Return the validation loss after each epoch for every point of the grid."""
    base = config.load(ROOT / "params.yaml").with_values(
        {
            "model.family": "mlp",
            "train.epochs": EPOCHS,
            "train.patience": EPOCHS,
            "train.schedule": "constant",
            "train.augment": {},
        }
    )
    backend.load_tensorflow(base.train.threads)
    official = Split(*read(folder, "train"))
    order = np.random.default_rng(0).permutation(len(official))
    train, validation = official.take(order[:IMAGES]), official.take(order[-VALIDATION:])
    task = tasks.get("image_classification")
    signature = task.signature((28, 28), tuple("0123456789"))
    curves = []
    for values in itertools.product(*GRID.values()):
        settings = base.with_values(dict(zip(GRID, values, strict=True)))
        assert isinstance(settings.model.chosen, Network)
        training = supervised.SupervisedFitting(
            task,
            signature,
            settings.model.chosen,
            settings.train,
            train=train,
            validation=validation,
        ).finish(lambda *_: None)
        curves.append(training.history[MONITORED])
        print(f"{len(curves)}: {values}, best validation loss {min(curves[-1]):.4f}", flush=True)
    return curves


def search(curves: list[list[float]], pruner: optuna.pruners.BasePruner, seed: int) -> tuple[int, float]:
    """Return the epochs that a pruner spends on the grid in an order of its own, and the best loss it sees."""
    study = optuna.create_study(study_name=f"order {seed}", pruner=pruner)
    spent, best = 0, float("inf")
    for point in np.random.default_rng(seed).permutation(len(curves)):
        trial = study.ask()
        for epoch, loss in enumerate(curves[point], start=1):
            trial.report(loss, step=epoch)
            spent, best = spent + 1, min(best, loss)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, min(curves[point]))
    return spent, best


def main() -> None:
    """Train the grid, search it in many orders, and print what that saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=ROOT / "var/downloads/mnist")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"{arguments.folder} is missing. Run `make run` first, or name a folder with --folder.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = losses_of_grid(arguments.folder)
    whole, goal = EPOCHS * len(curves), min(map(min, curves))
    print(f"\nfull grid: {len(curves)} trials, {whole} epochs, best validation loss {goal:.4f}")
    params = config.load(ROOT / "params.yaml")
    for name in ("halving", "hyperband"):
        tune = params.with_values({"tune.pruner": name, "tune.epochs": EPOCHS}).tune
        searches = [search(curves, make_pruner(tune), seed) for seed in range(arguments.orders)]
        saved = [1 - spent / whole for spent, _ in searches]
        print(f"{name}, {len(searches)} orders: {statistics.median(saved):.0%} of the epochs saved (median),", end=" ")
        print(f"{min(saved):.0%} to {max(saved):.0%};")
        print(f"  best validation loss {statistics.median(best for _, best in searches):.4f} (median),", end=" ")
        print(f"the grid's own in {sum(best == goal for _, best in searches)} of {len(searches)} orders")


if __name__ == "__main__":
    main()
