"""Notifications of events by webhook, e-mail and Prefect event. A new kind of event is a name in `Event`.

There is one when a run fails, a model is promoted, rejected, rolled back or kept after its watch, traffic drifts, or
something is wrong that only a person can repair. A message goes to a webhook in Slack's format, to e-mail addresses,
and as an event to the Prefect API in use, where automations can react to it. Each is off unless the environment names
its address. A message is sent by a thread of its own and tried again a little; one that does not arrive is a line in
the log. Nothing waits for it but the end of the process, for as long as the attempts take. Addresses may contain
secrets, so the log names only hosts.
"""

from __future__ import annotations

import json
import logging
import os
import smtplib
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import partial
from threading import Thread
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import uuid4

from flows.orchestration import server_address
from mnistflow.environment import NOTIFY_EMAIL, NOTIFY_SMTP, NOTIFY_WEBHOOK

logger = logging.getLogger("mnistflow.notifications")

LOCAL_MAIL_SERVER = "smtp://localhost:25"
DELAYS = (0.0, 1.0, 3.0)  # seconds before each attempt
ATTEMPT_SECONDS = 5.0

# `withdrawn`: the champion was rolled back.
Event = Literal["failed", "promoted", "rejected", "withdrawn", "kept", "alarm", "upkeep"]


@dataclass(frozen=True)
class Notification:
    """What has happened.

    Attributes:
        subject: name of the model, or of the flow that has failed.
        text: the first line is a summary; more lines give the reasons.
        run_id: of the flow run, if it happened in one.
    """

    event: Event
    subject: str
    text: str
    run_id: str | None = None


def send(notification: Notification, api: str | None = None) -> None:
    """Send a notification to every address that is set; returns at once.

    Args:
        api: address of the Prefect API in use, which gets an event.
    """
    for address, deliver in _deliveries(notification, api):
        Thread(target=_attempt, args=(address, deliver), name=f"notify {address}").start()


def _deliveries(notification: Notification, api: str | None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the host of each address, and the function that sends the message there."""
    if webhook := os.environ.get(NOTIFY_WEBHOOK):
        yield _host(webhook), partial(_post, webhook, {"text": notification.text})
    if recipients := os.environ.get(NOTIFY_EMAIL):
        server = os.environ.get(NOTIFY_SMTP) or LOCAL_MAIL_SERVER
        yield _host(server), partial(_mail, urlsplit(server), _message(notification, recipients))
    if api:
        yield _host(api), partial(_post, f"{api}/events", [_event(notification)], server_address.authorization())


def _attempt(address: str, deliver: Callable[[], None]) -> None:
    problem = ""
    for delay in DELAYS:
        time.sleep(delay)
        try:
            deliver()
        except Exception as error:  # whatever it is, the run goes on
            problem = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
        else:
            return
    logger.warning("no notification was sent to %s: %s", address, problem)


def _host(address: str) -> str:
    return urlsplit(address).hostname or "an address without a host"


def _post(url: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError("no http URL")
    content = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), content)  # noqa: S310
    with urllib.request.urlopen(request, timeout=ATTEMPT_SECONDS):  # noqa: S310
        pass


def _message(notification: Notification, recipients: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = f"mnistflow: {notification.text.splitlines()[0]}"
    message["From"] = f"mnistflow@{socket.getfqdn()}"
    message["To"] = recipients
    message.set_content(notification.text)
    return message


def _mail(server: SplitResult, message: EmailMessage) -> None:
    """Send a message by the server of a URL: `smtp://`, with TLS if the server offers it, or `smtps://`."""
    host, context = server.hostname or "localhost", ssl.create_default_context()
    is_encrypted = server.scheme == "smtps"
    with (
        smtplib.SMTP_SSL(host, server.port or 465, timeout=ATTEMPT_SECONDS, context=context)
        if is_encrypted
        else smtplib.SMTP(host, server.port or 25, timeout=ATTEMPT_SECONDS)
    ) as connection:
        if not is_encrypted and connection.has_extn("starttls"):
            connection.starttls(context=context)
        if server.username:
            connection.login(unquote(server.username), unquote(server.password or ""))
        connection.send_message(message)


def _event(notification: Notification) -> Mapping[str, Any]:
    """Return an event of Prefect, such as `mnistflow.promoted`, with the flow run as a related resource."""
    run = notification.run_id
    related = [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}] if run else []
    return {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": f"mnistflow.{notification.event}",
        "resource": {"prefect.resource.id": f"mnistflow.{notification.subject}"},
        "related": related,
        "payload": {"text": notification.text},
    }
