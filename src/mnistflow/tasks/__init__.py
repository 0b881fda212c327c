"""Tasks: what a model learns. Imports `models` and `runtime`.

Everything that depends on the kind of task is a method of `Task`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from mnistflow.tasks.task import Task


def get(name: str) -> Task:
    """Return the task of a name.

    Raises:
        ConfigError: no task has that name.
    """
    # Imported here, so that importing `identity` does not load NumPy.
    from mnistflow.tasks.binary_classification import BinaryClassification
    from mnistflow.tasks.forecasting import Forecasting
    from mnistflow.tasks.generation.generation import Generation
    from mnistflow.tasks.image_classification import ImageClassification

    known: tuple[Task, ...] = (ImageClassification(), BinaryClassification(), Forecasting(), Generation())
    tasks = {task.name: task for task in known}
    if name not in tasks:
        raise ConfigError(f"unknown task {name!r}", f"Known: {', '.join(tasks)}.")
    return tasks[name]
