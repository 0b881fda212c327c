"""A model repository follows the registry, whichever machine promotes, and whatever becomes of the registry."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import services
import serving_kit as kit
import tracking_server
import waiting
from checkouts import Checkout, make_checkout, write_params
from cluster import free_port, wait_for_port
from mlflow import MlflowClient
from tracking_server import TrackingServer
from waiting import wait_until

from mnistflow.paths import Paths

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAME = "digits-classifier"


@dataclass(frozen=True)
class Team:
    """A tracking server with versions 1 to 4, and two checkouts that use it, as on two machines."""

    mlflow: TrackingServer
    one: Checkout
    other: Checkout


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    images, _ = kit.digits()
    with tracking_server.tracking_server(folder / "mlflow") as mlflow, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
        for seed in range(4):
            tracking_server.register(Paths(folder, folder), "digits", kit.untrained(seed), images)
        with (
            closing(make_checkout(folder / "one", MLFLOW_TRACKING_URI=mlflow.url)) as one,
            closing(make_checkout(folder / "other", MLFLOW_TRACKING_URI=mlflow.url)) as other,
        ):
            for checkout in (one, other):
                write_params(checkout, **{"fetch.dataset": "digits"})
            yield Team(mlflow, one, other)


def published(checkout: Checkout) -> set[str]:
    return {path.name for path in (checkout.folder / "var/models" / NAME).iterdir() if path.name.isdecimal()}


def log(checkout: Checkout) -> str:
    return (checkout.folder / "var/logs/follow.log").read_text()


def artifact_of(team: Team, version: int) -> Path:
    """Return the ONNX file of a version in the artifact store."""
    uri = MlflowClient(team.mlflow.url).get_model_version_download_uri(NAME, str(version))
    found = list(team.mlflow.artifacts.rglob(f"{uri.partition('/models/')[2].partition('/')[0]}/**/model.onnx"))
    assert len(found) == 1, (uri, found)
    return found[0]


def test_a_promotion_on_one_machine_is_answered_by_the_server_of_another(team: Team) -> None:
    port = free_port()
    server = team.other.start("serve", "--follow", "--port", str(port))
    running = services.ready(server)
    assert "no model yet" in running.output
    request = kit.inference_request(kit.digits()[0][:1])

    def answers(version: int) -> bool:
        response = waiting.post(f"http://127.0.0.1:{port}/v2/models/{NAME}/infer", json=request)
        return bool(response.is_success and response.json()["model_version"] == str(version))

    team.one.run("promote", "1")
    wait_until(lambda: "champion is version 1" in log(team.other), server)
    wait_for_port(port, server)
    wait_until(lambda: answers(1), server)
    team.one.run("canary", "10%", "--version", "2")
    wait_until(lambda: "version 2 answers 10% of the requests" in log(team.other), server)
    team.one.run("canary", "off")
    team.one.run("promote", "2")
    wait_until(lambda: answers(2), server)

    team.mlflow.kill()
    wait_until(lambda: "the published version continues to serve: the MLflow server at" in log(team.other), server)
    health = team.other.folder / "var/models/.follow.json"
    polled = health.stat().st_mtime_ns
    wait_until(lambda: health.stat().st_mtime_ns > polled, server)
    assert answers(2)
    team.mlflow.start()
    team.one.run("promote", "1")
    wait_until(lambda: answers(1), server)
    assert log(team.other).count("continues to serve") == 1
    assert log(team.other).count("following again") == 1
    # Of two models with the same problem, one is named at both times.
    assert len(set(re.findall(r"(\S+): (?:the published version|following again)", log(team.other)))) == 1

    damaged_files_are_refused(team, answers)
    family = running.stop(signal.SIGTERM)
    assert family == []
    assert server.returncode == 0


def damaged_files_are_refused(team: Team, answers: Callable[[int], bool]) -> None:
    """Damage version 3 where it is stored; make it champion as a machine would that has it already."""
    file = artifact_of(team, 3)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    MlflowClient(team.mlflow.url).set_registered_model_alias(NAME, "champion", "3")
    wait_until(lambda: "sha256" in log(team.other))
    assert answers(1)
    assert "3" not in published(team.other)
    file.write_bytes(content)
    wait_until(lambda: answers(3))


def test_once_fills_a_new_repository_and_keeps_what_is_needed(team: Team, tmp_path: Path) -> None:
    with closing(make_checkout(tmp_path / "new", MLFLOW_TRACKING_URI=team.mlflow.url)) as new:
        missing = new.run("follow", "--once", "--dataset", "vectors", check=False)
        assert missing.returncode == 1
        assert "the registry has no champion: vectors-classifier" in missing.stderr
        follow = ("follow", "--once", "--keep", "0", "--dataset", "digits")
        for number in (1, 2, 4):
            team.one.run("promote", str(number))
            (line,) = [line for line in new.run(*follow).stdout.splitlines() if "champion" in line]
            assert re.fullmatch(rf"\S+Z {NAME}: champion is version {number}(, instead of \d)?", line)
            aliases = MlflowClient(team.mlflow.url).get_registered_model(NAME).aliases
            assert {str(number)} <= published(new) <= set(map(str, aliases.values()))
        assert new.run(*follow).stdout == ""
        health = json.loads((new.folder / "var/models/.follow.json").read_text())
        assert health["models"] == {NAME: {"champion": 4, "problem": None}}
