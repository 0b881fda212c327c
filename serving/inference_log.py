"""What was asked and answered, and what it really was: a sample in a SQLite file, written by a thread of its own.

Nothing here slows or fails a prediction: what finds the queue full, or cannot be written, is dropped and counted.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from serving.errors import InvalidRequestError, LogUnavailableError, ServingError, UnknownRequestError
from serving.model import Model
from serving.tensors import Array

log = logging.getLogger(__name__)

QUEUE_SIZE = 1024
BUSY_SECONDS = 5.0
# Old entries are looked for after so many new ones.
TIDY_EVERY = 500
RETRY_SECONDS = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS inferences (
    id TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
    image BLOB NOT NULL, shape TEXT NOT NULL, classes TEXT NOT NULL, probabilities TEXT NOT NULL,
    PRIMARY KEY (id, number)
);
CREATE TABLE IF NOT EXISTS feedback (
    id TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, label INTEGER NOT NULL, class_name TEXT NOT NULL,
    PRIMARY KEY (id, number)
);
"""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the picture of an answered request really shows.

    Attributes:
        id: of the request.
        number: of the picture in it, from 0.
        class_name: as the model names its classes.
    """

    id: str
    number: int
    class_name: str


@dataclass(frozen=True, slots=True)
class _Task:
    """Something to write, and who is told what became of it, on the writing thread."""

    work: Callable[[sqlite3.Connection], None]
    done: Callable[[Exception | None], None]


class InferenceLog:
    """The log of one server process; several may share a file. Used on the event loop only.

    Args:
        path: the SQLite file, made when it is missing; empty for no log.
        per_second: pictures a second that are logged at most; the others are not part of the sample.
        rows: pictures kept; older ones without feedback are deleted.
        on_drop: told when a request that belongs to the sample is lost.
    """

    def __init__(self, path: str, per_second: float, rows: int, on_drop: Callable[[], None]) -> None:
        self._path = path
        self._per_second = per_second
        self._rows = rows
        self._on_drop = on_drop
        self._burst = max(per_second, 1.0)
        self._allowance = self._burst
        self._counted_at = time.monotonic()
        self._tasks: queue.Queue[_Task | None] = queue.Queue(QUEUE_SIZE)
        self._connection: sqlite3.Connection | None = None
        self._failed_at = -RETRY_SECONDS
        self._since_tidy = TIDY_EVERY
        self._thread = threading.Thread(target=self._write, name="inference-log", daemon=True)
        if path:
            self._thread.start()

    @property
    def is_kept(self) -> bool:
        return bool(self._path)

    def add(self, request_id: str, model: Model, images: Array, probabilities: Array) -> None:
        """Log the pictures of a request, `[n, height, width]`, and the answers, `[n, classes]`."""
        if not self._path or not self._admits(len(images)):
            return
        common = (time.time(), model.name, model.version)
        described = (orjson.dumps(images.shape[1:]).decode(), orjson.dumps(model.manifest.classes).decode())
        entries = [
            (request_id, number, *common, image.tobytes(), *described, orjson.dumps(answer.tolist()).decode())
            for number, (image, answer) in enumerate(zip(images, probabilities, strict=True))
        ]

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR IGNORE INTO inferences VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)
            self._tidy(connection, len(entries))

        self._put(_Task(insert, lambda error: self._on_drop() if error else None))

    async def say(self, feedback: Feedback) -> None:
        """Write down feedback, in place of what was said of the same picture before.

        Raises:
            UnknownRequestError: the log has no such picture.
            InvalidRequestError: the model that answered has no such class.
            LogUnavailableError: there is no log, or it cannot be written now.
        """
        if not self._path:
            raise LogUnavailableError("this server keeps no inference log, so it takes no feedback")
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Exception | None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            loop.call_soon_threadsafe(lambda: None if outcome.done() else outcome.set_result(error))

        self._put(_Task(lambda connection: _write_feedback(connection, feedback), tell))
        error = await outcome
        if isinstance(error, ServingError):
            raise error
        if error is not None:
            raise LogUnavailableError("the inference log cannot be written now, try again later")

    def close(self) -> None:
        """Write what waits, and stop."""
        if self._thread.is_alive():
            self._tasks.put(None)
            self._thread.join(BUSY_SECONDS)

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
                with self._opened() as connection:
                    task.work(connection)
            except ServingError as error:
                task.done(error)
            except (sqlite3.Error, OSError) as error:
                self._give_up(error)
                task.done(error)
            else:
                task.done(None)
        if self._connection is not None:
            self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            if time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise sqlite3.OperationalError("it could not be opened a moment ago")
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(SCHEMA)
            self._connection = connection
        return self._connection

    def _give_up(self, error: Exception) -> None:
        if time.monotonic() - self._failed_at > RETRY_SECONDS:
            log.warning("the inference log cannot be written: %s", error)
            self._failed_at = time.monotonic()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tidy(self, connection: sqlite3.Connection, added: int) -> None:
        self._since_tidy += added
        if self._since_tidy >= TIDY_EVERY:
            self._since_tidy = 0
            connection.execute(
                "DELETE FROM inferences WHERE rowid <= (SELECT max(rowid) FROM inferences) - ?"
                " AND (id, number) NOT IN (SELECT id, number FROM feedback)",
                (self._rows,),
            )


def _write_feedback(connection: sqlite3.Connection, feedback: Feedback) -> None:
    key = (feedback.id, feedback.number)
    found = connection.execute("SELECT classes FROM inferences WHERE id = ? AND number = ?", key).fetchone()
    if found is None:
        raise UnknownRequestError("the inference log has no answer with this id")
    classes: list[str] = orjson.loads(found[0])
    if feedback.class_name not in classes:
        raise InvalidRequestError(f"class_name has to be one of: {', '.join(classes)}")
    connection.execute(
        "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)",
        (*key, time.time(), classes.index(feedback.class_name), feedback.class_name),
    )
