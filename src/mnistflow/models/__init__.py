"""The model families. `ModelConfig` is their list: a family is one file and one line here."""

from typing import Self

from pydantic import model_validator

from mnistflow.models.cnn import Cnn
from mnistflow.models.family import Family, Section
from mnistflow.models.mlp import Mlp


class ModelConfig(Section):
    """Section `model` of params.yaml: the chosen family and the parameters of each."""

    family: str = "cnn"
    mlp: Mlp = Mlp()
    cnn: Cnn = Cnn()

    @model_validator(mode="after")
    def _family_is_known(self) -> Self:
        if self.family not in families():
            raise ValueError(f"family: unknown family {self.family!r}; known: {', '.join(families())}")
        return self

    @property
    def chosen(self) -> Family:
        """The parameters of the chosen family."""
        family: Family = getattr(self, self.family)
        return family


def families() -> list[str]:
    """Return the names of all families."""
    return [name for name in ModelConfig.model_fields if name != "family"]
