"""Record of a run, read back from MLflow: all that `mnistflow reproduce` starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mnistflow import yaml_files
from mnistflow.arrays import Outputs
from mnistflow.errors import NotReproduced, RegistryError
from mnistflow.pipeline import record
from mnistflow.registry.gate.judgement import EVIDENCE
from mnistflow.tracking import artifacts, runs
from mnistflow.tracking.records import StoredRun


@dataclass(frozen=True)
class RunRecord:
    """What a run has recorded.

    Attributes:
        logged: parameters, metrics and tags.
        folder: for copies of its artifacts.
    """

    logged: StoredRun
    folder: Path

    @classmethod
    def read(cls, run_id: str, folder: Path) -> RunRecord:
        """Return the record of a run.

        Args:
            run_id: of the run.
            folder: an existing folder for copies of its artifacts.

        Raises:
            RegistryError: there is no such run.
        """
        return cls(runs.read(run_id), folder)

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.logged.run_id

    @property
    def commit(self) -> str:
        """Git commit of the sources; not a plain hash if none has them."""
        return self.logged.tags.get(runs.COMMIT, "unknown")

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        return self.logged.tags.get(runs.COMMAND, "mnistflow retrain")

    @property
    def weights(self) -> str:
        """Digest of the weights; see `registry.weights`.

        Raises:
            NotReproduced: the run has not finished its pipeline, or is of a release that has not recorded them.
        """
        found = self.logged.tags.get(runs.WEIGHTS)
        if found is None:
            raise NotReproduced(
                f"run {self.run_id} has no recorded digest of its weights",
                "Only finished runs that trained a model have one, and no runs of earlier releases.",
            )
        return found

    @cached_property
    def params(self) -> Path:
        """The run's params.yaml."""
        return self.artifact("params.yaml")

    @cached_property
    def parameters(self) -> Any:
        """Content of the run's params.yaml."""
        return yaml_files.read(self.params)

    @cached_property
    def lock(self) -> Path:
        """The run's dvc.lock."""
        return self.artifact("dvc.lock")

    @cached_property
    def stages(self) -> Mapping[str, Any]:
        """Stages of the run's dvc.lock, by name."""
        try:
            stages: Mapping[str, Any] = yaml_files.read(self.lock)["stages"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise NotReproduced(f"dvc.lock of run {self.run_id} is damaged: {error}", _RESTORE) from error
        return stages

    def output(self, stage: str, folder: str) -> str:
        """Return the hash by which DVC identifies an output folder.

        Raises:
            NotReproduced: dvc.lock does not have it.
        """
        for entry in self.stages.get(stage, {}).get("outs", []):
            if entry["path"] == folder:
                return str(entry["md5"])
        raise NotReproduced(f"dvc.lock of run {self.run_id} does not describe {folder}", _RESTORE)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """What the data was and where it came from."""
        return self._json(record.DATA)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """Machine and packages of the training."""
        return self._json(record.ENVIRONMENT)

    @cached_property
    def trials(self) -> Path:
        """Trials of the search, as JSON."""
        return self.artifact(record.TRIALS)

    @cached_property
    def best_parameters(self) -> dict[str, Any]:
        """Parameters of the best trial, by dotted key; empty without trials."""
        try:
            trials = json.loads(self.trials.read_text(encoding="utf-8"))
        except ValueError as error:
            raise NotReproduced(f"{record.TRIALS} of run {self.run_id} is damaged: {error}", _RESTORE) from error
        complete = [trial for trial in trials if trial["loss"] is not None]
        return dict(min(complete, key=lambda trial: trial["loss"])["parameters"]) if complete else {}

    @cached_property
    def outputs(self) -> Outputs:
        """Outputs on the test split, float32 `[n, *output_shape]`."""
        try:
            with np.load(self.artifact(record.PREDICTIONS), allow_pickle=False) as arrays:
                outputs: Outputs = arrays["outputs"]
        except (OSError, ValueError, KeyError) as error:
            raise NotReproduced(f"{record.PREDICTIONS} of run {self.run_id} is damaged: {error}", _RESTORE) from error
        return outputs

    @cached_property
    def evidence(self) -> Any:
        """Evidence of the gate's verdict; None if the run has none."""
        try:
            path = artifacts.of_run(self.run_id, EVIDENCE, self.folder)
        except RegistryError:
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    def artifact(self, name: str) -> Path:
        """Return a copy of an artifact.

        Raises:
            NotReproduced: the artifact store does not have it.
        """
        try:
            return artifacts.of_run(self.run_id, name, self.folder)
        except RegistryError as error:
            raise NotReproduced(f"{name} of run {self.run_id} is gone: {error.problem}", _RESTORE) from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.artifact(name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise NotReproduced(f"{name} of run {self.run_id} is damaged: {error}", _RESTORE) from error
        return found


_RESTORE = "Restore the artifact store."
