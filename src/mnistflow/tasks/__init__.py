"""The tasks a model can learn. What depends on the kind of task is asked of one `Task`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from mnistflow.tasks.task import Task


def get(name: str) -> Task:
    """Return the task of that name.

    Raises:
        ConfigError: there is none.
    """
    # Imported here, because whoever needs only `identity` must not load numpy.
    from mnistflow.tasks.binary_classification import BinaryClassification
    from mnistflow.tasks.forecasting import Forecasting
    from mnistflow.tasks.image_classification import ImageClassification

    known: tuple[Task, ...] = (ImageClassification(), BinaryClassification(), Forecasting())
    tasks = {task.name: task for task in known}
    if name not in tasks:
        raise ConfigError(f"unknown task {name!r}", f"Known: {', '.join(tasks)}.")
    return tasks[name]
