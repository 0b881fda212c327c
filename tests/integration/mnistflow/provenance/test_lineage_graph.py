"""Lineage of a version, as the command shows it."""

import json
import uuid
from dataclasses import replace

import pytest
import receivers
from checkouts import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

# As the flow does after a version was registered.
SEND = """
from flows import prefect_tasks
from mnistflow import environment
from mnistflow.paths import Paths
from mnistflow.registry import versions
paths = Paths.locate()
environment.configure(paths)
prefect_tasks.send_lineage.fn(paths, versions.find("digits-classifier", 1))
"""


def test_the_lineage_of_a_champion(retrained: Checkout) -> None:
    graph = json.loads(retrained.run("lineage", "1", "--json").stdout)
    ((run_id,),) = retrained.query("select run_id from model_versions where version = 1")
    manifest = json.loads((retrained.folder / "var/models/digits-classifier/1/model.json").read_text())
    assert graph["data"]["sha256"] == manifest["data_sha256"]
    assert graph["data"]["splits"]["test"]["examples"] == 360
    assert graph["data"]["feedback"] == {"examples": 0, "validation": 0, "until": None}
    assert graph["code"]["commit"].removesuffix("-dirty") == retrained.tool("git", "rev-parse", "HEAD").strip()
    assert graph["run"]["id"] == run_id
    assert graph["run"]["seed"] == "0"
    assert graph["trials"]["trials"] == 2
    assert graph["model"]["sha256"] == manifest["sha256"]
    assert graph["model"]["metrics"]["test_accuracy"] == manifest["metrics"]["accuracy"]
    assert graph["decision"]["decision"] == "promote"
    assert graph["served"][0]["by"] == "gate"


def test_its_text_has_the_same_steps(retrained: Checkout) -> None:
    output = retrained.run("lineage", "1").stdout
    for step in ("data", "code", "run", "trials", "model", "decision", "served"):
        assert f"\n {step} " in output
    assert "1,293 train, 144 validation, 360 test examples; 0 of the training examples are feedback" in output


def test_its_picture_is_a_chart_of_the_steps(retrained: Checkout) -> None:
    first, *others = retrained.run("lineage", "1", "--mermaid").stdout.splitlines()
    assert first == "flowchart TD"
    assert [line.strip() for line in others if "-->" in line] == [
        "data --> code",
        "code --> run",
        "run --> trials",
        "trials --> model",
        "model --> decision",
        "decision --> served",
    ]


def test_its_event_is_sent_to_a_catalogue(retrained: Checkout) -> None:
    with receivers.webhook() as catalogue:
        environment = {**retrained.environment, "OPENLINEAGE_URL": catalogue.url}
        replace(retrained, environment=environment).python(SEND)
    (event,) = catalogue.bodies
    assert event == json.loads(retrained.run("lineage", "1", "--openlineage").stdout)
    assert event["eventType"] == "COMPLETE"
    assert uuid.UUID(event["run"]["runId"]).hex == event["run"]["facets"]["mnistflow_lineage"]["run"]["id"]
    assert [each["name"] for each in event["inputs"] + event["outputs"]] == ["digits", "digits-classifier"]
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == "1"


def test_a_version_that_does_not_exist(retrained: Checkout) -> None:
    done = retrained.run("lineage", "99", check=False)
    assert done.returncode == 1
    assert "digits-classifier has no version 99" in done.stderr
