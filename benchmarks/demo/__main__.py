"""`make demo`: a simulated quarter of drifting traffic, a line a week, a summary, and a picture.

Everything is real but the calendar: prediction servers answer each image, the schedule's process takes the looks, and
retrains, judges, promotes and rolls back. A simulated week lasts as long as its work takes, a minute or so, and ends
with a look. So the settings of time are such that a week is longer than a cool-down, a day, and a watch, and an hour,
which the first look at a version stands for, is a week in the number of false alarms. The gate's level is that of a
year, of which nothing is refilled within minutes.

Exit code 0 only if the accuracy came back, the official test split was kept, and the bad model was rolled back.

    PYTHONPATH=benchmarks python -m demo --picture docs/images/quarter.png
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestration import ROOT

from demo import picture, summary, system
from demo.quarter import Quarter, Week
from demo.system import System
from demo.traffic import Digits
from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.workers import signals

TRAINED = 12_000  # official training examples
HOURS_A_WEEK, MOMENT = 168.0, 0.001

# A small network without augmentation: it trains in seconds, and drift hurts it.
PARAMS: Mapping[str, Any] = {
    "fetch.dataset": "mnist",
    "fetch.fallback": None,
    "fetch.mirrors": [str(ROOT / "var/downloads"), str(ROOT.parent / "shared/datasets"), "public"],
    "prepare.feedback": "var/inferences.db",
    "prepare.feedback_per_source": None,
    "model.family": "cnn",
    "model.cnn.auto_levels": False,
    "model.cnn.blocks": [[16], [32], [64]],
    "model.cnn.pooling": "stride",
    "tune.trials": 0,
    "train.epochs": 10,
    "train.min_steps": 0,
    "train.augment": {},
    "evaluate.batch_sizes": [1],
    "evaluate.repeats": 20,
    "evaluate.robustness_images": 0,
    "gate.margin": 0.004,  # two trainings of so small a network differ by as much
    "gate.max_recall_drop": 0.03,
    "monitor.most": 4000,  # every image of a week
    "monitor.report_ratio": 1.0,  # labels are reported whatever the answer was
    "monitor.false_alarms": HOURS_A_WEEK,  # one a simulated year
    "monitor.cool_down_hours": MOMENT,
    "monitor.retrainings_a_day": 1000,
    "monitor.watch_hours": MOMENT,
    "monitor.max_milliseconds": 1000.0,  # the machine is busy
}
"""What the checkout's params.yaml has instead of the defaults."""
FIRST: Mapping[str, Any] = {**PARAMS, "prepare.feedback": None, "train.epochs": 3}
"""The same for the first champion: nobody has reported a label yet."""

CARELESS: Mapping[str, Any] = {
    "prepare.feedback": None,
    "train.epochs": 12,
    "train.augment": {"rotation": 7, "shift": 0.05},
    "gate.margin": 1.0,
    "gate.significance": 0.5,
}
"""The bad model: better on the official split, ignorant of all that has arrived since, and a gate that lets it pass."""


def main() -> None:
    """Simulate the quarter; see the module."""
    arguments = _arguments()
    started = time.monotonic()
    folder = arguments.workspace or Path(tempfile.mkdtemp(prefix="mnistflow-demo-")) / "mnistflow"
    paths = system.make_checkout(folder)
    print(f"{platform.machine()}, {os.cpu_count()} cores; checkout: {paths.checkout}", flush=True)
    weeks = _simulate(paths, arguments)
    found = summary.read_back(os.environ[environment.INFERENCE_LOG], weeks)
    print(*found.lines(), f"it took {(time.monotonic() - started) / 60:.1f} minutes", sep="\n")
    path = arguments.picture or paths.checkout / "quarter.png"
    picture.draw(path, weeks)
    print(f"picture: {path}")
    if found.failures:
        sys.exit(f"error: {'; '.join(found.failures)}")


def _simulate(paths: Paths, arguments: argparse.Namespace) -> list[Week]:
    sizes = {"prepare.train_limit": round(arguments.size * TRAINED), "prepare.seed": arguments.seed}
    weeks = []
    with signals.interrupting(), ExitStack() as stack:  # whatever ends the demo, its servers end as well
        stack.enter_context(system.scheduling(paths))
        system.write_params(paths, {**FIRST, **sizes})
        system.run(paths, "retrain")
        system.write_params(paths, {**PARAMS, **sizes})
        control = stack.enter_context(system.serving_first(paths))
        server = stack.enter_context(system.serving(paths))
        digits = Digits(paths, arguments.seed)
        quarter = Quarter(System(paths, server), control, digits, arguments.size, overrides(CARELESS))
        for week in quarter.weeks():
            weeks.append(week)
            print(week, flush=True)
    return weeks


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return the options of `mnistflow retrain` that override parameters."""
    return [part for key, value in values.items() for part in ("-S", f"{key}={json.dumps(value)}")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=float, default=1.0, help="factor of the traffic and of the training examples")
    parser.add_argument("--workspace", type=Path, help="folder to make; a temporary one if not given")
    parser.add_argument("--picture", type=Path, help="PNG file; in the workspace if not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()
