"""Residency: which versions are in memory. Loads them, and evicts the least recently used."""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Collection
from weakref import WeakSet

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.engine.validation import Validator
from serving.errors import ModelRefusedError
from serving.metrics.prometheus import Metrics

log = logging.getLogger(__name__)


class ModelLoader:
    """Loads versions of a repository. Used on the event loop only.

    Args:
        repository: has the versions.
        validator: loads and checks each version before this process does.
        metrics: counts refused versions.

    Attributes:
        refusals: reasons by model and version.
    """

    def __init__(self, repository: ModelRepository, validator: Validator, metrics: Metrics) -> None:
        self._repository = repository
        self._validator = validator
        self._metrics = metrics
        self.refusals: dict[tuple[str, int], str] = {}

    async def load(self, name: str, version: int) -> Model:
        """Load a version, which takes some tenths of a second.

        Raises:
            ModelRefusedError: it is not fit to serve, now or when it was last tried.
        """
        if (name, version) in self.refusals:
            raise ModelRefusedError(self.refusals[name, version])
        try:
            await self._validator.validate(name, version)
            return await asyncio.to_thread(lambda: Model(self._repository.read(name, version)))
        except ModelRefusedError as error:
            self.refuse(name, version, str(error))
            raise

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Never load a version again, until `forget_refusals`."""
        self.refusals[name, version] = reason
        self._metrics.versions.count_refused(name, version)
        log.warning("%s: version %d is refused: %s", name, version, reason)

    def forget_refusals(self, names: Collection[str]) -> None:
        """Let the versions of these models be tried again."""
        self.refusals = {key: reason for key, reason in self.refusals.items() if key[0] not in names}


class Residency:
    """The versions in memory. Used on the event loop only.

    Champions, challengers of rollouts, and the versions that champions replaced stay in memory, so that a rollback
    loads nothing. Of all other versions, the least recently used are evicted.

    Args:
        loader: loads versions that are not in memory.
        capacity: how many of the other versions stay in memory.
        metrics: exposes which versions are in memory.

    Attributes:
        champions, challengers: by model.
        outdated: versions in memory whose folder was replaced since; they serve until the new ones are loaded.
        locks: held while a version of a model is loaded and gets its place, so that no version is loaded twice.
    """

    def __init__(self, loader: ModelLoader, capacity: int, metrics: Metrics) -> None:
        self._loader = loader
        self._capacity = capacity
        self._metrics = metrics
        self.champions: dict[str, Model] = {}
        self.challengers: dict[str, Model] = {}
        self.outdated: WeakSet[Model] = WeakSet()
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._replaced: dict[str, Model] = {}
        self._cache: OrderedDict[tuple[str, int], Model] = OrderedDict()

    def find(self, name: str, version: int) -> Model | None:
        """Return a version if it is in memory."""
        for models in (self.champions, self._replaced, self.challengers):
            model = models.get(name)
            if model is not None and model.version == version:
                return model
        if (name, version) in self._cache:
            self._cache.move_to_end((name, version))
        return self._cache.get((name, version))

    async def find_or_load(self, name: str, version: int) -> Model:
        """Return a version from memory, else load it; a loaded version has no place in memory yet.

        Raises:
            ModelRefusedError: it is not fit to serve.
        """
        found = self.find(name, version)
        return await self._loader.load(name, version) if found is None or found in self.outdated else found

    def mark_outdated(self, models: Collection[Model]) -> None:
        """Forget versions whose folder was replaced, but for champions and challengers, which serve until then."""
        self.outdated.update(models)
        for key in [key for key, model in self._cache.items() if model in self.outdated]:
            del self._cache[key]
        for name in [name for name, model in self._replaced.items() if model in self.outdated]:
            del self._replaced[name]
        self._expose()

    def set_champion(self, model: Model) -> Model | None:
        """Make a version the champion; return the champion that it replaces."""
        replaced = self.champions.get(model.name)
        self._cache.pop((model.name, model.version), None)
        self.champions[model.name] = model
        if replaced is not None and replaced not in self.outdated:
            before = self._replaced.get(model.name)
            self._replaced[model.name] = replaced
            if before is not None and before is not model:
                self.cache(before)
        self._expose()
        return replaced

    def set_challenger(self, model: Model) -> None:
        """Keep a version in memory until `release_challenger`."""
        self._cache.pop((model.name, model.version), None)
        self.challengers[model.name] = model
        self._expose()

    def release_challenger(self, name: str) -> None:
        """Let the challenger of a model be evicted, unless it has become the champion."""
        challenger = self.challengers.pop(name)
        if self.champions.get(name) is not challenger and challenger not in self.outdated:
            self.cache(challenger)

    def cache(self, model: Model) -> None:
        """Keep a version in memory until it is the least recently used one and there are too many."""
        self._cache[model.name, model.version] = model
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        self._expose()

    def evict(self, name: str) -> bool:
        """Drop all versions of a model; return False if it has no champion."""
        if self.champions.pop(name, None) is None:
            return False
        self.challengers.pop(name, None)
        self._replaced.pop(name, None)
        for key in [key for key in self._cache if key[0] == name]:
            del self._cache[key]
        self._expose()
        return True

    def models(self) -> list[Model]:
        """Return all versions in memory, champions first."""
        groups = (self.champions, self.challengers, self._replaced, self._cache)
        return list(dict.fromkeys(model for group in groups for model in group.values()))

    def _expose(self) -> None:
        self._metrics.versions.set_resident([model.manifest for model in self.models()])
