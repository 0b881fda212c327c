"""The learners: how models are fitted and exported. A family names its own; stages ask `of` and know no families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistflow.learners.learner import Learner
    from mnistflow.models.family import Family


def get(name: str) -> Learner[Any]:
    """Return the learner of that name."""
    # Imported here, because loading the configuration must not load what they learn with.
    from mnistflow.learners.ensembles import Ensembles
    from mnistflow.learners.estimators import Estimators
    from mnistflow.learners.networks import Networks

    learners: dict[str, type[Learner[Any]]] = {"keras": Networks, "scikit-learn": Estimators, "ensemble": Ensembles}
    return learners[name]()


def of(family: Family) -> Learner[Any]:
    """Return the learner of a family."""
    return get(family.learner)
