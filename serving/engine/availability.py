"""Availability of models: what admins loaded and unloaded. The workers of one server share it through a folder."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".availability"


@dataclass(frozen=True, slots=True)
class AdminAction:
    """The last load or unload of a model by an admin.

    Attributes:
        is_load: True after a load, False after an unload.
        time_ns: when, in nanoseconds since the epoch: a second load is another action.
    """

    is_load: bool
    time_ns: int


class Availability:
    """The last admin action on each model. Lasts as long as the server: after a restart, all models are available.

    Args:
        folder: shared by the workers of one server; None for a server of a single process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._recorded: dict[str, AdminAction] = {}
        self._applied: dict[str, AdminAction] = {}

    def record(self, name: str, *, is_load: bool) -> None:
        """Record that an admin loads or unloads a model; `refresh` applies it, in every worker."""
        action = AdminAction(is_load, time.time_ns())
        self._recorded[name] = action
        if self._folder is not None:
            # Renamed into place, so that no worker reads half of it.
            temporary = self._folder / f"{name}.{os.getpid()}.tmp"
            temporary.write_text(f"{int(action.is_load)} {action.time_ns}")
            temporary.replace(self._folder / f"{name}{SUFFIX}")

    def refresh(self) -> set[str]:
        """Apply the actions recorded in this worker and in the others; return the models with a new action."""
        if self._folder is not None:
            for path in self._folder.glob(f"*{SUFFIX}"):
                is_load, time_ns = map(int, path.read_text().split())
                self._recorded[path.stem] = AdminAction(bool(is_load), time_ns)
        changed = {name for name, action in self._recorded.items() if action != self._applied.get(name)}
        self._applied = dict(self._recorded)
        return changed

    def is_unloaded(self, name: str) -> bool:
        """Return whether the last action on the model is an unload."""
        return name in self._applied and not self._applied[name].is_load
