"""Stages by name: the function that each runs, and the line that it logs at its end."""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mnistflow import errors
from mnistflow.errors import DataError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from mnistflow.config import Config

logger = logging.getLogger("mnistflow")


def run(stage: str, paths: Paths, settings: Config, log: Path | None = None) -> None:
    """Run a stage in this process, and log its result.

    Args:
        log: file for all log records of the stage, and for the stack trace of a crash.

    Raises:
        MnistflowError: the stage failed.
    """
    with _logged_to(log) if log else nullcontext(), errors.in_one_line():
        logger.info(_STAGES[stage](paths, settings))


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        faulthandler.enable(stream)
        try:
            yield
        finally:
            faulthandler.disable()
            logging.getLogger().removeHandler(handler)


def _fetch(paths: Paths, settings: Config) -> str:
    from mnistflow.data import fetch

    done = fetch.fetch(paths, settings.fetch)
    return f"fetched {done.dataset}: {done.files} files, {_size(done.bytes)}, sha256 {done.sha256[:12]}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _prepare(paths: Paths, settings: Config) -> str:
    from mnistflow.data import prepare, raw

    found = raw.load(paths.raw).name
    if found not in (settings.fetch.dataset, settings.fetch.fallback):
        raise DataError(
            f"{paths.raw} has the data set {found}, not {settings.fetch.dataset}",
            f"Run `mnistflow fetch -S fetch.dataset={settings.fetch.dataset}` first.",
        )
    done = prepare.prepare(paths, settings.prepare)
    feedback = f" ({done.feedback} of them from feedback)" if done.feedback else ""
    held = f"; {done.held} reports wait for `mnistflow feedback review`" if done.held else ""
    counts = f"{done.train} training, {done.validation} validation, {done.test} test examples{feedback}"
    counts += f", {done.golden} in the golden set" if done.golden else ""
    return f"prepared {done.dataset}: {counts}{held}"


def _tune(paths: Paths, settings: Config) -> str:
    from mnistflow.tuning import tune

    search = tune.tune(paths, settings.learning, settings.tune)
    return (
        f"tuned {settings.model.family}: {len(search.trials)} trials, best {dict(search.best) or 'as in params.yaml'}"
    )


def _train(paths: Paths, settings: Config) -> str:
    from mnistflow.learners import train

    done = train.train(paths, settings.learning)
    kept = ", ".join(f"{name} {value:.4f}" for name, value in done.best.items() if name.startswith("val_"))
    seconds = f"in {done.seconds:.0f} s"
    how = f": {done.epochs} epochs {seconds}, kept epoch {done.best_epoch}" if done.epochs > 1 else f" {seconds}"
    return f"trained {done.family}{how} ({kept})"


def _export(paths: Paths, settings: Config) -> str:
    from mnistflow.export import export

    done = export.export(paths, settings.export)
    parity = done.parity
    return (
        f"exported {done.bytes / 1e6:.2f} MB: {parity.rows - parity.disagreements} of {parity.rows} predictions as "
        f"trained, largest difference {parity.max_gap:.2g}"
    )


def _evaluate(paths: Paths, settings: Config) -> str:
    from mnistflow.evaluation import evaluate

    done = evaluate.evaluate(paths, settings.evaluate)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in done.metrics.items())
    return f"evaluated on test split {done.test_sha256[:12]}: {shown}"


_STAGES: dict[str, Callable[[Paths, Config], str]] = {
    "fetch": _fetch,
    "prepare": _prepare,
    "tune": _tune,
    "train": _train,
    "export": _export,
    "evaluate": _evaluate,
}
