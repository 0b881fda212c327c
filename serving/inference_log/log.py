"""Inference log: a sample of images with their predictions, and feedback, written to a database by a background thread.

The log neither delays nor fails a prediction: when its queue is full or the database fails, entries are dropped and
counted.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import orjson

from serving.engine.model import Model
from serving.errors import LogUnavailableError, ServingError
from serving.inference_log import store
from serving.inference_log.store import Feedback, LogStore
from serving.protocol.tensors import Array

log = logging.getLogger(__name__)

T = TypeVar("T")

QUEUE_SIZE = 1024
CLOSING_SECONDS = 5.0
# Old entries are deleted after so many new ones.
PRUNE_EVERY = 500
# How long to wait before the database is opened again after an error.
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Task:
    """Something to write. `on_done` is called on the writing thread, with the error if there is one."""

    work: Callable[[LogStore], None]
    on_done: Callable[[Exception | None], None]


class InferenceLog:
    """The log of one server process; several may share a file. Used on the event loop only.

    Args:
        location: a SQLite file, created when missing, or the URL of a PostgreSQL database; empty for no log.
        per_second: most images logged per second; further ones are not part of the sample.
        rows: images kept; older ones without feedback are deleted.
        on_drop: called when a request that belongs to the sample could not be written.

    Raises:
        StartError: the driver of PostgreSQL is not installed.
    """

    def __init__(self, location: str, per_second: float, rows: int, on_drop: Callable[[], None]) -> None:
        store.check_driver(location)
        self._location = location
        self._per_second = per_second
        self._rows = rows
        self._on_drop = on_drop
        self._burst = max(per_second, 1.0)
        self._allowance = self._burst
        self._counted_at = time.monotonic()
        self._tasks: queue.Queue[_Task | None] = queue.Queue(QUEUE_SIZE)
        self._store: LogStore | None = None
        self._failed_at = -RETRY_SECONDS
        self._since_prune = PRUNE_EVERY
        self._thread = threading.Thread(target=self._write, name="inference-log", daemon=True)
        if location:
            self._thread.start()

    @property
    def is_enabled(self) -> bool:
        """Whether there is a log."""
        return bool(self._location)

    def add(
        self,
        request_id: str,
        model: Model,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Log images with their predictions, if they are in the sample.

        Args:
            request_id: by which feedback names the request.
            model: the version that has answered.
            inputs: the images, `[n, height, width]`.
            outputs: the predictions, `[n, classes]`.
            numbers: by which feedback names each image; 0, 1, ... if None.
        """
        if not self._location or not model.classifies_images:
            return
        (images,), (probabilities,) = inputs.values(), outputs.values()
        if not self._admits(len(images)):
            return
        common = (time.time(), model.name, model.version)
        described = (orjson.dumps(images.shape[1:]).decode(), orjson.dumps(model.manifest.classes).decode())
        entries = [
            (request_id, number, *common, image.tobytes(), *described, orjson.dumps(prediction.tolist()).decode())
            for number, image, prediction in zip(numbers or range(len(images)), images, probabilities, strict=True)
        ]

        def insert(store: LogStore) -> None:
            store.insert(entries)
            self._prune(store, len(entries))

        self._put(_Task(insert, lambda error: self._on_drop() if error else None))

    async def record_feedback(self, feedback: Feedback, source: str) -> None:
        """Store feedback on an image; it replaces earlier feedback on the same image, unless it is the same.

        Args:
            feedback: the true label.
            source: name of the sender; empty if it is not known.

        Raises:
            UnknownRequestError: the image is not in the log.
            InvalidRequestError: the model that answered has no such class.
            LogUnavailableError: there is no log, or it cannot be written to now.
        """
        await self.call(lambda store: store.record_feedback(feedback, source))

    async def call(self, work: Callable[[LogStore], T]) -> T:
        """Call a function with the log's database, on the thread that writes to it, and return what it returns.

        Raises:
            LogUnavailableError: there is no log, or it cannot be used now.
            ServingError: the function has raised it.
        """
        if not self._location:
            raise LogUnavailableError("this server has no inference log, so it accepts no feedback")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Exception | None] = loop.create_future()
        results: list[T] = []

        def on_done(error: Exception | None) -> None:
            loop.call_soon_threadsafe(lambda: None if outcome.done() else outcome.set_result(error))

        self._put(_Task(lambda store: results.append(work(store)), on_done))
        error = await outcome
        if isinstance(error, ServingError):
            raise error
        if error is not None:
            raise LogUnavailableError("the inference log cannot be written to now, try again later")
        return results[0]

    def close(self) -> None:
        """Write the entries that wait, and stop the thread."""
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join(CLOSING_SECONDS)

    def _admits(self, rows: int) -> bool:
        now = time.monotonic()
        allowance = self._allowance + (now - self._counted_at) * self._per_second
        self._allowance, self._counted_at = min(allowance, self._burst), now
        if rows > self._allowance:
            return False
        self._allowance -= rows
        return True

    def _put(self, task: _Task) -> None:
        try:
            self._tasks.put_nowait(task)
        except queue.Full as error:
            task.on_done(error)

    def _write(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.work(self._open_store())
            except ServingError as error:
                task.on_done(error)
            except Exception as error:  # the drivers' own errors share no base class
                self._close_after(error)
                task.on_done(error)
            else:
                task.on_done(None)
        if self._store is not None:
            self._store.close()

    def _open_store(self) -> LogStore:
        if self._store is None:
            if time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise OSError("the database could not be opened a moment ago")
            self._store = LogStore(self._location)
        return self._store

    def _close_after(self, error: Exception) -> None:
        if time.monotonic() - self._failed_at > RETRY_SECONDS:
            log.warning("the inference log cannot be written: %s", " ".join(str(error).split()))
            self._failed_at = time.monotonic()
        if self._store is not None:
            with suppress(Exception):
                self._store.close()
            self._store = None

    def _prune(self, store: LogStore, added: int) -> None:
        self._since_prune += added
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            store.prune(self._rows)
