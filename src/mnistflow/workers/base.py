"""Interface of workers: run jobs in other processes, and survive the death of one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
JobFunction = Callable[[Job], Result]


class WorkerDied(Exception):
    """A worker ended in the middle of a job, which may be tried again."""

    transient = True


class Workers(ABC, Generic[Job, Result]):
    """Workers that run one job each at a time. A context manager; its exit stops the workers."""

    @abstractmethod
    def capacity(self) -> int:
        """Return how many jobs can run at the same time now."""

    @abstractmethod
    def submit(self, function: JobFunction[Job, Result], job: Job) -> Future[Result]:
        """Start a job; at most `capacity` may run at the same time."""

    @abstractmethod
    def result(self, future: Future[Result]) -> Result:
        """Return the result of a finished job.

        Raises:
            WorkerDied: the worker ended in the middle of the job.
            StageError: no worker is available any more.
            Exception: what the job raised, with its traceback as a note and an attribute `transient`.
        """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the workers."""
