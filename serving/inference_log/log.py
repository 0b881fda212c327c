"""What was asked and answered, and what it really was: a sample in a database, written by a thread of its own.

Nothing here slows or fails a prediction: what finds the queue full, or cannot be written, is dropped and counted.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson

from serving.engine.model import Model
from serving.errors import LogUnavailableError, ServingError
from serving.inference_log import store
from serving.inference_log.store import Feedback, LogStore
from serving.protocol.tensors import Array

log = logging.getLogger(__name__)

QUEUE_SIZE = 1024
CLOSING_SECONDS = 5.0
# Old entries are looked for after so many new ones.
TIDY_EVERY = 500
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Task:
    """Something to write, and who is told what became of it, on the writing thread."""

    work: Callable[[LogStore], None]
    done: Callable[[Exception | None], None]


class InferenceLog:
    """The log of one server process; several may share a file. Used on the event loop only.

    Args:
        where: a SQLite file, made when it is missing, or the URL of a PostgreSQL database; empty for no log.
        per_second: pictures a second that are logged at most; the others are not part of the sample.
        rows: pictures kept; older ones without feedback are deleted.
        on_drop: told when a request that belongs to the sample is lost.

    Raises:
        StartError: the driver of PostgreSQL is not installed.
    """

    def __init__(self, where: str, per_second: float, rows: int, on_drop: Callable[[], None]) -> None:
        store.check(where)
        self._where = where
        self._per_second = per_second
        self._rows = rows
        self._on_drop = on_drop
        self._burst = max(per_second, 1.0)
        self._allowance = self._burst
        self._counted_at = time.monotonic()
        self._tasks: queue.Queue[_Task | None] = queue.Queue(QUEUE_SIZE)
        self._store: LogStore | None = None
        self._failed_at = -RETRY_SECONDS
        self._since_tidy = TIDY_EVERY
        self._thread = threading.Thread(target=self._write, name="inference-log", daemon=True)
        if where:
            self._thread.start()

    @property
    def is_enabled(self) -> bool:
        return bool(self._where)

    def add(self, request_id: str, model: Model, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Log the pictures of a request, `[n, height, width]`, and the answers, `[n, classes]`."""
        if not self._where or not model.classifies_images:
            return
        (images,), (probabilities,) = inputs.values(), outputs.values()
        if not self._admits(len(images)):
            return
        common = (time.time(), model.name, model.version)
        described = (orjson.dumps(images.shape[1:]).decode(), orjson.dumps(model.manifest.classes).decode())
        entries = [
            (request_id, number, *common, image.tobytes(), *described, orjson.dumps(answer.tolist()).decode())
            for number, (image, answer) in enumerate(zip(images, probabilities, strict=True))
        ]

        def insert(store: LogStore) -> None:
            store.insert(entries)
            self._tidy(store, len(entries))

        self._put(_Task(insert, lambda error: self._on_drop() if error else None))

    async def record_feedback(self, feedback: Feedback) -> None:
        """Write down feedback, in place of what was said of the same picture before.

        Raises:
            UnknownRequestError: the log has no such picture.
            InvalidRequestError: the model that answered has no such class.
            LogUnavailableError: there is no log, or it cannot be written now.
        """
        if not self._where:
            raise LogUnavailableError("this server keeps no inference log, so it takes no feedback")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Exception | None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            loop.call_soon_threadsafe(lambda: None if outcome.done() else outcome.set_result(error))

        self._put(_Task(lambda store: store.say(feedback), tell))
        error = await outcome
        if isinstance(error, ServingError):
            raise error
        if error is not None:
            raise LogUnavailableError("the inference log cannot be written now, try again later")

    def close(self) -> None:
        """Write what waits, and stop."""
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
            task.done(error)

    def _write(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task.work(self._opened())
            except ServingError as error:
                task.done(error)
            except Exception as error:  # the drivers' own errors share no base class
                self._give_up(error)
                task.done(error)
            else:
                task.done(None)
        if self._store is not None:
            self._store.close()

    def _opened(self) -> LogStore:
        if self._store is None:
            if time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise OSError("it could not be opened a moment ago")
            self._store = LogStore(self._where)
        return self._store

    def _give_up(self, error: Exception) -> None:
        if time.monotonic() - self._failed_at > RETRY_SECONDS:
            log.warning("the inference log cannot be written: %s", " ".join(str(error).split()))
            self._failed_at = time.monotonic()
        if self._store is not None:
            with suppress(Exception):
                self._store.close()
            self._store = None

    def _tidy(self, store: LogStore, added: int) -> None:
        self._since_tidy += added
        if self._since_tidy >= TIDY_EVERY:
            self._since_tidy = 0
            store.tidy(self._rows)
