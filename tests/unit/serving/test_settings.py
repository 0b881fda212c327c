"""Where settings come from, and which values are refused."""

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


def test_names_are_not_guessed(capsys):
    with pytest.raises(SystemExit):
        Settings.parse(["--po", "7000"], {})
    assert "--po" in capsys.readouterr().err


def test_it_tells_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        Settings.parse(["--version"], {})
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mnistflow-serve {metadata.version('mnistflow')}\n"
