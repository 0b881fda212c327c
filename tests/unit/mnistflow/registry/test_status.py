"""Lines of `mnistflow status` about the prediction server."""

from mnistflow.registry import status
from mnistflow.registry.publisher import Rollout
from mnistflow.registry.server_client import Calls, Served
from mnistflow.registry.server_client import Rollout as Tried
from mnistflow.registry.status import Status

CALLS = {"champion": Calls(1200, 0, 0.5), "challenger": Calls(1180, 60, 0.7)}
TRIED = Tried(4, 0.1, True, "withdrawn: 60 calls failed", CALLS, 1120, 0.985, 3)


def lines(served: Served | None) -> str:
    state = Status(
        "mnist", None, None, None, None, 3, True, "var/models", Rollout(4, 0.1, True), "http://localhost:8000", served
    )
    return "\n".join(f"{name}: {text}" for name, text in status.lines(state))


def test_refused_versions_and_the_rollout_are_shown() -> None:
    shown = lines(Served(3, {5: "model.onnx is missing"}, TRIED))

    assert "refused: version 5: model.onnx is missing" in shown
    assert "rollout of version 4: withdrawn: 60 calls failed" in shown
    assert "challenger: 1,180 calls, 60 without an answer" in shown
    assert "98.50% of 1,120" in shown


def test_a_server_that_refuses_the_first_champion_is_shown_with_the_reason() -> None:
    shown = lines(Served(None, {1: "model.onnx is missing"}, None))

    assert "server: http://localhost:8000, serves no version" in shown
    assert "refused: version 1: model.onnx is missing" in shown


def test_a_server_that_requires_a_key_is_shown() -> None:
    assert "requires a key: set MNISTFLOW_SERVE_KEYS" in lines(Served(None, {}, None, wants_key=True))


def test_a_server_that_does_not_answer_is_shown() -> None:
    assert "no answer from http://localhost:8000" in lines(None)
