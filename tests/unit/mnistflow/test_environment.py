"""Environment variables of this project: known names, and hints for misspelt ones."""

import pytest

from mnistflow import environment
from mnistflow.data.sources.mirrors import MIRRORS_VARIABLE
from mnistflow.errors import ConfigError
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


def test_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.retry_delays() == environment.DEFAULT_RETRY_DELAYS
    for text, delays in (("1 2.5", (1.0, 2.5)), ("", ())):
        monkeypatch.setenv(environment.RETRY_DELAYS, text)
        assert environment.retry_delays() == delays
    for text in ("soon", "-1", "inf", "1,2"):
        monkeypatch.setenv(environment.RETRY_DELAYS, text)
        with pytest.raises(ConfigError, match="not a list of seconds"):
            environment.retry_delays()
