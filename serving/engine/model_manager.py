"""Which models are in memory: champions and challengers that the repository names, and versions asked for by number."""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from serving.engine.availability import Switch, Switches
from serving.engine.model import IMAGE_SHAPE, Model
from serving.engine.repository import Entry, ModelRepository, Plan
from serving.engine.rollout import TOLERANCE, Rollout, Tolerance
from serving.engine.validation import Validator
from serving.errors import ModelRefusedError, NotReadyError, StartError, UnknownModelError
from serving.metrics.prometheus import Metrics

log = logging.getLogger(__name__)

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What became of a version: READY in memory, or UNAVAILABLE for a reason, such as that it was refused."""

    name: str
    version: int
    state: str
    reason: str
    refused: bool = False


class Catalogue:
    """The resident models. Everything but loading happens on the event loop, so that it needs no locks.

    Args:
        repository: where the models come from.
        metrics: told of loads, swaps and refusals.
        default: name of the default model; empty for the only one, or the one whose champion is newest (for pictures:
            the newest of those that take them).
        resident_versions: how many models may stay in memory besides the champions and those that these replaced.
        validator: tries versions of the repository before they serve.
        tolerance: what challengers may do before they are withdrawn.
        switches: which models are out of service, and told of it.

    Attributes:
        rollouts: the challengers that are tried now, by model.
    """

    def __init__(
        self,
        repository: ModelRepository,
        metrics: Metrics,
        default: str,
        resident_versions: int,
        validator: Validator,
        tolerance: Tolerance = TOLERANCE,
        switches: Switches | None = None,
    ) -> None:
        self._repository = repository
        self._metrics = metrics
        self._default = default
        self._resident_versions = resident_versions
        self._validator = validator
        self._tolerance = tolerance
        self.rollouts: dict[str, Rollout] = {}
        self._withdrawn: dict[str, tuple[Plan, str]] = {}
        self._entries: dict[str, Entry] = {}
        self._champions: dict[str, Model] = {}
        # What champions replaced, so that a rollback loads nothing, whatever else is asked for.
        self._previous: dict[str, Model] = {}
        self._others: OrderedDict[Key, Model] = OrderedDict()
        self._refused: dict[Key, str] = {}
        self._switches = switches or Switches(None)
        self._switched: Mapping[str, Switch] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._refreshing = asyncio.Lock()
        self._bringing_in: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Load the champions, before serving starts.

        Raises:
            StartError: there is no repository, or no model in it that can serve.
        """
        folder = self._repository.folder
        mend = "Run `mnistflow retrain` first, or give another --repository."
        try:
            self._entries = self._repository.scan()
        except OSError as error:
            raise StartError(f"no model repository at {folder} ({error.strerror}). {mend}") from None
        if not self._entries:
            raise StartError(f"the model repository at {folder} has no champion. {mend}")
        if self._default and self._default not in self._entries:
            raise StartError(f"no model {self._default!r} has a champion. There are: {', '.join(self._entries)}.")
        self._switched = self._switches.read()
        await asyncio.gather(*map(self._follow_champion, self._entries))
        needed = {self._default} if self._default else self._entries.keys()
        if not any(name in self._champions or self._is_off(name) for name in needed):
            raise StartError("no champion is fit to serve, the reasons are above. Promote it anew, or another version.")

    @property
    def champions(self) -> list[Model]:
        return list(self._champions.values())

    @property
    def serving(self) -> dict[str, int | None]:
        """The version that serves of each model; None where none does, because it was refused or unloaded."""
        return {name: champion.version if (champion := self._champions.get(name)) else None for name in self._entries}

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
        resident = {(model.name, model.version) for model in self._in_memory()}
        states = []
        for name, entry in self._entries.items():
            # A champion pointer may name a version that is not there, and be refused for that.
            numbers = {*entry.versions, *(version for refused, version in self._refused if refused == name)}
            for version in sorted(numbers):
                if (name, version) in resident:
                    states.append(VersionState(name, version, "READY", ""))
                else:
                    reason = "unloaded" if self._is_off(name) else self._refused.get((name, version))
                    refused = (name, version) in self._refused
                    states.append(VersionState(name, version, "UNAVAILABLE", reason or "not loaded", refused))
        return states

    def plan(self, name: str) -> tuple[Plan, str] | None:
        """Return what is asked for a challenger of this model and what became of it: `on`, or why it is not tried."""
        plan = self._entries[name].plan
        if plan is None:
            return None
        if name in self.rollouts:
            return plan, "on"
        if (name, plan.challenger) in self._refused:
            return plan, f"refused: {self._refused[name, plan.challenger]}"
        if name in self._withdrawn:
            return plan, f"withdrawn: {self._withdrawn[name][1]}"
        return plan, "not loaded"

    def default(self) -> Model:
        """Return the champion of the default model.

        Raises:
            NotReadyError: it is out of service.
        """
        champion = self._champions.get(self._default) if self._default else self._newest(self.champions)
        if champion is None:
            raise NotReadyError("the default model is unloaded")
        return champion

    def image_classifier(self) -> Model:
        """Return the champion behind the doors for pictures: the default model, or the newest of those that take them.

        Raises:
            UnknownModelError: there is none.
            NotReadyError: it is out of service.
        """
        default = self.default()
        able = [model for model in ([default] if self._default else self.champions) if model.classifies_images]
        newest = self._newest(able)
        if newest is None:
            side, _ = IMAGE_SHAPE
            raise UnknownModelError(f"{default.name} does not classify pictures of {side}x{side}, ask it through /v2")
        return newest

    def champion(self, name: str) -> Model:
        """Return the version of a model that serves.

        Raises:
            UnknownModelError: no model of that name has a champion.
            NotReadyError: its champion was refused, and none served before; or it is out of service.
        """
        champion = self._champions.get(name)
        if champion is None:
            self.versions(name)
            self._check_on(name)
            raise NotReadyError("this model has no version that is fit to serve")
        return champion

    async def version(self, name: str, version: int) -> Model:
        """Return a version by number; loads it when it is not in memory.

        Raises:
            UnknownModelError: no such model or version.
            NotReadyError: the version is not fit to serve, or the model is out of service.
        """
        if version not in self.versions(name):
            raise UnknownModelError("this model has no such version")
        self._check_on(name)
        model = self._resident(name, version)
        if model is not None:
            return model
        async with self._changing[name]:
            try:
                loaded = self._resident(name, version) or await self._load(name, version)
            except ModelRefusedError as error:
                raise NotReadyError(f"this version is not fit to serve: {error}") from error
            self._check_on(name)
            return self._resident(name, version) or self._keep(loaded)

    async def load(self, name: str) -> None:
        """Take a model into service and try its champion anew.

        Raises:
            UnknownModelError: no model of that name has a champion.
            NotReadyError: the champion is not fit to serve; what served before goes on serving.
        """
        if name in self._entries:
            self._switches.turn(name, on=True)
        await self._refresh()
        if name in self._entries:
            await self._bring_in(name)
        serving, wanted = self.champion(name).version, self._entries[name].champion
        if serving != wanted:
            reason = self._refused.get((name, wanted), "not loaded")
            raise NotReadyError(f"version {wanted} is not fit to serve, version {serving} goes on: {reason}")

    def unload(self, name: str) -> None:
        """Take a model out of service; requests under way keep what they need.

        Raises:
            UnknownModelError: no model of that name has a champion.
        """
        self.versions(name)
        self._switches.turn(name, on=False)
        self._switched = self._switches.read()
        self._take_out(name)

    def _newest(self, models: list[Model]) -> Model | None:
        return max(models, key=lambda model: self._entries[model.name].changed_ns, default=None)

    async def follow(self, poll_seconds: float) -> None:
        """Look for new champions until cancelled; none has to wait for that of another model."""
        trouble = ""
        try:
            while True:
                await asyncio.sleep(poll_seconds)
                try:
                    await self._refresh()
                    trouble = ""
                except OSError as error:
                    # Said once, not at every look.
                    if str(error) != trouble:
                        trouble = str(error)
                        log.error("the model repository cannot be read, what is in memory goes on serving: %s", trouble)
                except Exception:
                    log.exception("looking for new champions failed; what is in memory goes on serving")
                for name in self._entries.keys() - self._bringing_in.keys():
                    self._bringing_in[name] = asyncio.create_task(self._bring_in_logged(name))
        finally:
            for task in self._bringing_in.values():
                task.cancel()
            await asyncio.gather(*self._bringing_in.values(), return_exceptions=True)

    async def _bring_in_logged(self, name: str) -> None:
        try:
            await self._bring_in(name)
        except Exception:
            log.exception("%s: what the repository names cannot be brought in", name)
        finally:
            del self._bringing_in[name]

    async def _refresh(self) -> None:
        async with self._refreshing:
            self._take_note(await asyncio.to_thread(self._repository.scan), self._switches.read())

    def _take_note(self, found: dict[str, Entry], switched: Mapping[str, Switch]) -> None:
        for name in self._entries.keys() - found.keys():
            if name in self._champions:
                # What serves goes on serving; only another champion replaces it.
                found[name] = self._entries[name]
        changed = {name for name, entry in found.items() if entry != self._entries.get(name)}
        changed |= {name for name, switch in switched.items() if switch != self._switched.get(name)}
        self._entries, self._switched = found, switched
        self._refused = {key: reason for key, reason in self._refused.items() if key[0] not in changed}
        for name in filter(self._is_off, found):
            self._take_out(name)

    async def _bring_in(self, name: str) -> None:
        await self._follow_champion(name)
        await self._follow_plan(name)

    def _take_out(self, name: str) -> None:
        if self._champions.pop(name, None) is None:
            return
        self.rollouts.pop(name, None)
        self._previous.pop(name, None)
        for key in [key for key in self._others if key[0] == name]:
            del self._others[key]
        log.info("%s: unloaded", name)
        self._show_resident()

    def _is_off(self, name: str) -> bool:
        return name in self._switched and not self._switched[name].is_on

    def _check_on(self, name: str) -> None:
        if self._is_off(name):
            raise NotReadyError("this model is unloaded")

    async def _follow_champion(self, name: str) -> None:
        async with self._changing[name]:
            serving, version = self._champions.get(name), self._wanted(name)
            if version is None or (name, version) in self._refused:
                return
            if serving is not None and serving.version == version:
                return
            try:
                model = self._resident(name, version) or await self._load(name, version)
            except ModelRefusedError:
                return  # logged and counted where it was refused
            # While it was loaded, another may have been named.
            if self._wanted(name) == version:
                self._promote(model)

    def _wanted(self, name: str) -> int | None:
        """Return the version of a model that should serve; None when none should."""
        entry = self._entries.get(name)
        return None if entry is None or self._is_off(name) else entry.champion

    async def _follow_plan(self, name: str) -> None:
        champion, rollout = self._champions.get(name), self.rollouts.get(name)
        if champion is None:
            return
        plan = self._entries[name].plan
        if rollout is not None:
            if rollout.plan == plan and rollout.champion is champion:
                return
            self._end(rollout)
        if plan is None or plan.challenger == champion.version:
            return
        if (name, plan.challenger) in self._refused or (name in self._withdrawn and self._withdrawn[name][0] == plan):
            return
        async with self._changing[name]:
            try:
                challenger = self._resident(name, plan.challenger) or await self._load(name, plan.challenger)
            except ModelRefusedError:
                return  # logged and counted where it was refused
            if self._champions.get(name) is champion and self._entries[name].plan == plan:
                self._begin(plan, champion, challenger)

    def _begin(self, plan: Plan, champion: Model, challenger: Model) -> None:
        name = champion.name
        if (challenger.inputs, challenger.outputs) != (champion.inputs, champion.outputs):
            self._refuse(name, challenger.version, ModelRefusedError("its signature is not that of the champion"))
            return
        self._others.pop((name, challenger.version), None)
        self.rollouts[name] = Rollout(plan, champion, challenger, self._tolerance, self._metrics, self._withdraw)
        self._show_resident()
        shadow = "on" if plan.shadow else "off"
        log.info("%s: version %d is tried: canary %g, shadow %s", name, challenger.version, plan.canary, shadow)

    def _withdraw(self, rollout: Rollout, reason: str) -> None:
        name = rollout.challenger.name
        if self.rollouts.get(name) is rollout:
            self._withdrawn[name] = (rollout.plan, reason)
            self._metrics.rollout_withdrawn(rollout.challenger.manifest)
            self._end(rollout)
            log.warning("%s: version %d is withdrawn: %s", name, rollout.challenger.version, reason)

    def _end(self, rollout: Rollout) -> None:
        del self.rollouts[rollout.challenger.name]
        if self._champions.get(rollout.challenger.name) is not rollout.challenger:
            self._keep(rollout.challenger)

    def _resident(self, name: str, version: int) -> Model | None:
        champion, rollout = self._champions.get(name), self.rollouts.get(name)
        if champion is not None and champion.version == version:
            return champion
        previous = self._previous.get(name)
        if previous is not None and previous.version == version:
            return previous
        if rollout is not None and rollout.challenger.version == version:
            return rollout.challenger
        if (name, version) in self._others:
            self._others.move_to_end((name, version))
            return self._others[name, version]
        return None

    async def _load(self, name: str, version: int) -> Model:
        if (name, version) in self._refused:
            raise ModelRefusedError(self._refused[name, version])
        try:
            await self._validator.validate(name, version)
            return await asyncio.to_thread(lambda: Model(self._repository.read(name, version)))
        except ModelRefusedError as error:
            self._refuse(name, version, error)
            raise

    def _promote(self, model: Model) -> None:
        previous = self._champions.get(model.name)
        self._others.pop((model.name, model.version), None)
        self._champions[model.name] = model
        if previous is not None:
            before = self._previous.get(model.name)
            self._previous[model.name] = previous
            if before is not None and before is not model:
                self._keep(before)
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
        self._metrics.resident([model.manifest for model in self._in_memory()])

    def _in_memory(self) -> list[Model]:
        challengers = [rollout.challenger for rollout in self.rollouts.values()]
        kept = (*self._previous.values(), *self._others.values())
        return list(dict.fromkeys((*self._champions.values(), *challengers, *kept)))

    def _refuse(self, name: str, version: int, error: ModelRefusedError) -> None:
        self._refused[name, version] = str(error)
        self._metrics.refused(name, version)
        log.warning("%s: version %d is refused: %s", name, version, error)
