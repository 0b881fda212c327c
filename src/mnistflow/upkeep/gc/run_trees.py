"""Run trees of MLflow: which runs and versions belong together, and so stay or go together.

A sweep keeps the runs that it compares, a retraining the trials of its search, a version the run that trained it and
the one with its monitoring. Only what mnistflow has made belongs to a tree; other runs and models are never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mnistflow.registry import versions
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.origins import Origins, Reference
from mnistflow.tracking.records import StoredModel, StoredVersion
from mnistflow.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE = 1000


@dataclass(frozen=True)
class RunTree:
    """Runs and versions that stay or go together.

    Attributes:
        runs: children after their parents.
        versions: that these runs registered.
        foreign: versions that someone else registered from these runs, such as copies made by MLflow.
    """

    runs: tuple[Run, ...]
    versions: tuple[StoredVersion, ...]
    foreign: tuple[StoredVersion, ...]

    @property
    def ended(self) -> datetime:
        """When the last of its runs ended, or the last version was registered."""
        times = [run.info.end_time or run.info.start_time for run in self.runs]
        return datetime.fromtimestamp(max([*times, *(version.created_ms for version in self.versions)]) / 1000, UTC)

    @property
    def run_ids(self) -> frozenset[str]:
        """Ids of its runs."""
        return frozenset(run.info.run_id for run in self.runs)

    def references(self) -> set[Reference]:
        """Return the versions that its runs have learned from: numbers of versions, ids of runs, or aliases."""
        return {one for run in self.runs for one in Origins.of(run.data.params).all}


def read() -> tuple[list[RunTree], Mapping[str, StoredModel]]:
    """Return all trees, those in MLflow's trash included, and the registered models, by their name."""
    models = {name: model for name in _model_names() if (model := open_store().model(name))}
    known = {run.info.run_id: run for run in _own_runs()}
    found = [version for name in models for version in open_store().versions(name) if version.run_id in known]
    run_of = {_key(version): version.run_id for version in found if _is_own(version, known)}
    roots = {run_id: _root(run, known, run_of) for run_id, run in known.items()}
    members: dict[str, list[Run]] = defaultdict(list)
    own: dict[str, list[StoredVersion]] = defaultdict(list)
    foreign: dict[str, list[StoredVersion]] = defaultdict(list)
    for run_id, run in known.items():
        members[roots[run_id]].append(run)
    for version in found:
        (own if _is_own(version, known) else foreign)[roots[version.run_id]].append(version)
    trees = (RunTree(_parents_first(members[root]), tuple(own[root]), tuple(foreign[root])) for root in members)
    return list(trees), models


def _model_names() -> list[str]:
    found, token = [], None
    while True:
        page = mlflow_client().search_registered_models(max_results=PAGE, page_token=token)
        found += [str(model.name) for model in page]
        if not (token := page.token):
            return found


def _is_own(version: StoredVersion, known: Mapping[str, Run]) -> bool:
    """Return whether mnistflow registered a version. A copy has the tags too, but its run names the original."""
    registered = known[version.run_id].data.tags.get(runs.VERSION, _key(version))
    return registered == _key(version) and any(key.startswith(versions.TAG) for key in version.tags)


def _key(version: StoredVersion) -> str:
    """Return what the tag `runs.VERSION` of the run of a version contains."""
    return f"{version.name}/{version.number}"


def _own_runs() -> Iterator[Run]:
    from mlflow.entities import ViewType

    client = mlflow_client()
    experiments = [found.experiment_id for found in client.search_experiments(ViewType.ALL)]
    token = None
    while experiments:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=PAGE, page_token=token)
        yield from (run for run in page if runs.KIND in run.data.tags)
        if not (token := page.token):
            return


def _root(run: Run, known: Mapping[str, Run], run_of: Mapping[str, str]) -> str:
    """Return the id of the run that a tree begins with; the run of a version is above that of its monitoring."""
    seen = set()
    while run.info.run_id not in seen:
        seen.add(run.info.run_id)
        above = run.data.tags.get(runs.PARENT_RUN) or run_of.get(run.data.tags.get(runs.VERSION, ""), "")
        run = known.get(above, run)
    return str(run.info.run_id)


def _parents_first(members: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(sorted(members, key=lambda run: (run.info.start_time, run.info.run_id)))
