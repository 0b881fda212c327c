"""Paths of a run and of the checkout: the one place that knows the names of files and folders.

Each run works in a folder of its own, the *workspace*, with its `params.yaml`, `dvc.yaml`, sources and stage outputs.
What outlives a run (downloads, experiments, model repository) lies in `var/` of the *checkout*. A stage that is started
by hand uses the checkout as its workspace.
"""

from dataclasses import dataclass
from pathlib import Path

from mnistflow.errors import ConfigError


@dataclass(frozen=True)
class Paths:
    """Folders of one run.

    Attributes:
        root: the workspace: holds `params.yaml` and `dvc.yaml` of this run; stages write below its `var/`.
        checkout: holds the sources; all runs share its `var/`.
    """

    root: Path
    checkout: Path

    @classmethod
    def locate(cls, start: Path | None = None) -> "Paths":
        """Find the checkout at or above `start` (default: the current folder).

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
        """Parameters of this run."""
        return self.root / "params.yaml"

    # Outputs of the stages, in the workspace: dvc.yaml names the same paths.

    @property
    def unfinished_run(self) -> Path:
        """Note of the MLflow run of a pipeline that DVC executes."""
        return self.root / "var/unfinished_run.json"

    @property
    def raw(self) -> Path:
        """Verified raw files and `dataset.json`."""
        return self.root / "var/data/raw"

    @property
    def prepared(self) -> Path:
        """`train.npz`, `validation.npz`, `test.npz`, `golden.npz` if there is a golden set, and `dataset.json`."""
        return self.root / "var/data/prepared"

    @property
    def reports(self) -> Path:
        """Metrics, tables and plots, one folder a stage."""
        return self.root / "var/reports"

    @property
    def tuned(self) -> Path:
        """`best.json` (overrides for train) and `trials.json`."""
        return self.root / "var/tuned"

    @property
    def trained(self) -> Path:
        """The trained model and `training.json`."""
        return self.root / "var/trained"

    @property
    def exported(self) -> Path:
        """`model.onnx` and `export.json`."""
        return self.root / "var/exported"

    @property
    def evaluated(self) -> Path:
        """`evaluation.json` and `predictions.npz`."""
        return self.root / "var/evaluated"

    # What outlives a run, in the checkout.

    @property
    def var(self) -> Path:
        """Everything written at run time."""
        return self.checkout / "var"

    @property
    def downloads(self) -> Path:
        """Raw files as downloaded, one folder a data set."""
        return self.var / "downloads"

    @property
    def resume(self) -> Path:
        """Checkpoints of unfinished studies and trainings, keyed by everything they depend on."""
        return self.var / "resume"

    @property
    def sweeps(self) -> Path:
        """One folder a sweep: results of its finished runs, its table and its plot."""
        return self.var / "sweeps"

    @property
    def mlflow(self) -> Path:
        """MLflow's store."""
        return self.var / "mlflow"

    @property
    def models(self) -> Path:
        """Model repository that servers read."""
        return self.var / "models"

    @property
    def golden(self) -> Path:
        """Golden sets, one folder a data set."""
        return self.var / "golden"

    @property
    def runs(self) -> Path:
        """One workspace a run, with its logs."""
        return self.var / "runs"
