"""Bundle of a version: model card, description of the data set and bill of materials, artifacts of the version's run.

The bundle is logged before the version is registered, so that no version is without it. It names the model by its
hash, because the version has no number yet.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.provenance import bill_of_materials, croissant, model_card
from mnistflow.provenance.facts import Facts
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry.versions import BUNDLE
from mnistflow.tracking.runs import Run


def log(run: Run, evaluation: Evaluation) -> tuple[str, ...]:
    """Log the bundle of the model that a run has trained, recorded and evaluated; return the names of its files."""
    with tempfile.TemporaryDirectory() as folder:
        facts = Facts.of(RunRecord.read(run.run_id, Path(folder)), evaluation)
    found = documents(facts)
    for name, text in found.items():
        run.log_text(text, f"{BUNDLE}/{name}")
    return tuple(found)


def documents(facts: Facts) -> dict[str, str]:
    """Return the documents of a model, by the names of their files."""
    return {
        "model-card.md": model_card.write(facts),
        "croissant.json": _json(croissant.describe(facts)),
        "bom.json": _json(bill_of_materials.describe(facts)),
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
