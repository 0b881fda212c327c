"""Notifications reach a webhook and a mailbox, are tried again, and never name an address with its secrets."""

import logging
import threading

import pytest
import receivers
from cluster import free_port

from flows.orchestration import notifications
from flows.orchestration.notifications import Notification
from mnistflow.environment import NOTIFY_EMAIL, NOTIFY_SMTP, NOTIFY_WEBHOOK

REJECTED = Notification("rejected", "digits-classifier", "rejected: digits-classifier version 2\naccuracy – too low")


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NOTIFY_WEBHOOK, NOTIFY_EMAIL, NOTIFY_SMTP):
        monkeypatch.delenv(name, raising=False)


def send(notification: Notification) -> None:
    """Send, and wait for the threads that try to deliver it."""
    notifications.send(notification)
    for thread in threading.enumerate():
        if thread.name.startswith("notify "):
            thread.join()


def test_without_an_address_nothing_is_sent() -> None:
    before = threading.active_count()
    notifications.send(REJECTED)
    assert threading.active_count() == before


def test_a_webhook_gets_the_text_when_it_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with receivers.webhook(refused=1) as webhook:
        monkeypatch.setenv(NOTIFY_WEBHOOK, webhook.url)
        send(REJECTED)
        assert webhook.bodies == [{"text": REJECTED.text}]


def test_every_recipient_gets_an_e_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    with receivers.mail_server() as server:
        monkeypatch.setenv(NOTIFY_SMTP, server.url)
        monkeypatch.setenv(NOTIFY_EMAIL, "ada@example.com, grace@example.com")
        send(REJECTED)
        (message,) = server.messages
    assert message["Subject"] == "mnistflow: rejected: digits-classifier version 2"
    assert message["To"] == "ada@example.com, grace@example.com"
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "accuracy – too low" in body.decode()


@pytest.mark.slow
def test_addresses_that_do_not_answer_are_lines_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(NOTIFY_WEBHOOK, f"http://localhost:{free_port()}/services/secret")
    monkeypatch.setenv(NOTIFY_EMAIL, "ada@example.com")
    monkeypatch.setenv(NOTIFY_SMTP, f"smtp://user:secret@127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING, "mnistflow.notifications"):
        send(REJECTED)
    assert "no notification was sent to localhost: URLError" in caplog.text
    assert "no notification was sent to 127.0.0.1: ConnectionRefusedError" in caplog.text
    assert "secret" not in caplog.text
