"""Golden sets: drawn from feedback that the champion has not learned from, signed, and shared through MLflow.

Each set is the artifact of a run in the experiment `<dataset>-golden`, so that the gate reads the same one on every
machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from mnistflow.data.feedback import golden
from mnistflow.data.feedback.golden import GoldenSet
from mnistflow.data.feedback.reports import FeedbackReports
from mnistflow.paths import Paths
from mnistflow.provenance import signature
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry import versions
from mnistflow.tracking import artifacts, runs
from mnistflow.tracking.records import Order, RunQuery, StoredRun
from mnistflow.tracking.store import open_store

FOLDER = "golden"  # of the artifacts
SET, SIGNED = "mnistflow.golden", "mnistflow.golden_signed"  # tags: hash of the set, and whether it is signed
NUMBER, DRAWN = "number", "drawn"  # a metric, and a parameter


def draw(paths: Paths, found: FeedbackReports, *, number: int, seed: int, by: str, key: Path | None) -> GoldenSet:
    """Draw a golden set from accepted feedback; it is the current one from then on, on every machine.

    Args:
        paths: of the checkout.
        found: all feedback.
        number: of examples.
        seed: of the draw.
        by: user and machine.
        key: private key that signs the set; None leaves it unsigned.

    Raises:
        ConfigError: too few reports are eligible, or the key cannot sign.
        DataError: the raw files cannot be read, or the set cannot be written.
        NotReproduced: MLflow does not have the record of the champion's data.
    """
    if key:
        signature.require_private_key(key)
    synchronize(paths, found.entry.name)
    since = _learned_until(found.entry.name)
    official = found.entry.read(paths.raw)
    drawn = golden.draw(paths, found.entry, found.reports, official, number=number, seed=seed, since=since, by=by)
    if key:
        signature.sign_folder(drawn.folder, key)
    synchronize(paths, found.entry.name)
    return drawn


def synchronize(paths: Paths, dataset: str) -> None:
    """Let this checkout and MLflow have the same current golden set, with its signature.

    Raises:
        DataError: a set is damaged or altered, or cannot be written.
        RegistryError: MLflow's files cannot be read.
    """
    here, stored = golden.current(paths, dataset), _stored(dataset)
    if stored is None:
        if here:
            _upload(paths, here)
        return
    if here and here.sha256 == stored.tags[SET]:
        if is_signed(here) and not _is_signed_there(stored):
            _sign_stored(here, stored)
        elif not is_signed(here) and _is_signed_there(stored):
            _download(paths, dataset, stored)
    elif here and here.order > _order(stored):
        _upload(paths, here)
    else:
        _download(paths, dataset, stored)


def sign(paths: Paths, dataset: str, key: Path) -> None:
    """Sign the current golden set, if there is one, with a private key; on every machine, it has the signature then.

    Raises:
        ConfigError: the key cannot sign.
        DataError: a set is damaged or altered.
    """
    synchronize(paths, dataset)
    if (current := golden.current(paths, dataset)) and (stored := _stored(dataset)):
        signature.sign_folder(current.folder, key)
        _sign_stored(current, stored)


def is_signed(one: GoldenSet) -> bool:
    """Return whether a golden set has a signature."""
    return (one.folder / signature.SIGNATURE).is_file()


def check_signature(paths: Paths, dataset: str, key: Path) -> None:
    """Check that the current golden set, if there is one, is as signed by a private key.

    Raises:
        ConfigError: the key cannot sign.
        RegistryError: the set is not signed, by another key, or was altered.
    """
    if current := golden.current(paths, dataset):
        signature.verify_folder(current.folder, key)


def _learned_until(dataset: str) -> float | None:
    """Return the time of the newest feedback that the champion was trained on; None if it was trained on none."""
    champion = versions.version_of_alias(versions.model_name(dataset), versions.CHAMPION)
    if champion is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        feedback = RunRecord.read(champion.run_id, Path(folder)).data["feedback"]
    until: float | None = feedback["until"] if feedback["examples"] else None
    return until


def _stored(dataset: str) -> StoredRun | None:
    """Return the run with the current golden set of MLflow."""
    query = RunQuery(_experiment(dataset), status="FINISHED", order=[Order(NUMBER, descending=True)], limit=100)
    return max((run for run in open_store().search_runs(query) if SET in run.tags), key=_order, default=None)


def _order(run: StoredRun) -> tuple[int, str, str]:
    return int(run.metrics[NUMBER]), run.parameters[DRAWN], run.tags[SET]


def _experiment(dataset: str) -> str:
    return f"{dataset}-golden"


def _upload(paths: Paths, one: GoldenSet) -> None:
    runs.close_dead_runs(_experiment(one.dataset))
    tags = {SET: one.sha256, SIGNED: str(is_signed(one)), runs.KEEP: "golden set"}
    run = runs.start(paths, _experiment(one.dataset), f"golden set {one.number}", "golden", tags=tags)
    with runs.finished(run):
        run.log_params({DRAWN: one.drawn, "by": one.by})
        run.log_metrics({NUMBER: one.number, "examples": one.examples})
        run.log_folder(one.folder, FOLDER)


def _is_signed_there(stored: StoredRun) -> bool:
    return stored.tags[SIGNED] == str(True)


def _sign_stored(one: GoldenSet, stored: StoredRun) -> None:
    run = runs.resume(stored.run_id)
    run.log_file(one.folder / signature.SIGNATURE, FOLDER)
    run.set_tags({SIGNED: True})


def _download(paths: Paths, dataset: str, stored: StoredRun) -> None:
    files = [golden.EXAMPLES, golden.RECORD, *([signature.SIGNATURE] if _is_signed_there(stored) else [])]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found"
        found.mkdir()
        for file in files:
            artifacts.of_run(stored.run_id, f"{FOLDER}/{file}", Path(folder)).rename(found / file)
        golden.adopt(paths, dataset, found)
