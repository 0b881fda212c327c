"""Model families: parameters and networks. Imports `schema` and `errors` only.

`ModelConfig` lists the families: a new family is one module and one line here.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from mnistflow.errors import ConfigError
from mnistflow.models.classical.boosting import Boosting
from mnistflow.models.classical.forest import Forest
from mnistflow.models.classical.svm import Svm
from mnistflow.models.classical.tree import Tree
from mnistflow.models.ensemble import Ensemble
from mnistflow.models.family import Family, TaskTraits
from mnistflow.models.gan import Gan
from mnistflow.models.networks.attention import Attention
from mnistflow.models.networks.cnn import Cnn
from mnistflow.models.networks.linear import Linear
from mnistflow.models.networks.mlp import Mlp
from mnistflow.models.networks.recurrent import Gru, Lstm, Rnn
from mnistflow.models.networks.resnet import Resnet
from mnistflow.schema import Section


class ModelConfig(Section):
    """Section `model` of params.yaml: name of the chosen family, and the parameters of each family."""

    family: str = "cnn"
    linear: Linear = Linear()
    mlp: Mlp = Mlp()
    cnn: Cnn = Cnn()
    rnn: Rnn = Rnn()
    lstm: Lstm = Lstm()
    gru: Gru = Gru()
    attention: Attention = Attention()
    resnet: Resnet = Resnet()
    svm: Svm = Svm()
    tree: Tree = Tree()
    forest: Forest = Forest()
    boosting: Boosting = Boosting()
    ensemble: Ensemble = Ensemble()
    gan: Gan = Gan()

    @model_validator(mode="after")
    def _family_is_known(self) -> Self:
        if self.family not in families():
            raise ValueError(f"family: unknown family {self.family!r}; known: {', '.join(families())}")
        return self

    @property
    def chosen(self) -> Family:
        """The parameters of the chosen family."""
        return self.parameters_of(self.family)

    def compatible(self, task: TaskTraits, input_shape: tuple[int, ...]) -> list[str]:
        """Return the families that support a task with inputs of this shape, without the batch dimension."""
        return [name for name in families() if not self.parameters_of(name).incompatibility(task, input_shape)]

    def require_compatible(self, task: TaskTraits, input_shape: tuple[int, ...]) -> None:
        """Check that the chosen family supports a task with inputs of this shape, without the batch dimension.

        Raises:
            ConfigError: it does not; lists the families that do.
        """
        if reason := self.chosen.incompatibility(task, input_shape):
            compatible = ", ".join(self.compatible(task, input_shape))
            raise ConfigError(f"model.family: {self.family} {reason}", f"Choose one of: {compatible}.")

    def parameters_of(self, name: str) -> Family:
        """Return the parameters of a family by its name."""
        family: Family = getattr(self, name)
        return family


def families() -> list[str]:
    """Return the names of all families."""
    return [name for name in ModelConfig.model_fields if name != "family"]
