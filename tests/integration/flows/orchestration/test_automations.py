"""Automations of automations.yaml on a real Prefect server: an event of mnistflow reaches a webhook through a block."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import receivers
import waiting
import yaml

from flows.orchestration import automations, flow_runs, notifications
from flows.orchestration.notifications import Notification
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths

pytestmark = pytest.mark.slow


@pytest.fixture
def name() -> str:
    """Name of a model, a block and an automation: other tests use the same server."""
    return f"automations-{uuid4().hex[:8]}"


@pytest.fixture
def webhook(name: str, prefect_api: str) -> Iterator[receivers.Webhook]:
    """A receiver of what the server sends through the block `custom-webhook/<name>`."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with receivers.webhook() as started:
        with flow_runs.api_client(prefect_api):
            block = {"name": name, "url": started.url, "json_data": {"text": "{{body}}"}}
            CustomWebhookNotificationBlock.model_validate(block).save(name)
        yield started


def rule(name: str, model: str, block: str, **changed: Any) -> dict[str, Any]:
    """Return an automation that posts the text of each rejection of a model."""
    action = {"type": "send-notification", "block_document_id": block, "body": "{{ event.payload.text }}"}
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "expect": ["mnistflow.rejected"],
        "match": {"prefect.resource.id": f"mnistflow.{model}"},
        "threshold": 1,
        "within": 0,
    }
    return {"name": name, "trigger": trigger, "actions": [action], **changed}


def write(folder: Path, *rules: dict[str, Any]) -> list[automations.Automation]:
    """Write an automations.yaml, and return what is read from it."""
    (folder / automations.FILE).write_text(yaml.safe_dump({"automations": list(rules)}))
    found = automations.read(Paths(folder, folder))
    assert found is not None
    return found


def at_server(api: str, name: str) -> list[dict[str, Any]]:
    answer = httpx.post(f"{api}/automations/filter", json={"automations": {"name": {"any_": [name]}}})
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


def test_an_automation_of_the_file_acts_on_an_event_until_the_file_no_longer_has_it(
    tmp_path: Path, name: str, prefect_api: str, webhook: receivers.Webhook
) -> None:
    block = f"custom-webhook/{name}"
    by_hand = {**rule(f"{name} by hand", name, block), "actions": [{"type": "do-nothing"}]}
    httpx.post(f"{prefect_api}/automations/", json=by_hand).raise_for_status()

    sound, nameless = rule(name, name, block), rule("no such block", name, "custom-webhook/none")
    misspelt = rule("misspelt", name, block, trigger={"type": "event", "posture": "Eager"})
    missing, wrong = automations.register(prefect_api, write(tmp_path, sound, nameless, misspelt))
    assert missing == (
        "automation 'no such block' is not registered: the Prefect server has no block document custom-webhook/none."
        " Create it at the server, or correct the name in automations.yaml."
    )
    assert wrong.startswith("automation 'misspelt' is not registered: HTTP status 422: trigger.")

    sent = Notification("rejected", name, "rejected: version 2\naccuracy - too low")

    notifications.send(sent, prefect_api)
    waiting.wait_until(lambda: webhook.bodies)
    assert webhook.bodies == [{"text": sent.text}]

    (known,) = at_server(prefect_api, name)
    httpx.patch(f"{prefect_api}/automations/{known['id']}", json={"enabled": False}).raise_for_status()
    assert automations.register(prefect_api, write(tmp_path, rule(name, name, block, description="changed"))) == []
    (known,) = at_server(prefect_api, name)
    assert (known["description"], known["enabled"]) == ("changed", False)

    assert automations.register(prefect_api, write(tmp_path)) == []
    assert at_server(prefect_api, name) == []
    assert at_server(prefect_api, f"{name} by hand")


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    (problem,) = automations.register("http://127.0.0.1:9/api", write(tmp_path, rule("one", "two", "three/four")))
    assert problem.startswith("automations are not registered: ")


def test_a_file_is_optional_and_refused_in_one_line(tmp_path: Path) -> None:
    assert automations.read(Paths(tmp_path, tmp_path)) is None
    one = rule("one", "two", "three/four")
    for rules, message in (
        ([one, one], "two automations have the same name"),
        ([{"name": "one"}], "automations.0.trigger: Field required"),
        (["one"], "automations.0: "),
    ):
        with pytest.raises(ConfigError, match=message):
            write(tmp_path, *rules)
    (tmp_path / automations.FILE).write_text("automations: [")
    with pytest.raises(ConfigError) as refused:
        automations.read(Paths(tmp_path, tmp_path))
    assert len(str(refused.value).splitlines()) == 1
