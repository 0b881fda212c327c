"""Monitoring as a user drives it: by the command, and by the flow, which starts a retraining after an alarm."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import receivers
import waiting
from checkouts import ROOT, Checkout, write_params

from mnistflow import splits
from mnistflow.paths import Paths
from serving.inference_log.store import Feedback, LogStore

pytestmark = pytest.mark.slow

NAME = "digits-classifier"
LOOK = "from flows.monitor import monitor; monitor()"
# Registers a version that has learned from a few images, and promotes it as the gate would.
PROMOTE_A_BAD_ONE = """
import sys
sys.path.insert(0, sys.argv[1])
import serving_kit, tracking_server
from mnistflow import environment, splits
from mnistflow.paths import Paths
from mnistflow.registry import promotion
from mnistflow.registry.repository import reconciliation
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.gate.judgement import Judgement

paths = Paths.locate()
environment.configure(paths)
train = splits.load(paths.prepared).train
few = serving_kit.linear_classifier(train.inputs[:60], train.targets[:60])
version = tracking_server.register(paths, "digits", few, train.inputs)
with reconciliation.acquire_lease(version.name):
    promotion.apply(paths, version, Judgement(Verdict("promote", ("made bad on purpose",)), 1))
"""


@pytest.fixture
def deployment(prefect_api: str) -> Iterator[str]:
    """A deployment called retrain/weekly, whose runs nothing executes."""
    flow = waiting.post(f"{prefect_api}/flows/", json={"name": "retrain"}).raise_for_status().json()
    wanted = {"name": "weekly", "flow_id": flow["id"]}
    made = waiting.post(f"{prefect_api}/deployments/", json=wanted).raise_for_status().json()
    yield made["id"]
    httpx.delete(f"{prefect_api}/deployments/{made['id']}").raise_for_status()


@pytest.fixture
def eager(retrained: Checkout) -> Iterator[Checkout]:
    """The retrained checkout, which looks at few images and retrains again without a pause, three times a day."""
    params = retrained.folder / "params.yaml"
    original = params.read_bytes()
    eager = {"monitor.window": "100", "monitor.cool_down_hours": "0.0001", "monitor.retrainings_a_day": "3"}
    write_params(retrained, **eager)
    yield retrained
    params.write_bytes(original)


def ask(checkout: Checkout, images: np.ndarray, start: int, labels: Sequence[int] = ()) -> None:
    """Let the champion answer images, and log that as a server does, with feedback on the first ones."""
    folder = checkout.folder / "var/models" / NAME
    version = int((folder / "champion").read_text())
    session = onnxruntime.InferenceSession((folder / str(version) / "model.onnx").read_bytes())
    answers = session.run(None, {"images": images})[0]
    shape, classes = json.dumps(images.shape[1:]).replace(" ", ""), json.dumps([*map(str, range(10))])
    rows = [
        (str(start + number), 0, time.time(), NAME, version, image.tobytes(), shape, classes, json.dumps(answer))
        for number, (image, answer) in enumerate(zip(images, answers.tolist(), strict=True))
    ]
    store = LogStore(str(checkout.folder / "var/inferences.db"))
    store.insert(rows)
    for number, label in enumerate(labels):
        store.record_feedback(Feedback(str(start + number), 0, str(label)), "")
    store.close()


def requested(api: str, deployment: str) -> list[dict[str, Any]]:
    wanted = {"deployments": {"id": {"any_": [deployment]}}}
    found: list[dict[str, Any]] = waiting.post(f"{api}/flow_runs/filter", json=wanted).raise_for_status().json()
    return found


@pytest.mark.long
def test_drift_is_shown_and_starts_one_retraining(eager: Checkout, prefect_api: str, deployment: str) -> None:
    data = splits.load(Paths(eager.folder, eager.folder).prepared)
    assert "0 images since the last look" in eager.run("monitor").stdout
    ask(eager, data.test.inputs[:200], 0)
    calm = json.loads(eager.run("monitor", "--json").stdout)
    assert (calm["images"], calm["alarms"]) == (200, [])
    assert calm["watch"] is None
    shown = json.loads(eager.run("status", "--json").stdout)
    assert calm["summary"] in shown["monitor"]
    assert shown["watch"].startswith("none")

    with receivers.webhook() as webhook:
        own = {"PREFECT_API_URL": prefect_api, "MNISTFLOW_NOTIFY_WEBHOOK": webhook.url}
        scheduled = replace(eager, environment={**eager.environment, **own})
        ask(eager, 255 - data.test.inputs[:200], 1000)
        scheduled.tool("python", "-c", LOOK)
        (run,) = requested(prefect_api, deployment)
        assert run["parameters"]["dataset"] == "digits"
        assert run["parameters"]["note"].startswith("Retraining by an alarm at ")
        waiting.wait_until(lambda: any(text.startswith("alarm: digits-classifier") for text in webhook.texts))
        assert "ALARM" in eager.run("status").stdout

        scheduled.tool("python", "-c", LOOK)  # it waits for the retraining
        assert len(requested(prefect_api, deployment)) == 1
        failed = {"state": {"type": "FAILED", "name": "Failed"}, "force": True}
        waiting.post(f"{prefect_api}/flow_runs/{run['id']}/set_state", json=failed).raise_for_status()
        scheduled.tool("python", "-c", LOOK)
        assert len(requested(prefect_api, deployment)) == 2
        (again,) = (one for one in requested(prefect_api, deployment) if one["id"] != run["id"])
        done = {"state": {"type": "COMPLETED", "name": "Completed"}, "force": True}
        waiting.post(f"{prefect_api}/flow_runs/{again['id']}/set_state", json=done).raise_for_status()
        scheduled.tool("python", "-c", LOOK)  # nobody has reported a label since
        assert len(requested(prefect_api, deployment)) == 2
        waiting.wait_until(lambda: any("no new data, code or parameters since" in text for text in webhook.texts))
        assert sum(text.startswith("needs a person") for text in webhook.texts) == 1

        scheduled.python(PROMOTE_A_BAD_ONE, str(ROOT / "tests/support"))
        ask(eager, data.test.inputs[:300], 2000, labels=data.test.targets[:300].tolist())
        scheduled.tool("python", "-c", LOOK)
        waiting.wait_until(lambda: any(text.startswith("withdrawn: digits-classifier") for text in webhook.texts))
        assert "rolled back: worse" in json.loads(eager.run("status", "--json").stdout)["watch"]
        assert json.loads(eager.run("history", "--json").stdout)[-1]["because"].startswith("watch: worse")
        assert "watch: version 2 against version 1" in eager.run("monitor").stdout
        assert json.loads(eager.run("monitor", "--json").stdout)["watch"]["outcome"] == "rolled back"
        assert sum(text.startswith("withdrawn") for text in webhook.texts) == 1
