"""Where things are: the one place that knows the names of files and folders.

A *workspace* holds one run's `params.yaml`, `dvc.yaml`, sources and stage outputs. The *home* is the checkout:
what outlives a run (downloads, experiments, model repository) lies in its `var/`. A stage started by hand runs with
the checkout as both.
"""

from dataclasses import dataclass
from pathlib import Path

from mnistflow.errors import ConfigError


@dataclass(frozen=True)
class Project:
    """The folders of one run.

    Attributes:
        workspace: folder with the `params.yaml` and `dvc.yaml` of this run; stage outputs lie in its `var/`.
        home: the checkout; its `var/` is shared by all runs.
    """

    workspace: Path
    home: Path

    @classmethod
    def locate(cls, start: Path | None = None) -> "Project":
        """Find the workspace at or above `start` (default: the current folder).

        Raises:
            ConfigError: no folder on the way up has a params.yaml.
        """
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file():
                return cls(folder, folder)
        raise ConfigError(f"no params.yaml in {start} or above it", "Change into the checkout first.")

    @property
    def params(self) -> Path:
        return self.workspace / "params.yaml"

    # Outputs of the stages, in the workspace: dvc.yaml names the same paths.

    @property
    def raw(self) -> Path:
        """Verified raw files and `dataset.json`."""
        return self.workspace / "var/data/raw"

    @property
    def prepared(self) -> Path:
        """`train.npz`, `validation.npz`, `test.npz` and `dataset.json`."""
        return self.workspace / "var/data/prepared"

    @property
    def reports(self) -> Path:
        """Metrics, plots and pictures, one folder a stage."""
        return self.workspace / "var/reports"

    @property
    def tuned(self) -> Path:
        """`best.json` (overrides for train) and `trials.json`."""
        return self.workspace / "var/tuned"

    @property
    def trained(self) -> Path:
        """`model.keras` and `training.json`."""
        return self.workspace / "var/trained"

    @property
    def exported(self) -> Path:
        """`model.onnx` and `model.json`."""
        return self.workspace / "var/exported"

    @property
    def evaluated(self) -> Path:
        """`evaluation.json` and `predictions.npz`."""
        return self.workspace / "var/evaluated"

    # What outlives a run, in the home.

    @property
    def var(self) -> Path:
        return self.home / "var"

    @property
    def downloads(self) -> Path:
        return self.var / "downloads"

    @property
    def resume(self) -> Path:
        """Unfinished studies and trainings, keyed by all that they depend on."""
        return self.var / "resume"

    @property
    def sweeps(self) -> Path:
        """One folder a sweep: its finished runs, its result and picture."""
        return self.var / "sweeps"

    @property
    def mlflow(self) -> Path:
        return self.var / "mlflow"

    @property
    def models(self) -> Path:
        """The model repository that servers read."""
        return self.var / "models"

    @property
    def runs(self) -> Path:
        """One workspace a run, with its logs."""
        return self.var / "runs"

    @property
    def dvc_cache(self) -> Path:
        return self.var / "dvc/cache"

    @property
    def dvc_remote(self) -> Path:
        return self.var / "dvc/remote"
