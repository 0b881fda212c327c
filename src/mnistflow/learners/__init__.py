"""Learners: how each kind of model is fitted and converted to ONNX. Imports `models`, `tasks`, `runtime`, `registry`.

A family names its learner: stages call `for_family(family)` and need not know the families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistflow.learners.learner import Learner
    from mnistflow.models.family import Family


def get(name: str) -> Learner[Any]:
    """Return the learner of a name: `keras`, `scikit-learn`, `ensemble` or `gan`."""
    # Imported here, so that loading the configuration imports no machine-learning library.
    from mnistflow.learners.ensembles import Ensembles
    from mnistflow.learners.estimators import Estimators
    from mnistflow.learners.generators import Generators
    from mnistflow.learners.networks import Networks

    learners: dict[str, type[Learner[Any]]] = {
        "keras": Networks,
        "scikit-learn": Estimators,
        "ensemble": Ensembles,
        "gan": Generators,
    }
    return learners[name]()


def for_family(family: Family) -> Learner[Any]:
    """Return the learner of a family."""
    return get(family.learner)
