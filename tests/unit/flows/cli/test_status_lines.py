"""Lines of `mnistflow status` about the champion and the prediction servers."""

from dataclasses import replace

from flows.cli.status_lines import after_publishing, status_lines
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.status import Outputs, Status, VersionState
from mnistflow.server_client import ModelStatus, RolloutCalls, RolloutStatus, Server

CALLS = {"champion": RolloutCalls(1200, 0, 0.5), "challenger": RolloutCalls(1180, 60, 0.7)}
TRIED = RolloutStatus(4, 0.1, True, "withdrawn: 60 calls failed", CALLS, 1120, 0.985, 3)


STATE = Status(
    dataset="mnist",
    champion=None,
    champion_problem="",
    challenger=None,
    previous=None,
    last_run=None,
    outputs=None,
    serving=3,
    serving_is_registered=True,
    serving_is_whole=True,
    model_repository="var/models",
    rollout=Rollout(4, 0.1, True),
    servers=(),
)
CHAMPION = VersionState(3, "accuracy", 0.99, 0.99, "test accuracy 99.00%", "0123456789", "promote", (), ())


def shown_by(state: Status) -> str:
    return "\n".join(f"{name}: {text}" for name, text in status_lines(state))


def lines(*served: ModelStatus | None) -> str:
    servers = [Server(f"http://localhost:{8000 + number}", one) for number, one in enumerate(served)]
    return shown_by(replace(STATE, servers=tuple(servers)))


def test_refused_versions_and_the_rollout_are_shown() -> None:
    shown = lines(ModelStatus(3, {5: "model.onnx is missing"}, TRIED))

    assert "refused: version 5: model.onnx is missing" in shown
    assert "rollout of version 4: withdrawn: 60 calls failed" in shown
    assert "challenger: 1,180 calls, 60 failed" in shown
    assert "98.50% of 1,120" in shown


def test_a_server_that_refuses_the_first_champion_is_shown_with_the_reason() -> None:
    shown = lines(ModelStatus(None, {1: "model.onnx is missing"}, None))

    assert "server: http://localhost:8000, serves no version" in shown
    assert "refused: version 1: model.onnx is missing" in shown


def test_a_server_that_requires_a_key_is_shown() -> None:
    assert "requires a key: set MNISTFLOW_SERVE_KEYS" in lines(ModelStatus(None, {}, None, wants_key=True))


def test_servers_that_do_not_answer_are_shown() -> None:
    assert lines(None).endswith("server: no answer from http://localhost:8000")
    new = shown_by(replace(STATE, serving=None, servers=(Server("http://localhost:8000", None),)))
    assert "server: no answer from http://localhost:8000: a server waits for the first model" in new
    shown = lines(None, ModelStatus(3, {}, None))
    assert "server: http://localhost:8001, version 3\nserver: no answer from http://localhost:8000" in shown
    assert "starts one" not in shown
    assert "server: none started from this checkout is running: `mnistflow serve` starts one" in lines()


def test_a_retraining_names_the_servers_of_its_champion_or_the_next_command() -> None:
    here, there = Server("http://localhost:8000", ModelStatus(3, {}, None)), Server("http://localhost:8001", None)

    def after(champion: int, *servers: Server) -> str:
        return after_publishing("digits-classifier", champion, servers)

    page = "http://localhost:8000/v2/models/digits-classifier"
    assert after(3) == "Next: make up"
    assert after(3, here, there) == f"Served at {page}"
    assert after(4, here, there) == f"Within seconds, served at {page}"
    assert after(3, there) == "No answer yet from http://localhost:8001"


def test_the_reason_of_the_gate_is_shown_once() -> None:
    moment = "2999-01-01T00:00:00.001+00:00"
    history = (f"{moment} became champion by gate (ada@laptop): no champion yet; it is light",)
    champion = replace(CHAMPION, reasons=("no champion yet", "it is light"), history=history)
    shown = shown_by(replace(STATE, champion=champion))
    assert f"gate: promote: no champion yet; it is light\n: {moment} became champion by gate (ada@laptop)\n" in shown
    again = replace(champion, history=(*history, f"{moment} became champion by hand: faster"))
    assert "became champion by hand: faster" in shown_by(replace(STATE, champion=again))


def test_what_lags_behind_is_shown() -> None:
    published = shown_by(replace(STATE, champion=CHAMPION))
    assert "published: version 3 in var/models\nrollout" in published
    lagging = shown_by(replace(STATE, champion=replace(CHAMPION, version=2)))
    assert "lags: the champion is version 2, but version 3 is published here: `mnistflow follow --once`" in lagging
    assert "lags" not in lines(ModelStatus(3, {}, None))
    servers = (
        Server("http://localhost:8000", ModelStatus(1, {}, None)),
        Server("http://localhost:8001", ModelStatus(3, {}, None)),
    )
    behind = shown_by(replace(STATE, champion=CHAMPION, servers=servers))
    assert "lags: the champion is version 3, but http://localhost:8000 answers with 1: a server follows" in behind
    both = shown_by(replace(STATE, champion=replace(CHAMPION, version=4), servers=servers[:1]))
    assert "but version 3 is published here and http://localhost:8000 answers with 1: `mnistflow follow" in both


def test_an_alias_that_was_removed_is_shown() -> None:
    assert "version 3 still serves: `mnistflow promote 3` makes it champion again" in shown_by(STATE)


def test_no_figure_of_another_state_of_the_checkout_is_shown() -> None:
    outputs = Outputs("mnist", "test accuracy 99.00%", None)
    assert "outputs: mnist, test accuracy 99.00%, of params.yaml and dvc.lock" in shown_by(
        replace(STATE, outputs=outputs)
    )
    other = shown_by(replace(STATE, outputs=Outputs("mnist", None, "dvc.lock and params.yaml differ in `train`")))
    assert "outputs: inconsistent: dvc.lock and params.yaml differ in `train`; `mnistflow retrain`" in other
