"""Promotion, rollback and rollouts on a real MLflow store in SQLite."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import stores
from configured import configured
from mlflow import MlflowClient

from flows.cli.status_lines import status_lines
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import aliases, history, promotion, rollouts, status, versions
from mnistflow.registry.gate.judgement import Judgement
from mnistflow.registry.gate.verdict import Verdict
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Version
from mnistflow.tracking import runs
from mnistflow.tracking.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    folder = tmp_path_factory.mktemp("promotion")
    stores.copy_mlflow(folder)
    paths = Paths(folder, folder)
    with configured(paths):
        yield paths


@pytest.fixture
def dataset(request: pytest.FixtureRequest) -> str:
    """A data set of each test's own."""
    return f"own_{sum(request.node.name.encode())}_{len(request.node.name)}"


@pytest.fixture
def name(dataset: str) -> str:
    return versions.model_name(dataset)


@pytest.fixture
def made(paths: Paths, dataset: str, name: str) -> list[Version]:
    """Versions 1 to 4 of a model, published, none of them champion."""
    client = MlflowClient()
    client.create_registered_model(name)
    made = []
    for number in range(1, 5):
        run = runs.start(paths, dataset, f"run {number}", kind="retrain")
        run.finish()
        folder = paths.models / name / str(number)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(f"{name} {number}".encode())
        (folder / "probe.npz").write_bytes(b"")
        model_json = {
            "name": name,
            "version": number,
            "run_id": run.run_id,
            "task": "image_classification",
            "dataset": dataset,
            "metrics": {"accuracy": 0.9},
            "sha256": sha256((folder / "model.onnx").read_bytes()).hexdigest(),
            "inputs": [],
            "outputs": [],
        }
        (folder / "model.json").write_text(json.dumps(model_json))
        client.create_model_version(name, "mlflow-artifacts:/", run.run_id, {"mnistflow.model": json.dumps(model_json)})
        made.append(versions.find(name, number))
    return made


def aliased(name: str) -> dict[str, int]:
    return {alias: version.number for alias, version in versions.by_alias(name).items()}


def test_a_rejected_version_never_becomes_challenger(paths: Paths, name: str, made: list[Version]) -> None:
    promotion.apply(paths, made[0], Judgement(Verdict("promote", ()), None))
    promotion.apply(paths, made[1], Judgement(Verdict("hold", ("better, but not significantly",)), 1))
    promotion.apply(paths, made[2], Judgement(Verdict("reject", ("accuracy is below the floor",)), 1))
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 2}
    promotion.apply(paths, made[3], Judgement(Verdict("hold", ("not better",)), 1))
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 4}


def test_what_beat_another_champion_than_the_present_one_is_not_promoted(
    paths: Paths, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    better = Judgement(Verdict("promote", ("better",)), 1)
    promotion.apply(paths, made[1], better)
    with pytest.raises(RegistryError, match="is version 2 now, and was version 1 when this was decided"):
        promotion.apply(paths, made[2], better)
    promotion.apply(paths, made[1], better)  # tried again after it was done
    assert aliased(name) == {CHAMPION: 2, PREVIOUS: 1}


def test_repeated_rollbacks_go_further_back_and_end(paths: Paths, name: str, made: list[Version]) -> None:
    for version in made:
        promotion.make_champion(paths, version, "gate")
    assert aliased(name) == {CHAMPION: 4, PREVIOUS: 3}
    served = []
    for _ in range(3):
        served.append(promotion.rollback(paths, name).number)
        assert publisher.published_champion(paths, name) == served[-1]
    assert served == [3, 2, 1]
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 4}
    with pytest.raises(RegistryError, match="has no earlier champion"):
        promotion.rollback(paths, name)
    assert aliased(name)[CHAMPION] == 1


def test_what_was_rolled_back_comes_back_by_a_promotion_only(paths: Paths, name: str, made: list[Version]) -> None:
    promotion.make_champion(paths, made[0], "gate")
    promotion.promote(paths, name, 2)
    promotion.rollback(paths, name)
    with pytest.raises(RegistryError, match="has no earlier champion"):
        promotion.rollback(paths, name)
    assert versions.find(name, 2).is_overruled
    promotion.promote(paths, name, 2)
    promotion.make_champion(paths, made[2], "gate")
    assert promotion.rollback(paths, name).number == 2


def test_a_champion_chosen_in_mlflow_is_obeyed_and_recorded(paths: Paths, name: str, made: list[Version]) -> None:
    promotion.make_champion(paths, made[0], "gate")
    promotion.make_champion(paths, made[1], "gate")
    aliases.set_challenger(made[2])
    MlflowClient().set_registered_model_alias(name, CHAMPION, "3")
    assert reconciliation.reconcile(paths, name)
    assert publisher.published_champion(paths, name) == 3
    assert aliased(name) == {CHAMPION: 3, PREVIOUS: 2}
    assert versions.find(name, 3).history[-1].endswith("became champion by MLflow")
    assert versions.find(name, 2).is_overruled
    assert not reconciliation.reconcile(paths, name)
    assert [promotion.rollback(paths, name).number for _ in range(2)] == [2, 1]


def test_a_promotion_after_a_choice_in_mlflow_moves_the_alias(paths: Paths, name: str, made: list[Version]) -> None:
    promotion.make_champion(paths, made[0], "gate")
    MlflowClient().set_registered_model_alias(name, CHAMPION, "2")
    assert promotion.promote(paths, name, 1).number == 1
    assert aliased(name) == {CHAMPION: 1, PREVIOUS: 2}
    assert publisher.published_champion(paths, name) == 1
    assert promotion.rollback(paths, name).number == 2
    MlflowClient().set_registered_model_alias(name, CHAMPION, "4")
    assert promotion.rollback(paths, name).number == 2


def register_in_mlflow(name: str, run_id: str) -> int:
    """Register a version as a click on "Register model" in MLflow's UI does."""
    return int(MlflowClient().create_model_version(name, "mlflow-artifacts:/", run_id).version)


def test_a_version_that_mlflow_has_registered_stops_nothing(
    paths: Paths, dataset: str, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    number = register_in_mlflow(name, made[1].run_id)
    assert [version.number for version in versions.all_versions(name)] == [4, 3, 2, 1]
    assert promotion.promote(paths, name, 2).number == 2
    assert promotion.rollback(paths, name).number == 1
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 2}
    with pytest.raises(RegistryError, match=f"{name} version {number} was not registered by mnistflow") as raised:
        promotion.promote(paths, name, number)
    assert len(str(raised.value).splitlines()) == 1 and "Delete that version in MLflow" in raised.value.fix
    assert [error.problem for error in versions.foreign_versions(name)] == [raised.value.problem]
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 2}


def test_a_champion_that_mlflow_has_registered_is_named_until_it_is_replaced(
    paths: Paths, dataset: str, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    promotion.make_champion(paths, made[1], "gate")
    number = register_in_mlflow(name, made[2].run_id)
    foreign = f"{name} version {number}, which is champion, was not registered by mnistflow"
    MlflowClient().set_registered_model_alias(name, CHAMPION, str(number))
    for _ in range(2):
        with pytest.raises(RegistryError, match=foreign):
            reconciliation.reconcile(paths, name)
    with pytest.raises(RegistryError, match=foreign):
        versions.version_of_alias(name, CHAMPION)
    assert publisher.published_champion(paths, name) == 2
    fix = "`mnistflow promote VERSION` makes another version the champion."
    assert ("champion", f"{foreign}. {fix}") in shown(paths, dataset)
    assert promotion.rollback(paths, name).number == 2
    MlflowClient().set_registered_model_alias(name, CHAMPION, str(number))
    assert promotion.promote(paths, name, 3).number == 3
    assert aliased(name) == {CHAMPION: 3, PREVIOUS: 2}
    assert not MlflowClient().get_model_version(name, str(number)).tags


def test_status_of_a_champion_that_was_deleted_in_mlflow(
    paths: Paths, dataset: str, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    MlflowClient().delete_model_version(name, "1")
    texts = [text for _, text in shown(paths, dataset)]
    assert "version 1 still serves, but MLflow has it no longer: `mnistflow promote VERSION`" in texts
    assert not any("promote 1" in text or "damaged" in text for text in texts)
    assert promotion.promote(paths, name, 2).number == 2


def test_a_move_that_was_begun_is_completed_or_forgotten(paths: Paths, name: str, made: list[Version]) -> None:
    promotion.make_champion(paths, made[0], "gate")
    begun = aliases.Move(2, 1, "hand", history.line("hand", reason="killed"))
    begun.write(name)
    assert not reconciliation.reconcile(paths, name)
    assert [len(version.history) for version in versions.all_versions(name)] == [0, 0, 0, 1]
    assert aliased(name) == {CHAMPION: 1}
    begun.write(name)
    MlflowClient().set_registered_model_alias(name, CHAMPION, "2")
    for _ in range(2):
        reconciliation.reconcile(paths, name)
        assert versions.find(name, 2).history == (begun.line,)
        assert aliased(name) == {CHAMPION: 2, PREVIOUS: 1}
        assert versions.find(name, 1).is_overruled


def test_a_registry_of_an_older_mnistflow_is_read_as_it_is(paths: Paths, name: str, made: list[Version]) -> None:
    client = MlflowClient()
    for number in (1, 3):
        client.set_model_version_tag(name, str(number), "mnistflow.history", history.line("gate"))
        client.set_registered_model_alias(name, CHAMPION, str(number))
    assert reconciliation.reconcile(paths, name)
    assert len(versions.find(name, 3).history) == 1
    assert promotion.rollback(paths, name).number == 1


def test_status_shows_who_lags_behind_the_alias(paths: Paths, dataset: str, name: str, made: list[Version]) -> None:
    promotion.make_champion(paths, made[0], "gate")
    MlflowClient().set_registered_model_alias(name, CHAMPION, "2")
    lag = "the champion is version 2, but version 1 is published here: `mnistflow follow --once` publishes it here"
    assert any(label == "lags" and text.startswith(lag) for label, text in shown(paths, dataset))
    MlflowClient().delete_registered_model_alias(name, CHAMPION)
    assert ("champion", "none: MLflow has no alias `champion`") in shown(paths, dataset)
    assert not reconciliation.reconcile(paths, name)
    assert promotion.promote(paths, name, 1).number == 1
    assert aliased(name) == {CHAMPION: 1}


def shown(paths: Paths, dataset: str) -> list[tuple[str, str]]:
    return list(status_lines(status.read(paths, dataset)))


def test_a_rejected_version_that_is_rolled_back_does_not_become_challenger(
    paths: Paths, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    aliases.record_decision(made[1], "reject", ("accuracy is below the floor",), "key")
    promotion.promote(paths, name, 2)
    promotion.rollback(paths, name)
    assert aliased(name) == {CHAMPION: 1}


def without_time(rollout: Rollout | None) -> Rollout | None:
    """Return a rollout without its time."""
    return rollout and replace(rollout, since="")


def test_a_rollout_is_of_the_chosen_version(paths: Paths, name: str, made: list[Version]) -> None:
    with pytest.raises(RegistryError, match="has no champion"):
        promotion.change_rollout(paths, name, canary=0.1, number=3)
    promotion.make_champion(paths, made[0], "gate")
    with pytest.raises(RegistryError, match="has no challenger to roll out"):
        promotion.change_rollout(paths, name, canary=0.1)
    with pytest.raises(RegistryError, match="version 1 is the champion itself"):
        promotion.change_rollout(paths, name, shadow=True, number=1)
    with pytest.raises(RegistryError, match="has no version 9"):
        promotion.change_rollout(paths, name, shadow=True, number=9)
    aliases.set_challenger(made[1])
    assert without_time(promotion.change_rollout(paths, name, canary=0.1, number=3)) == Rollout(3, 0.1)
    with pytest.raises(RegistryError, match="version 3 is in a rollout, and the challenger is version 2 now"):
        promotion.change_rollout(paths, name, shadow=True)
    with pytest.raises(RegistryError, match="version 3 is in a rollout, not version 4"):
        promotion.change_rollout(paths, name, shadow=True, number=4)
    assert without_time(promotion.change_rollout(paths, name, shadow=True, number=3)) == Rollout(3, 0.1, shadow=True)
    assert publisher.read_rollout(paths, name) == rollouts.read(name)
    assert aliased(name) == {CHAMPION: 1, CHALLENGER: 2}
    promotion.change_rollout(paths, name, canary=0.0)
    assert promotion.change_rollout(paths, name, shadow=False) is None
    assert publisher.read_rollout(paths, name) is None


def test_a_rollout_ends_with_the_deletion_of_its_version(
    paths: Paths, dataset: str, name: str, made: list[Version]
) -> None:
    promotion.make_champion(paths, made[0], "gate")
    for number in (2, 3, 4):
        promotion.change_rollout(paths, name, canary=0.1, number=number)
        assert publisher.read_rollout(paths, name)
        MlflowClient().delete_model_version(name, str(number))
        assert not any(label == "rollout" for label, _ in shown(paths, dataset))
        if number == 2:
            assert reconciliation.follow(paths, name)  # as a follower does, which writes nothing to the registry
            assert publisher.read_rollout(paths, name) is None and rollout_tag(name)
        if number < 4:
            reconciliation.reconcile(paths, name)
            assert publisher.read_rollout(paths, name) is rollout_tag(name) is None
            assert not reconciliation.reconcile(paths, name)
    assert promotion.change_rollout(paths, name, canary=0.0) is None
    assert publisher.read_rollout(paths, name) is rollout_tag(name) is None


def rollout_tag(name: str) -> str | None:
    return MlflowClient().get_registered_model(name).tags.get(rollouts.ROLLOUT_TAG)


def test_the_last_run_is_the_one_that_a_later_retraining_confirmed(
    paths: Paths, dataset: str, made: list[Version]
) -> None:
    killed = runs.start(paths, dataset, "killed", kind="retrain")
    killed.finish("KILLED")
    shown = status.read(paths, dataset).last_run
    assert shown and (shown.name, shown.status, shown.confirmed) == ("killed", "KILLED", None)
    status.record_unchanged(paths, dataset, made[3].run_id)
    shown = status.read(paths, dataset).last_run
    assert shown and (shown.run_id, shown.name, shown.status) == (made[3].run_id, "run 4", "FINISHED")
    assert shown.confirmed
    texts = [text for _, text in status_lines(status.read(paths, dataset))]
    assert f"a retraining at {shown.confirmed} found nothing to do" in texts


def test_status_before_the_first_run_is_empty_and_creates_nothing(paths: Paths) -> None:
    now = status.read(paths, "never_used")
    assert (now.champion, now.challenger, now.previous, now.last_run) == (None, None, None, None)
    assert open_store().experiment_id("never_used") is None


def test_a_store_that_does_not_exist_yet_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert status.read(Paths(tmp_path, tmp_path), "mnist").champion is None
    assert list(tmp_path.iterdir()) == []
