"""Lease on a registered model: of all processes on all machines, one at a time decides about the model.

MLflow's API has no compare-and-set, so the lease is Lamport's bakery algorithm on tags of the registered model: each
process has a tag of its own, its ticket, and the lowest number is served first. Reading and writing single tags is all
that it needs, so it works with every store of MLflow. A process renews its ticket while it waits and while it holds
the lease. A waiting process removes tickets of processes that have ended, and those of other machines that were not
renewed for `seconds` by its own clock, so the clocks of machines need not agree.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import asdict, dataclass, replace
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from mnistflow.errors import RegistryError
from mnistflow.process_identity import ProcessIdentity, user_at_host
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.store import open_store

TAG = "mnistflow.lease."
LEASE_SECONDS = 30.0
RENEWALS = 6  # in the time of a lease
WAIT_SECONDS = 900.0
POLL_SECONDS = 0.1
SLOWEST_POLL_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ticket:
    """A process that waits for the lease, or has it.

    Attributes:
        number: its turn; 0 while the process chooses it.
        renewals: how often the process has shown that it lives.
        who: user and machine.
        owner: the process; None if the tag is not as this module writes it.
    """

    number: int
    renewals: int
    who: str
    owner: ProcessIdentity | None

    @classmethod
    def own(cls) -> Self:
        """Return the ticket of this process, without a number."""
        return cls(0, 0, user_at_host(), ProcessIdentity.own())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the ticket that a tag keeps."""
        try:
            tree = json.loads(text)
            owner = ProcessIdentity.from_json(tree["owner"])
            return cls(int(tree["number"]), int(tree["renewals"]), str(tree["who"]), owner)
        except (KeyError, TypeError, ValueError):
            return cls(0, 0, "an unknown process", None)

    def has_died(self) -> bool | None:
        """Return whether the process has ended; None of a process on another machine, or in another container."""
        return None if self.owner is None or self.owner.is_elsewhere else self.owner.has_died()


class Lease:
    """The right to decide about a registered model. A context manager: its exit releases the lease.

    A process that is stopped for longer than `seconds` loses it without noticing. So it compares the aliases with those
    that it has decided upon before it moves one.

    Args:
        model: name of a registered model.
        seconds: for which a ticket is valid without being renewed.
    """

    def __init__(self, model: str, seconds: float = LEASE_SECONDS) -> None:
        self._model = model
        self._seconds = seconds
        self._store = open_store()
        self._client = mlflow_client()
        self._id = uuid.uuid4().hex
        self._ticket = Ticket.own()
        self._first_seen: dict[tuple[str, Ticket], float] = {}
        self._writing = Lock()
        self._released = Event()
        self._renewer = Thread(target=self._renew, name=f"lease on {model}", daemon=True)

    def acquire(self, wait_seconds: float = WAIT_SECONDS) -> Self:
        """Wait until the lease is this object's.

        Raises:
            RegistryError: others have had it all the time, or there is no such model.
        """
        if self._store.model(self._model) is None:
            raise RegistryError(f"{self._model} is not registered", "`mnistflow retrain` registers its first version.")
        deadline = time.monotonic() + wait_seconds
        pause = POLL_SECONDS
        try:
            self._choose_number()
            self._renewer.start()
            while ahead := self._ahead():
                if time.monotonic() > deadline:
                    raise RegistryError(
                        f"{next(iter(ahead.values())).who} is deciding on the champion of {self._model}",
                        "Try again when that is done.",
                        transient=True,
                    )
                # Once: when the pause reaches its maximum.
                if pause >= SLOWEST_POLL_SECONDS > pause / 2:
                    log.warning("waiting for %s, who is deciding on %s", next(iter(ahead.values())).who, self._model)
                self._remove_dead(ahead)
                time.sleep(min(pause, SLOWEST_POLL_SECONDS))
                pause *= 2
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Let the next one decide."""
        self._released.set()
        if self._renewer.is_alive():
            self._renewer.join()
        try:
            self._remove(self._id)
        except Exception as error:  # of MLflow's stores and transports, which share no base class
            log.warning("the lease on %s cannot be released, so it expires on its own: %s", self._model, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _choose_number(self) -> None:
        """Take the number after all others."""
        while True:
            begun = time.monotonic()
            self._write(number=0)
            others = (ticket.number for ticket_id, ticket in self._tickets().items() if ticket_id != self._id)
            self._write(number=1 + max(others, default=0))
            # After that time, others may have gone ahead without waiting for this choice.
            if time.monotonic() - begun < self._seconds:
                return

    def _ahead(self) -> dict[str, Ticket]:
        """Return the tickets that come before this one, and those of processes that still choose."""
        tickets = self._tickets()
        if self._id not in tickets:  # removed by a process that took this one for dead
            self._choose_number()
            tickets = self._tickets()
        return {
            ticket_id: ticket
            for ticket_id, ticket in tickets.items()
            if ticket_id != self._id and (ticket.number, ticket_id) < (self._ticket.number, self._id)
        }

    def _remove_dead(self, tickets: dict[str, Ticket]) -> None:
        now = time.monotonic()
        for ticket_id, ticket in tickets.items():
            unchanged = now - self._first_seen.setdefault((ticket_id, ticket), now)
            has_died = ticket.has_died()  # a process of this machine that lives is only slow
            if has_died or (has_died is None and unchanged > self._seconds):
                self._remove(ticket_id)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._released.wait(self._seconds / RENEWALS):
            if time.monotonic() - renewed > self._seconds:
                return  # lost: another process may have it
            try:
                self._write()
            except Exception as error:  # of MLflow's stores and transports, which share no base class
                log.debug("the lease on %s was not renewed: %s", self._model, error)
            else:
                renewed = time.monotonic()

    def _tickets(self) -> dict[str, Ticket]:
        model = self._store.model(self._model)
        tags = model.tags if model else {}
        return {key.removeprefix(TAG): Ticket.parse(text) for key, text in tags.items() if key.startswith(TAG)}

    def _write(self, number: int | None = None) -> None:
        """Renew the ticket, with another number if one is given."""
        with self._writing:
            former = self._ticket
            ticket = replace(former, number=former.number if number is None else number, renewals=former.renewals + 1)
            self._client.set_registered_model_tag(self._model, TAG + self._id, json.dumps(asdict(ticket)))
            self._ticket = ticket

    def _remove(self, ticket_id: str) -> None:
        self._client.delete_registered_model_tag(self._model, TAG + ticket_id)
