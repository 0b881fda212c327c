"""Model manager: which version answers for a model, and the loads and unloads that admins ask for."""

from dataclasses import dataclass

from serving.engine.availability import Availability
from serving.engine.challenger.rollout import ChallengerLimits, RolloutManager
from serving.engine.model import IMAGE_SHAPE, Model
from serving.engine.repository import ModelRepository, RolloutSpec
from serving.engine.repository_watcher import RepositoryWatcher
from serving.engine.residency import ModelLoader, Residency
from serving.engine.validation import Validator
from serving.errors import ModelRefusedError, NotReadyError, StartError, UnknownModelError
from serving.metrics.prometheus import Metrics


@dataclass(frozen=True, slots=True)
class VersionState:
    """The state of a version, in the terms of the protocol's repository index.

    Attributes:
        name: of the model.
        version: its number.
        state: READY in memory, or UNAVAILABLE.
        reason: why it is unavailable.
        refused: whether it is unavailable because it is not fit to serve.
    """

    name: str
    version: int
    state: str
    reason: str
    refused: bool = False


class ModelManager:
    """The models of a repository. Everything but loading happens on the event loop, so that no locks are needed.

    Args:
        repository: where the models come from.
        metrics: counts champions, refusals and rollouts.
        default: name of the default model; empty for the only one, or the one whose first version is the oldest (for
            images: the oldest of those that classify images), so that a new model changes no answers.
        resident_versions: how many versions may stay in memory besides champions, challengers, and the versions that
            champions replaced.
        validator: tries versions of the repository before they serve.
        challenger_limits: when challengers are withdrawn.
        availability: which models admins unloaded.

    Attributes:
        active_rollouts: the rollouts that run now, by model.
    """

    def __init__(
        self,
        repository: ModelRepository,
        metrics: Metrics,
        default: str,
        resident_versions: int,
        validator: Validator,
        challenger_limits: ChallengerLimits | None = None,
        availability: Availability | None = None,
    ) -> None:
        self._folder = repository.folder
        self._default = default
        self._availability = availability or Availability(None)
        self._loader = ModelLoader(repository, validator, metrics)
        self._residency = Residency(self._loader, resident_versions, metrics)
        limits = challenger_limits or ChallengerLimits()
        self._rollout_manager = RolloutManager(self._residency, self._loader, limits, metrics)
        self.active_rollouts = self._rollout_manager.active
        self._watcher = RepositoryWatcher(
            repository, self._availability, self._loader, self._residency, self._rollout_manager, metrics
        )

    async def open(self) -> None:
        """Load the champions, before requests are served.

        Raises:
            StartError: there is no repository, or it has no champion that is fit to serve.
        """
        fix = "Run `mnistflow retrain` first, or give another --repository."
        try:
            await self._watcher.open()
        except OSError as error:
            raise StartError(f"no model repository at {self._folder} ({error.strerror}). {fix}") from None
        entries = self._watcher.entries
        if not entries:
            raise StartError(f"the model repository at {self._folder} has no champion. {fix}")
        if self._default and self._default not in entries:
            raise StartError(f"no model {self._default!r} has a champion. There are: {', '.join(entries)}.")
        required = {self._default} if self._default else entries.keys()
        champions, is_unloaded = self._residency.champions, self._availability.is_unloaded
        if not any(name in champions or is_unloaded(name) for name in required):
            raise StartError(
                "no champion is fit to serve; the reasons are above. Remove their cause, or promote another version."
            )

    async def follow(self, poll_seconds: float) -> None:
        """Follow the changes of the repository until cancelled."""
        await self._watcher.follow(poll_seconds)

    @property
    def champions(self) -> list[Model]:
        """All champions that serve."""
        return list(self._residency.champions.values())

    @property
    def serving(self) -> dict[str, int | None]:
        """The version that serves, by model; None where the champion was refused or unloaded."""
        champions = self._residency.champions
        return {name: champions[name].version if name in champions else None for name in self._watcher.entries}

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the numbers of all versions of a model, ascending.

        Raises:
            UnknownModelError: no model of that name has a champion.
        """
        if name not in self._watcher.entries:
            raise UnknownModelError("no such model is served here")
        return self._watcher.entries[name].versions

    def states(self) -> list[VersionState]:
        """Return the state of every version in the repository."""
        resident = {(model.name, model.version) for model in self._residency.models()}
        refusals = self._loader.refusals
        states = []
        for name, entry in self._watcher.entries.items():
            # A champion pointer may name a version that does not exist, and be refused for that.
            numbers = {*entry.versions, *(version for refused, version in refusals if refused == name)}
            for version in sorted(numbers):
                if (name, version) in resident:
                    states.append(VersionState(name, version, "READY", ""))
                else:
                    reason = "unloaded" if self._availability.is_unloaded(name) else refusals.get((name, version))
                    is_refused = (name, version) in refusals
                    states.append(VersionState(name, version, "UNAVAILABLE", reason or "not loaded", is_refused))
        return states

    def rollout_state(self, name: str) -> tuple[RolloutSpec, str] | None:
        """Return the specification of a rollout, and `on` or why it does not run; None without a challenger."""
        spec = self._watcher.entries[name].rollout
        return None if spec is None else (spec, self._rollout_manager.state(name, spec))

    def default(self) -> Model:
        """Return the champion of the default model.

        Raises:
            NotReadyError: the default model is unloaded.
        """
        champion = self._residency.champions.get(self._default) if self._default else self._oldest(self.champions)
        if champion is None:
            raise NotReadyError("the default model is unloaded: load it with POST /v2/repository/models/NAME/load")
        return champion

    @property
    def image_classifiers(self) -> list[Model]:
        """All champions that classify images, by name."""
        return sorted((model for model in self.champions if model.classifies_images), key=lambda model: model.name)

    def image_classifier(self, name: str | None = None) -> Model:
        """Return a champion that classifies images.

        Args:
            name: of its model; None for the default model, or the oldest of those that classify images.

        Raises:
            UnknownModelError: there is no such model, or it does not classify images.
            NotReadyError: the model is unloaded, or has no version that is fit to serve.
        """
        if name is not None or self._default:
            chosen = self.default() if name is None else self.champion(name)
        else:
            chosen = self._oldest(self.image_classifiers) or self.default()
        if not chosen.classifies_images:
            side, _ = IMAGE_SHAPE
            raise UnknownModelError(f"{chosen.name} does not classify images of {side}x{side}, use /v2 for it")
        return chosen

    @property
    def image_generators(self) -> list[Model]:
        """All champions that generate images, by name."""
        return sorted((model for model in self.champions if model.generates_images), key=lambda model: model.name)

    def image_generator(self, name: str | None = None) -> Model:
        """Return a champion that generates images.

        Args:
            name: of its model; None for the oldest of those that generate images.

        Raises:
            UnknownModelError: there is no such model, or it does not generate images.
            NotReadyError: the model is unloaded, or has no version that is fit to serve.
        """
        chosen = self._oldest(self.image_generators) if name is None else self.champion(name)
        if chosen is None:
            raise UnknownModelError("no model here generates images")
        if not chosen.generates_images:
            raise UnknownModelError(f"{chosen.name} does not generate images, use /v2 for it")
        return chosen

    def champion(self, name: str) -> Model:
        """Return the version of a model that serves.

        Raises:
            UnknownModelError: no model of that name has a champion.
            NotReadyError: the model is unloaded, or its champion was refused and no other version served before.
        """
        champion = self._residency.champions.get(name)
        if champion is None:
            self.versions(name)
            self._check_loaded(name)
            raise NotReadyError("this model has no version that is fit to serve: promote another version")
        return champion

    async def version(self, name: str, version: int) -> Model:
        """Return a version by number; loads it when it is not in memory.

        Raises:
            UnknownModelError: there is no such model or version.
            NotReadyError: the version is not fit to serve, or the model is unloaded.
        """
        if version not in self.versions(name):
            raise UnknownModelError("this model has no such version")
        self._check_loaded(name)
        model = self._residency.find(name, version)
        if model is not None:
            return model
        async with self._residency.locks[name]:
            try:
                loaded = await self._residency.find_or_load(name, version)
            except ModelRefusedError as error:
                raise NotReadyError(f"this version is not fit to serve: {error}") from error
            self._check_loaded(name)
            if self._residency.find(name, version) is None:
                self._residency.cache(loaded)
            return loaded

    async def load(self, name: str) -> None:
        """Make a model available again, and try its champion even if that was refused before.

        Raises:
            UnknownModelError: no model of that name has a champion.
            NotReadyError: the champion is not fit to serve; the version that served before goes on serving.
        """
        if name in self._watcher.entries:
            self._availability.record(name, is_load=True)
        await self._watcher.refresh()
        if name in self._watcher.entries:
            await self._watcher.update(name)
        serving, wanted = self.champion(name).version, self._watcher.entries[name].champion
        if serving != wanted:
            reason = self._loader.refusals.get((name, wanted), "not loaded")
            raise NotReadyError(f"version {wanted} is not fit to serve, version {serving} continues to serve: {reason}")

    def unload(self, name: str) -> None:
        """Drop a model from memory; requests that run keep what they need.

        Raises:
            UnknownModelError: no model of that name has a champion.
        """
        self.versions(name)
        self._availability.record(name, is_load=False)
        self._availability.refresh()
        self._watcher.unload(name)

    def _oldest(self, models: list[Model]) -> Model | None:
        return min(models, key=lambda model: (self._watcher.entries[model.name].created, model.name), default=None)

    def _check_loaded(self, name: str) -> None:
        if self._availability.is_unloaded(name):
            raise NotReadyError("this model is unloaded: load it with POST /v2/repository/models/NAME/load")
