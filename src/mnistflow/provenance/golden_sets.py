"""Golden sets: drawn from feedback that the champion has not learned from, signed by the key that signs versions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mnistflow.data.feedback import golden
from mnistflow.data.feedback.golden import GoldenSet
from mnistflow.data.prepare import Reported
from mnistflow.paths import Paths
from mnistflow.provenance import signature
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry import versions


def draw(paths: Paths, found: Reported, *, number: int, seed: int, by: str, key: Path | None) -> GoldenSet:
    """Draw a golden set from accepted feedback; it is the current one from then on.

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
    since = _learned_until(found.entry.name)
    official = found.entry.read(paths.raw)
    drawn = golden.draw(paths, found.entry, found.reports, official, number=number, seed=seed, since=since, by=by)
    if key:
        signature.sign_folder(drawn.folder, key)
    return drawn


def sign(paths: Paths, dataset: str, key: Path) -> None:
    """Sign the current golden set, if there is one, with a private key.

    Raises:
        ConfigError: the key cannot sign.
    """
    if current := golden.current(paths, dataset):
        signature.sign_folder(current.folder, key)


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
