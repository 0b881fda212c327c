"""Model family: the base class of validated parameters that describe a model and name its learner."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar, Protocol

from mnistflow.schema import Section


class TaskTraits(Protocol):
    """The part of a task that families depend on."""

    @property
    def name(self) -> str: ...

    @property
    def has_class_probabilities(self) -> bool: ...

    @property
    def generates(self) -> bool: ...


class Family(Section, ABC):
    """Base class of the parameters of a model family.

    Attributes:
        summary: what the family is, in a few words, for `mnistflow models`.
        learner: name of the learner that fits and exports its models; see `mnistflow.learners.get`.
        input_dimensions: rank of an example, such as 2 for height and width; None means any.
        predicts_class_probabilities: whether its models support only outputs of one probability per class.
        generates: whether its models make new examples, instead of predictions.
    """

    summary: ClassVar[str]
    learner: ClassVar[str]
    input_dimensions: ClassVar[int | None] = None
    predicts_class_probabilities: ClassVar[bool] = False
    generates: ClassVar[bool] = False

    @property
    def trainable(self) -> bool:
        """Whether all required parameters are set. Some families have parameters without a default."""
        return True

    def incompatibility(self, task: TaskTraits, input_shape: tuple[int, ...]) -> str | None:
        """Return why the family does not support a task with inputs of this shape, or None if it does.

        Args:
            task: what the model learns.
            input_shape: shape of an example, without the batch dimension.
        """
        if self.input_dimensions not in (None, len(input_shape)):
            return (
                f"needs inputs of {self.input_dimensions} dimensions, "
                f"but those of this data set have shape {list(input_shape)}"
            )
        if self.generates != task.generates:
            made = "makes new examples, as a data set <name>_generation asks for" if self.generates else "predicts"
            return f"{made}, but the task of this data set is {task.name}"
        if self.predicts_class_probabilities and not task.has_class_probabilities:
            return f"predicts class probabilities, which task {task.name} does not have"
        return None
