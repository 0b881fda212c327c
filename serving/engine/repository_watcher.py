"""Repository watcher: polls the model repository, and brings new champions and challengers into service."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from serving.engine.availability import Availability
from serving.engine.challenger.rollout import RolloutManager
from serving.engine.model import Model
from serving.engine.repository import ModelEntry, ModelRepository, RolloutSpec
from serving.engine.residency import ModelLoader, Residency
from serving.errors import ModelRefusedError
from serving.metrics.prometheus import Metrics

log = logging.getLogger(__name__)


class RepositoryWatcher:
    """Follows a repository. Used on the event loop; only reading the repository and loading happen in threads.

    Args:
        repository: polled.
        availability: which models admins unloaded.
        loader: tries refused versions again when their model changes.
        residency: receives the champions.
        rollout_manager: begins and ends the rollouts.
        metrics: exposes champions, and counts their changes.

    Attributes:
        entries: of the models with a champion, by name, as of the last poll. The entry of a model that has left the
            repository stays while its champion serves.
    """

    def __init__(
        self,
        repository: ModelRepository,
        availability: Availability,
        loader: ModelLoader,
        residency: Residency,
        rollout_manager: RolloutManager,
        metrics: Metrics,
    ) -> None:
        self.entries: dict[str, ModelEntry] = {}
        self._repository = repository
        self._availability = availability
        self._loader = loader
        self._residency = residency
        self._rollout_manager = rollout_manager
        self._metrics = metrics
        self._refreshing = asyncio.Lock()
        self._updates: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Read the repository, and load the champions that are fit to serve.

        Raises:
            OSError: the repository cannot be read.
        """
        self.entries = self._repository.scan()
        self._availability.refresh()
        await asyncio.gather(*map(self._update_champion, self.entries))

    async def follow(self, poll_seconds: float) -> None:
        """Poll until cancelled. Models are updated independently: none waits while a version of another one loads."""
        last_error = ""
        try:
            while True:
                await asyncio.sleep(poll_seconds)
                last_error = await self._poll(last_error)
                for name in self.entries.keys() - self._updates.keys():
                    self._updates[name] = asyncio.create_task(self._update_logged(name))
        finally:
            for task in self._updates.values():
                task.cancel()
            await asyncio.gather(*self._updates.values(), return_exceptions=True)

    async def refresh(self) -> None:
        """Read the repository and the admins' actions, and unload what an admin unloaded.

        Raises:
            OSError: the repository cannot be read.
        """
        async with self._refreshing:
            found, outdated = await asyncio.to_thread(self._scan, self._residency.models())
            for name in self.entries.keys() - found.keys():
                if name in self._residency.champions:
                    found[name] = self.entries[name]
            # A version that is published beside others is no reason to try a refused one again.
            changed = {name for name, entry in found.items() if not entry.has_same_selection(self.entries.get(name))}
            changed |= self._availability.refresh()
            if outdated:
                changed |= {model.name for model in outdated}
                self._residency.mark_outdated(outdated)
            self.entries = found
            self._loader.forget_refusals(changed)
            for name in filter(self._availability.is_unloaded, found):
                self.unload(name)

    def _scan(self, resident: Sequence[Model]) -> tuple[dict[str, ModelEntry], list[Model]]:
        """Return the entries of the repository, and the versions in memory whose folder was replaced since the last
        poll: by its publisher, with a version of the same number in another registry."""
        outdated = []
        for model in resident:
            now = self._repository.file_id(model.name, model.version)
            if now is not None and now != model.file_id and model not in self._residency.outdated:
                outdated.append(model)
        return self._repository.scan(), outdated

    async def update(self, name: str) -> None:
        """Bring the champion and the rollout of a model in line with its entry."""
        await self._update_champion(name)
        await self._rollout_manager.update(name, lambda: self._spec(name))

    def unload(self, name: str) -> None:
        """Drop a model from memory; requests that run keep what they need."""
        if self._residency.evict(name):
            self._rollout_manager.active.pop(name, None)
            log.info("%s: unloaded", name)

    async def _poll(self, last_error: str) -> str:
        """Refresh; return the error, which is logged only if it is not the last one: once, not at every poll."""
        try:
            await self.refresh()
        except OSError as error:
            if str(error) != last_error:
                log.error("the model repository cannot be read, versions in memory continue to serve: %s", error)
            return str(error)
        except Exception:
            log.exception("polling the model repository failed, versions in memory continue to serve")
            return last_error
        return ""

    async def _update_logged(self, name: str) -> None:
        try:
            await self.update(name)
        except Exception:
            log.exception("%s: the champion or the rollout could not be updated", name)
        finally:
            del self._updates[name]

    async def _update_champion(self, name: str) -> None:
        async with self._residency.locks[name]:
            champion, version = self._residency.champions.get(name), self._wanted(name)
            if version is None or (name, version) in self._loader.refusals:
                return
            if champion is not None and champion.version == version and champion not in self._residency.outdated:
                return
            # A refused version is logged and counted by the loader.
            with suppress(ModelRefusedError):
                model = await self._residency.find_or_load(name, version)
                # Another version may have become the champion while this one was loaded.
                if self._wanted(name) == version:
                    self._promote(model)

    def _promote(self, model: Model) -> None:
        replaced = self._residency.set_champion(model)
        after = f" now, instead of {replaced.version}" if replaced else ""
        log.info("%s: version %d serves%s", model.name, model.version, after)
        self._metrics.versions.set_champion(model.manifest, is_swap=replaced is not None)

    def _wanted(self, name: str) -> int | None:
        """Return the version of a model that should serve; None when the model is gone or unloaded."""
        entry = self.entries.get(name)
        return None if entry is None or self._availability.is_unloaded(name) else entry.champion

    def _spec(self, name: str) -> RolloutSpec | None:
        entry = self.entries.get(name)
        return None if entry is None else entry.rollout
