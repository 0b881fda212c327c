"""Reviews over HTTP: an admin sees the reports that wait, and the pipeline sees the admin's decisions."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_kit as kit

from mnistflow.data import catalog
from mnistflow.data.feedback import reports
from mnistflow.data.feedback.reports import Report

pytestmark = pytest.mark.slow

PATH = "/feedback/reviews"
KEYS = {"MNISTFLOW_SERVE_KEYS": "client", "MNISTFLOW_SERVE_ADMIN_KEYS": "admin"}
CLIENT, ADMIN = ({"authorization": f"Bearer {key}"} for key in ("client", "admin"))


def decide(server: kit.Server, report: dict[str, Any], decision: str | None, **changes: object) -> httpx.Response:
    review = {name: report[name] for name in ("id", "number", "time", "class_name")} | {"decision": decision}
    return server.client.post(PATH, json=review | changes, headers=ADMIN)


def listed(server: kit.Server, **parameters: int) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(PATH, params=parameters, headers=ADMIN).raise_for_status().json()
    return found


def read(log: Path) -> dict[str, Report]:
    return {report.id: report for report in reports.read(str(log), None, catalog.get("digits"))}


def test_an_admin_reviews_what_clients_have_reported(repository: Path, tmp_path: Path, data: Any, first: Any) -> None:
    images, labels = data[0][:4], data[1][:4]
    log = tmp_path / "inferences.db"
    with kit.Server(repository, "--inference-log", str(log), **KEYS) as server:
        for headers, status in (({}, 401), (CLIENT, 403)):
            assert server.client.get(PATH, headers=headers).status_code == status
            assert server.client.post(PATH, json={}, headers=headers).status_code == status
        assert listed(server) == {"waiting": 0, "reports": []}
        for row, image in enumerate(images):
            headers = CLIENT | {"x-request-id": f"r{row}"}
            server.client.post("/predict", content=image.tobytes(), headers=headers).raise_for_status()
            name = str((labels[row] + (row == 2)) % 10)  # the third report is wrong
            server.client.post(
                "/feedback", json={"id": f"r{row}", "class_name": name}, headers=CLIENT
            ).raise_for_status()

        found = listed(server)
        assert (found["waiting"], len(found["reports"])) == (4, 4)
        doubtful = found["reports"][0]
        assert doubtful["id"] == "r2"
        assert np.array_equal(doubtful["image"], images[2])
        probabilities = first.probabilities(images[2:3])[0]
        assert doubtful["answered"] == str(probabilities.argmax())
        assert doubtful["probability"] == pytest.approx(probabilities[(labels[2] + 1) % 10], abs=1e-5)
        assert len(doubtful["source"]) == 8
        assert [one["id"] for one in listed(server, limit=1)["reports"]] == ["r2"]
        for limit in ("0", "501", "many"):
            assert server.client.get(PATH, params={"limit": limit}, headers=ADMIN).status_code == 400

        known = {one["id"]: one for one in found["reports"]}
        assert decide(server, known["r0"], "accept").json()["decision"] == "accept"
        assert decide(server, known["r1"], "reject").is_success
        assert decide(server, known["r2"], "accept", class_name=str(labels[2])).is_success
        decided = read(log)
        assert [decided[f"r{row}"].decision for row in range(4)] == ["accept", "reject", "accept", None]
        assert decided["r2"].class_name == str(labels[2])
        assert listed(server)["waiting"] == 1
        server.client.post(
            "/feedback", json={"id": "r1", "class_name": known["r1"]["class_name"]}, headers=CLIENT
        ).raise_for_status()
        assert read(log)["r1"].decision == "reject"  # the same label again needs no other review
        assert decide(server, known["r1"], None).is_success
        assert read(log)["r1"].decision is None

        server.client.post("/feedback", json={"id": "r3", "class_name": "9"}, headers=CLIENT).raise_for_status()
        refused = decide(server, known["r3"], "reject")
        assert (refused.status_code, read(log)["r3"].decision) == (409, None)
        assert decide(server, known["r3"] | {"id": "nobody"}, "reject").status_code == 404
        assert decide(server, known["r1"], "accept", class_name="x").status_code == 400


@pytest.mark.hostile
def test_what_is_no_review_is_refused(repository: Path, tmp_path: Path) -> None:
    good = {"id": "r", "number": 0, "time": 1.5, "decision": "accept", "class_name": "3"}
    with kit.Server(repository, "--inference-log", str(tmp_path / "inferences.db"), **KEYS) as server:
        for change in (
            {"number": -1},
            {"number": 2**31},
            {"number": True},
            {"time": "now"},
            {"decision": "maybe"},
            {"decision": ["accept"]},
            {"class_name": 3},
            {"more": 1},
        ):
            assert server.client.post(PATH, json=good | change, headers=ADMIN).status_code == 400
        for body in (b"", b"[]", b"{", b'{"id": "r"}'):
            assert server.client.post(PATH, content=body, headers=ADMIN).status_code == 400
        for limit in ("0", "501", "-1", "x", "1e2", "\N{SUPERSCRIPT TWO}", "9" * 400):
            assert server.client.get(PATH, params={"limit": limit}, headers=ADMIN).status_code == 400
        assert server.client.post(PATH, json=good, headers=ADMIN).status_code == 404
        assert listed(server) == {"waiting": 0, "reports": []}
    with kit.Server(repository, **KEYS) as server:
        assert server.client.get(PATH, headers=ADMIN).status_code == 503
