"""Settings: where they come from, and which values and variables are refused."""

from importlib import metadata
from pathlib import Path

import pytest

from serving.errors import StartError
from serving.settings import Settings


def test_the_command_line_wins_over_the_environment_over_the_default():
    environment = {"MNISTFLOW_SERVE_PORT": "9000", "MNISTFLOW_SERVE_REPOSITORY": "/models"}

    settings = Settings.parse(["--port", "7000"], environment)

    assert settings == Settings(port=7000, repository=Path("/models"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "http"),
        ("--port", "-1"),
        ("--port", "65536"),
        ("--poll-seconds", "0"),
        ("--poll-seconds", "nan"),
        ("--drain-seconds", "inf"),
        ("--max-rows", "0"),
        ("--workers", "-1"),
        ("--max-body-bytes", "1e6"),
        ("--grpc-port", "65536"),
        ("--log-format", "xml"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_name(arguments):
    with pytest.raises(StartError, match=arguments[0]):
        Settings.parse(arguments, {})


@pytest.mark.parametrize(
    ("variable", "fix"),
    [
        ("MNISTFLOW_SERVE_POL_SECONDS", "Did you mean MNISTFLOW_SERVE_POLL_SECONDS?"),
        ("MNISTFLOW_SERVE_MAXROWS", "Did you mean MNISTFLOW_SERVE_MAX_ROWS?"),
        ("MNISTFLOW_SERVE_KEY", "Did you mean MNISTFLOW_SERVE_KEYS?"),
        ("MNISTFLOW_SERVE_SOMETHING_ELSE_ALTOGETHER", "Remove it"),
        ("MNISTFLOW_SERVE_SERVICE_HOSTS", "MNISTFLOW_SERVE_"),
    ],
)
def test_an_unknown_variable_is_refused_in_one_line_with_a_suggestion(variable, fix):
    with pytest.raises(StartError) as refused:
        Settings.parse([], {variable: "1"})
    assert variable in str(refused.value)
    assert fix in str(refused.value)
    assert "\n" not in str(refused.value)


def test_variables_of_kubernetes_services_and_of_the_supervisor_are_no_settings():
    environment = {
        "MNISTFLOW_SERVE_SERVICE_HOST": "10.0.0.11",
        "MNISTFLOW_SERVE_SERVICE_PORT": "8000",
        "MNISTFLOW_SERVE_SERVICE_PORT_HTTP": "8000",
        "MNISTFLOW_SERVE_PORT": "tcp://10.0.0.11:8000",
        "MNISTFLOW_SERVE_PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "MNISTFLOW_SERVE_PORT_8000_TCP_PROTO": "tcp",
        "MNISTFLOW_SERVE_PORT_8000_TCP_PORT": "8000",
        "MNISTFLOW_SERVE_PORT_8000_TCP_ADDR": "10.0.0.11",
        # Of a Service called mnistflow-serve-grpc.
        "MNISTFLOW_SERVE_GRPC_SERVICE_HOST": "10.0.0.12",
        "MNISTFLOW_SERVE_GRPC_PORT": "tcp://10.0.0.12:8001",
        "MNISTFLOW_SERVE_GRPC_PORT_8001_TCP_ADDR": "10.0.0.12",
        "MNISTFLOW_SERVE_LISTENER": "5",
        "MNISTFLOW_SERVE_PARENT": "6",
        "MNISTFLOW_SERVE_SHARED": "/tmp/mnistflow",
        "MNISTFLOW_SERVER_SERVICE_HOST": "10.0.0.13",
    }

    assert Settings.parse([], environment) == Settings()
    assert Settings.parse([], environment | {"MNISTFLOW_SERVE_PORT": "9000"}) == Settings(port=9000)


def test_names_are_not_guessed(capsys):
    with pytest.raises(SystemExit):
        Settings.parse(["--po", "7000"], {})
    assert "--po" in capsys.readouterr().err


def test_the_version_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        Settings.parse(["--version"], {})
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mnistflow-serve {metadata.version('mnistflow')}\n"
