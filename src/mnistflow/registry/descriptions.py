"""Descriptions of registered models, versions and runs in Markdown, as MLflow's UI shows them.

Links to pages of MLflow are relative, so that they hold at any address of its UI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mnistflow import files, metric_names, server_client, splits, tasks
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.registry import manifest
from mnistflow.registry.manifest import Manifest, Tensor
from mnistflow.registry.versions import BUNDLE, PARTICIPLES, Decision, Version
from mnistflow.tasks.intervals import wilson
from mnistflow.tracking import mlflow_ui, runs
from mnistflow.tracking.records import StoredRun

_HERE = "."  # the UI that shows the description


@dataclass(frozen=True)
class Origin:
    """Where a version comes from, and where it is served.

    Attributes:
        recorded: what the run of its training has logged.
        counts: number of examples by split.
        inputs: of the model.
        server: address of the prediction server.
    """

    recorded: StoredRun
    counts: Mapping[str, int]
    inputs: tuple[Tensor, ...]
    server: str

    @classmethod
    def of(cls, workspace: Paths, version: Version) -> Self:
        """Return the origin of the version whose model is that of a workspace.

        Raises:
            RegistryError: MLflow does not have its run.
        """
        data = files.read_json(workspace.prepared / splits.MANIFEST)
        signature = tasks.get(version.task).signature(tuple(data["input_shape"]), tuple(data["classes"]))
        return cls(
            recorded=runs.read(version.run_id),
            counts=data["counts"],
            inputs=manifest.tensors(signature)["inputs"],
            server=next(iter(server_client.addresses(workspace)), server_client.DEFAULT_ADDRESS),
        )


def of_model(facts: Manifest) -> str:
    """Return what a registered model is, whichever its versions."""
    tensors = [(kind, one) for kind in ("inputs", "outputs") for one in getattr(facts, kind)]
    rows = "\n".join(f"| {kind[:-1]} | {one.name} | {one.datatype} | {list(one.shape)} |" for kind, one in tensors)
    classes = f" Classes: {', '.join(facts.classes)}." if facts.classes else ""
    return f"""Models that mnistflow has trained on data set **{facts.dataset}**, task {facts.task}.{classes}

| | name | type | shape |
| --- | --- | --- | --- |
{rows}

They take raw inputs: preprocessing is part of the model.

| alias | version |
| --- | --- |
| champion | the one that servers use |
| challenger | the last one that the gate has held |
| previous | the one that `mnistflow rollback` returns to |

Load the champion with `mlflow.pyfunc.load_model("models:/{facts.name}@champion")`."""


def of_version(
    version: Version, origin: Origin, evaluation: Evaluation, decision: Decision, reasons: Sequence[str]
) -> str:
    """Return decision, reasons, metrics and data of a version, how to use and how to repeat it, and links."""
    recorded = origin.recorded
    (first, *others) = origin.inputs
    several = ", ".join(f'"{one.name}": inputs["{one.name}"]' for one in origin.inputs)
    fed = several if others else f'"{first.name}": inputs'
    kinds = ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in origin.inputs)
    uri = f"models:/{version.name}/{version.number}"
    sizes = ", ".join(f"{count:,} {split}" for split, count in origin.counts.items())
    data = f"{recorded.parameters['data.name']}, sha256 {recorded.parameters['data.sha256']}"
    return f"""{recorded.name}: {version.quality}

**{PARTICIPLES[decision].capitalize()}:** {"; ".join(reasons)}.

| on the test split | value | 95 % interval |
| --- | ---: | ---: |
{_rows(evaluation, origin.counts["test"])}

**Data:** {data}; {sizes} examples.

**Use:** `{uri}`, or `models:/{version.name}@champion` while it is the champion.

```
import mlflow
model = mlflow.pyfunc.load_model("{uri}")
model.predict({{{fed}}})  # {kinds}
```
```
curl {origin.server}/v2/models/{version.name}/versions/{version.number}
```

**Repeat:** {_repeat(version, recorded)}{_documents(version)}

**See:** {" · ".join(_links(version, origin))}"""


def of_run(recorded: StoredRun, name: str, number: int) -> str:
    """Return the note of a run, if it has one, with links to the version that was registered from it."""
    version = f"Registered as [{name} version {number}]({mlflow_ui.version_page(_HERE, name, number)})."
    return "\n\n".join(filter(None, [recorded.tags.get(runs.NOTE), version, *_flow_run(recorded)]))


def _rows(evaluation: Evaluation, rows: int) -> str:
    errors = evaluation.metrics.get("errors")
    values = {name: (f"{value:,.5g}", "") for name, value in evaluation.metrics.items()}
    if errors is not None:
        low, high = wilson(int(errors), rows)
        values["accuracy"] = (f"{evaluation.metrics['accuracy']:.2%}", f"{low:.2%} to {high:.2%}")
    if evaluation.by_class:
        worst = min(evaluation.by_class, key=lambda name: evaluation.by_class[name])
        values[f"lowest recall, class {worst}"] = (f"{evaluation.by_class[worst]:.2%}", "")
    values |= {name.replace("_", " "): (f"{value:,.5g}", "") for name, value in evaluation.golden.items()}
    if latency := evaluation.speed.get(metric_names.LATENCY_MS):
        values["ms for one input, one thread"] = (f"{latency:.3f}", "")
    values["MB of the ONNX file"] = (f"{evaluation.file_bytes / 1e6:.2f}", "")
    return "\n".join(f"| {name} | {value} | {interval} |" for name, (value, interval) in values.items())


def _repeat(version: Version, recorded: StoredRun) -> str:
    check = f"`mnistflow reproduce {version.number}` checks that the same model comes out."
    command = recorded.tags.get(runs.COMMAND, "mnistflow retrain")
    commit, _, dirty = recorded.tags.get(runs.COMMIT, "unknown").partition("-")
    checkout = f"git checkout {commit}\n" if commit != "unknown" else ""
    caveat = " The sources differed from this commit; params.yaml is an artifact of the run." if dirty else ""
    return f"{check}{caveat}\n\n```\n{checkout}{command}\n```"


def _documents(version: Version) -> str:
    names = ", ".join(f"`{name}`" for name in version.bundle)
    return f"\n\n**Documents:** {names}, artifacts of the run in `{BUNDLE}`." if names else ""


def _links(version: Version, origin: Origin) -> Iterator[str]:
    page = mlflow_ui.run_page(_HERE, origin.recorded.experiment_id, version.run_id)
    yield f"[MLflow run {origin.recorded.name}]({page})"
    yield from _flow_run(origin.recorded)
    yield f"[prediction server]({origin.server})"


def _flow_run(recorded: StoredRun) -> Iterator[str]:
    if url := recorded.tags.get(runs.FLOW_RUN_URL):
        yield f"[Prefect flow run]({url})"
