"""Environment variables of this project: known names, and hints for misspelt ones."""

import os
from importlib import metadata
from pathlib import Path

import pytest

from mnistflow import environment
from mnistflow.data.sources.mirrors import MIRRORS_VARIABLE
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.server_client import ADDRESS_VARIABLE


def test_the_variables_that_the_code_reads_are_known() -> None:
    notifications = {environment.NOTIFY_WEBHOOK, environment.NOTIFY_EMAIL, environment.NOTIFY_SMTP}
    own = {MIRRORS_VARIABLE, ADDRESS_VARIABLE, environment.RETRY_DELAYS, environment.SIGNING_KEY}
    assert set(environment.KNOWN) == own | notifications
    served = {"MNISTFLOW_SERVE_PORT": "1", "MNISTFLOW_SERVE_ANYTHING": "1"}
    assert environment.misspelt({**dict.fromkeys(environment.KNOWN, ""), **served, "HOME": "/"}) == ""


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MNISTFLOW_MIRROR", "did you mean MNISTFLOW_MIRRORS?"),
        ("MNISTFLOW_RETRY_DELAY", "did you mean MNISTFLOW_RETRY_DELAYS?"),
        ("MNISTFLOW_SERV_", "did you mean MNISTFLOW_SERVE_...?"),
        ("MNISTFLOW_NONSENSE_OF_ANOTHER_KIND", "known: MNISTFLOW_MIRRORS, "),
    ],
)
def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(name: str, hint: str) -> None:
    line = environment.misspelt({name: "x"})
    assert line.startswith(f"nothing reads the environment variable {name} ({hint}")
    assert "\n" not in line


def test_variables_that_kubernetes_sets_for_a_service_of_this_name_are_left_alone() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP", "PORT_8000_TCP_ADDR", "UI_SERVICE_PORT")
    assert environment.misspelt({f"MNISTFLOW_{name}": "x" for name in names}) == ""


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A folder for `configure`, whose variables are restored afterwards."""
    for name in environment.DEFAULTS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return Paths(tmp_path, tmp_path)


def test_empty_variables_count_as_unset(configured: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.DEFAULTS:
        monkeypatch.setenv(name, "")
    environment.configure(configured)
    assert environment.tracking_uri() == f"sqlite:///{configured.checkout}/var/mlflow/mlflow.db"
    assert [name for name in environment.DEFAULTS if not os.environ[name]] == [environment.INFERENCE_LOG]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/tmp/x/mlruns", "is a folder"),
        ("~/mlruns", "is a folder"),
        ("./mlruns", "is a folder"),
        ("mlruns", "is a folder"),
        ("file:///tmp/x/mlruns", "is a folder"),
        ("postgres://me:secret@db/mlflow", "begins with postgres:"),
        ("htp://mlflow.example", "begins with htp:"),
    ],
)
def test_stores_that_mlflow_does_not_have_are_refused(
    configured: Paths, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv(environment.TRACKING_URI, uri)
    with pytest.raises(ConfigError, match=f"^MLFLOW_TRACKING_URI.* {message}") as refused:
        environment.configure(configured)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_stores_of_mlflow_and_plug_ins_are_accepted(
    configured: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "store-0.1.dist-info").mkdir()
    (tmp_path / "store-0.1.dist-info/entry_points.txt").write_text("[mlflow.tracking_store]\nplug-in = store:Store\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert metadata.entry_points(group="mlflow.tracking_store")
    for uri in (
        "http://a:5000",
        "HTTPS://a",
        "postgresql+psycopg://a/b",
        "sqlite:////a.db",
        "databricks",
        "plug-in://a",
    ):
        monkeypatch.setenv(environment.TRACKING_URI, uri)
        environment.configure(configured)
    monkeypatch.setenv(environment.TRACKING_URI, "./mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    environment.configure(configured)


def test_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.retry_delays() == environment.DEFAULT_RETRY_DELAYS
    for text, delays in (("1 2.5", (1.0, 2.5)), ("", ())):
        monkeypatch.setenv(environment.RETRY_DELAYS, text)
        assert environment.retry_delays() == delays
    for text in ("soon", "-1", "inf", "1,2"):
        monkeypatch.setenv(environment.RETRY_DELAYS, text)
        with pytest.raises(ConfigError, match="not a list of seconds"):
            environment.retry_delays()
