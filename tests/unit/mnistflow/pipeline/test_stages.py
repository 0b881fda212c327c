"""The line that a stage logs at its end."""

import json

import pytest

from mnistflow.pipeline import stages

pytestmark = pytest.mark.slow


def test_the_line_of_export_counts_the_predictions_that_int8_changes(paths, settings, caplog) -> None:
    chosen = settings.with_values(
        {
            "model.family": "cnn",
            "model.cnn.blocks": [[16], [64]],
            "tune.trials": 0,
            "train.epochs": 1,
            "export.precision": "int8",
            "export.quantize_ends": True,
            "export.max_disagreement": 1.0,
        }
    )
    caplog.set_level("INFO", "mnistflow")
    for stage in ("tune", "train", "export"):
        stages.run(stage, paths, chosen)
    parity = json.loads((paths.exported / "export.json").read_text())["parity"]
    assert parity["disagreements"] > 0
    equal = parity["rows"] - parity["disagreements"]
    assert f"{equal} of {parity['rows']} predictions as trained" in caplog.text
