"""The tasks a model can learn. What depends on the kind of task is asked of one `Task`."""

from mnistflow.errors import ConfigError
from mnistflow.tasks.binary_classification import BinaryClassification
from mnistflow.tasks.forecasting import Forecasting
from mnistflow.tasks.image_classification import ImageClassification
from mnistflow.tasks.task import Task

_TASKS: dict[str, Task] = {task.name: task for task in (ImageClassification(), BinaryClassification(), Forecasting())}


def get(name: str) -> Task:
    """Return the task of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _TASKS:
        raise ConfigError(f"unknown task {name!r}", f"Known: {', '.join(_TASKS)}.")
    return _TASKS[name]
