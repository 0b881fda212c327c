"""Which models are in memory: the champions, kept up to date with the repository, and versions asked for by number."""

import asyncio
import logging
import math
from collections import OrderedDict
from dataclasses import dataclass

from serving import candidate
from serving.errors import ModelRefusedError, NotReadyError, StartError, UnknownModelError
from serving.metrics import Metrics
from serving.model import IMAGE_SHAPE, Model
from serving.repository import Entry, ModelRepository

log = logging.getLogger(__name__)

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What became of a version: READY in memory, or UNAVAILABLE for a reason."""

    name: str
    version: int
    state: str
    reason: str


class Catalogue:
    """The resident models. Everything but loading happens on the event loop, so that it needs no locks.

    Args:
        repository: where the models come from.
        metrics: told of loads, swaps and refusals.
        default: name of the default model; empty for the only one, or the one whose champion is newest (for pictures:
            the newest of those that take them).
        resident_versions: how many models may stay in memory besides the champions.
        slowest_seconds: how long a model may take for one row alone.
    """

    def __init__(
        self,
        repository: ModelRepository,
        metrics: Metrics,
        default: str,
        resident_versions: int,
        slowest_seconds: float = math.inf,
    ) -> None:
        self._repository = repository
        self._metrics = metrics
        self._default = default
        self._resident_versions = resident_versions
        self._slowest_seconds = slowest_seconds
        self._entries: dict[str, Entry] = {}
        self._champions: dict[str, Model] = {}
        self._others: OrderedDict[Key, Model] = OrderedDict()
        self._refused: dict[Key, str] = {}
        self._loading = asyncio.Lock()

    def open(self) -> None:
        """Load the champions, before serving starts.

        Raises:
            StartError: there is no repository, or no model in it that can serve.
        """
        folder = self._repository.folder
        try:
            self._entries = self._repository.scan()
        except OSError as error:
            raise StartError(
                f"no model repository at {folder} ({error.strerror}). Run `mnistflow retrain` first."
            ) from None
        if not self._entries:
            raise StartError(f"the model repository at {folder} has no champion. Run `mnistflow retrain` first.")
        if self._default and self._default not in self._entries:
            raise StartError(f"no model {self._default!r} has a champion. There are: {', '.join(self._entries)}.")
        for name, entry in self._entries.items():
            try:
                self._promote(Model(self._repository.read(name, entry.champion), self._slowest_seconds))
            except ModelRefusedError as error:
                self._refuse(name, entry.champion, error)
        if not self._champions or (self._default and self._default not in self._champions):
            raise StartError("no champion is fit to serve, the reasons are above. Promote another version.")

    @property
    def champions(self) -> list[Model]:
        return list(self._champions.values())

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the numbers of all versions of a model.

        Raises:
            UnknownModelError: no model of that name has a champion.
        """
        if name not in self._entries:
            raise UnknownModelError("no such model is served here")
        return self._entries[name].versions

    def states(self) -> list[VersionState]:
        """Return every version in the repository, and why it does not serve if it does not."""
        resident = {(model.name, model.version) for model in (*self._champions.values(), *self._others.values())}
        states = []
        for name, entry in self._entries.items():
            # A champion pointer may name a version that is not there, and be refused for that.
            numbers = {*entry.versions, *(version for refused, version in self._refused if refused == name)}
            for version in sorted(numbers):
                reason = self._refused.get((name, version), "not loaded")
                ready = (name, version) in resident
                states.append(
                    VersionState(name, version, "READY", "")
                    if ready
                    else VersionState(name, version, "UNAVAILABLE", reason)
                )
        return states

    def default(self) -> Model:
        """Return the champion of the default model."""
        if self._default:
            return self._champions[self._default]
        return self._newest(self.champions)

    def picture_classifier(self) -> Model:
        """Return the champion behind the doors for pictures: the default model, or the newest of those that take them.

        Raises:
            UnknownModelError: there is none.
        """
        candidates = [self.default()] if self._default else self.champions
        able = [model for model in candidates if model.classifies_images]
        if not able:
            side, _ = IMAGE_SHAPE
            name = self.default().name
            raise UnknownModelError(f"{name} does not classify pictures of {side}x{side}, ask it through /v2")
        return self._newest(able)

    def champion(self, name: str) -> Model:
        """Return the version of a model that serves.

        Raises:
            UnknownModelError: no model of that name has a champion.
            NotReadyError: its champion was refused, and none served before.
        """
        champion = self._champions.get(name)
        if champion is None:
            self.versions(name)
            raise NotReadyError("this model has no version that is fit to serve")
        return champion

    async def version(self, name: str, version: int) -> Model:
        """Return a version by number; loads it when it is not in memory.

        Raises:
            UnknownModelError: no such model or version.
            NotReadyError: the version is not fit to serve.
        """
        if version not in self.versions(name):
            raise UnknownModelError("this model has no such version")
        model = self._resident(name, version)
        if model is not None:
            return model
        async with self._loading:
            try:
                return self._resident(name, version) or self._keep(await self._load(name, version))
            except ModelRefusedError as error:
                raise NotReadyError(f"this version is not fit to serve: {error}") from error

    def _newest(self, models: list[Model]) -> Model:
        return max(models, key=lambda model: self._entries[model.name].changed_ns)

    async def follow(self, poll_seconds: float) -> None:
        """Look for new champions until cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await self._refresh()
            except Exception:
                log.exception("looking for new champions failed; what is in memory goes on serving")

    def is_complete(self) -> bool:
        """Say whether every model that has a champion has a version that serves."""
        return self._champions.keys() == self._entries.keys()

    async def _refresh(self) -> None:
        found = await asyncio.to_thread(self._repository.scan)
        for name in self._entries.keys() - found.keys():
            if name in self._champions:
                # What serves goes on serving; only another champion replaces it.
                found[name] = self._entries[name]
        changed = {name for name, entry in found.items() if entry != self._entries.get(name)}
        self._entries = found
        self._refused = {key: reason for key, reason in self._refused.items() if key[0] not in changed}
        for name, entry in found.items():
            serving = self._champions.get(name)
            if (serving is None or serving.version != entry.champion) and (name, entry.champion) not in self._refused:
                await self._replace(name, entry.champion)

    async def _replace(self, name: str, version: int) -> None:
        async with self._loading:
            try:
                self._promote(self._resident(name, version) or await self._load(name, version))
            except ModelRefusedError:
                return  # logged and counted where it was refused

    def _resident(self, name: str, version: int) -> Model | None:
        champion = self._champions.get(name)
        if champion is not None and champion.version == version:
            return champion
        if (name, version) in self._others:
            self._others.move_to_end((name, version))
            return self._others[name, version]
        return None

    async def _load(self, name: str, version: int) -> Model:
        if (name, version) in self._refused:
            raise ModelRefusedError(self._refused[name, version])
        try:
            return await asyncio.to_thread(self._load_validated, name, version)
        except ModelRefusedError as error:
            self._refuse(name, version, error)
            raise

    def _load_validated(self, name: str, version: int) -> Model:
        candidate.validate(self._repository, name, version, self._slowest_seconds)
        return Model(self._repository.read(name, version))

    def _promote(self, model: Model) -> None:
        previous = self._champions.get(model.name)
        self._others.pop((model.name, model.version), None)
        self._champions[model.name] = model
        if previous is not None:
            self._keep(previous)
        log.info(
            "%s: version %d serves%s",
            model.name,
            model.version,
            f" now, instead of {previous.version}" if previous else "",
        )
        self._metrics.champion(model.manifest, swapped=previous is not None)
        self._show_resident()

    def _keep(self, model: Model) -> Model:
        self._others[model.name, model.version] = model
        while len(self._others) > self._resident_versions:
            self._others.popitem(last=False)
        self._show_resident()
        return model

    def _show_resident(self) -> None:
        self._metrics.resident([model.manifest for model in (*self._champions.values(), *self._others.values())])

    def _refuse(self, name: str, version: int, error: ModelRefusedError) -> None:
        self._refused[name, version] = str(error)
        self._metrics.refused(name, version)
        log.warning("%s: version %d is refused: %s", name, version, error)
