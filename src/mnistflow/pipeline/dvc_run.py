"""MLflow run of a pipeline that DVC executes: `dvc repro` and `dvc exp run` start a process for each stage.

The first stage that has something to log starts the run and notes its id in the workspace. Later stages with the same
parameters, data and sources log to it too, and stage evaluate records the whole pipeline, as a retraining does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from mnistflow import files, splits, yaml_files
from mnistflow.checkout import digests, git
from mnistflow.config import Config
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.pipeline import record, run_names
from mnistflow.stage_names import MODEL_STAGES
from mnistflow.tracking import runs

EXPERIMENT = "mnistflow.dvc_experiment"  # tag with the name that `dvc exp show` lists


@contextmanager
def joined(stage: str, paths: Paths, config: Config) -> Iterator[None]:
    """Let a stage log to the run of its pipeline in the block, and record the pipeline after the last stage."""
    if stage not in MODEL_STAGES:
        yield
        return
    run = _open(paths, config)
    with runs.finished(run):
        with runs.stages_log_to(run.run_id):
            yield
        if stage == MODEL_STAGES[-1]:
            record.record(paths, run, config, executing=stage)
            files.remove(paths.unfinished_run)


def _open(paths: Paths, config: Config) -> runs.Run:
    """Return the unfinished run of this pipeline, or start one."""
    data = files.read_json(paths.prepared / splits.MANIFEST)
    shaping = config.model_dump(mode="json", exclude={"fetch", "gate", "gc", "presets"})
    pipeline = digests.digest(data["data_sha256"], shaping, digests.code_digest())
    known = files.read_json(paths.unfinished_run, files.DELETE) if paths.unfinished_run.is_file() else {}
    if known.get("pipeline") == pipeline and runs.exists(known["run_id"]):
        return runs.reopen(known["run_id"])
    base = _committed(paths, config)
    name, tags = run_names.title_against(base, config), _tags(paths, base, config)
    run = runs.start(paths, data["name"], name, kind="retrain", tags=tags)
    files.write_json(paths.unfinished_run, {"run_id": run.run_id, "pipeline": pipeline})
    return run


def _tags(paths: Paths, base: Config, config: Config) -> dict[str, str]:
    experiment = os.environ.get("DVC_EXP_NAME")
    return {
        **run_names.tags_of(base, config, run_names.differences(base, config)),
        "mlflow.source.name": "dvc exp run" if experiment else "dvc repro",
        "mlflow.source.git.commit": git.describe_commit(paths.root),
        **({EXPERIMENT: experiment} if experiment else {}),
    }


def _committed(paths: Paths, config: Config) -> Config:
    """Return the parameters of the commit that the run is an experiment with; `config` if they cannot be read."""
    text = git.file_at(paths.params, os.environ.get("DVC_EXP_BASELINE_REV", "HEAD"))
    try:
        return config if text is None else Config.validated(yaml_files.parse(text), "the committed params.yaml")
    except (ConfigError, yaml.YAMLError):  # of another version of this project
        return config
