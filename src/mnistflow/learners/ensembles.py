"""Ensembles: the learner that merges the ONNX graphs of registered models into one, which returns their mean."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import ConfigError, StageError
from mnistflow.learners import registered_models
from mnistflow.learners.config import LearningConfig, TrainConfig
from mnistflow.learners.learner import Learner, OnEpoch, Training, measure
from mnistflow.models.ensemble import Ensemble
from mnistflow.registry import versions
from mnistflow.registry.versions import Version
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

Members = tuple[bytes, ...]

PARAMETER = "model.ensemble.members"


class Ensembles(Learner[Ensemble]):
    """Learner of family `ensemble`. Its models are the ONNX files of the members, as bytes."""

    def require(self, family: Ensemble, config: TrainConfig) -> None:
        _require_members(family)

    def pin(self, config: LearningConfig, dataset: str) -> dict[str, Any]:
        pinned = super().pin(config, dataset)
        return pinned | {"model.ensemble.sha256": [one.sha256 for one in _find(config.model.ensemble, dataset)]}

    def fit(
        self,
        data: Dataset,
        family: Ensemble,
        config: TrainConfig,
        on_epoch: OnEpoch,
        checkpoint_folder: Path | None = None,
    ) -> Training:
        """Download the members from the registry. Nothing is trained.

        Raises:
            ConfigError: no members are configured.
            RegistryError: a member is missing, differs from the one pinned at the start of the run, or has another
                signature than the data.
        """
        started = time.perf_counter()
        found = _find(family, data.name)
        pinned = family.sha256 or [version.sha256 for version in found]
        members = tuple(
            registered_models.read(version, data, sha256, PARAMETER)
            for version, sha256 in zip(found, pinned, strict=True)
        )
        metrics = measure(data, lambda inputs: self.predict(members, inputs))
        on_epoch(1, metrics)
        parameters = sum(onnx_session.count_parameters(member) for member in members)
        return Training.single_epoch(members, metrics, parameters, time.perf_counter() - started)

    def save(self, model: Members, folder: Path) -> None:
        for number, member in enumerate(model, start=1):
            (folder / f"member-{number:03d}.onnx").write_bytes(member)

    def load(self, folder: Path) -> Members:
        return tuple(path.read_bytes() for path in sorted(folder.glob("member-*.onnx")))

    def predict(self, model: Members, inputs: Array) -> Outputs:
        total = sum(
            onnx_session.predict(onnx_session.open_session(member), inputs).astype(np.float64) for member in model
        )
        return np.asarray(total / len(model), np.float32)

    def convert(self, model: Members, signature: Signature, opset: int) -> onnx.ModelProto:
        """Return a graph that computes the mean of the members' outputs. Its opset is that of the members.

        Raises:
            StageError: the members have different opsets.
        """
        import onnx

        return _mean([onnx.load_from_string(member) for member in model], signature)


def _require_members(family: Ensemble) -> None:
    if not family.members:
        raise ConfigError(
            "model.ensemble.members is empty: an ensemble averages registered models",
            "List versions or runs, as in -S model.ensemble.members=[1,2]; `mnistflow leaderboard` shows them.",
        )


def _find(family: Ensemble, dataset: str) -> list[Version]:
    """Return the registered versions of the members, in the order of the members.

    Raises:
        ConfigError: no members are configured, or two are the same version.
        RegistryError: a member is not registered.
    """
    _require_members(family)
    name = versions.model_name(dataset)
    known = versions.all_versions(name)
    found = [registered_models.find(member, dataset, PARAMETER, known) for member in family.members]
    if len({version.number for version in found}) < len(found):
        raise ConfigError(
            f"model.ensemble.members: {', '.join(map(str, family.members))} are not all different versions of {name}",
            "List each version once.",
        )
    return found


def _mean(members: Sequence[onnx.ModelProto], signature: Signature) -> onnx.ModelProto:
    from onnx import compose, helper

    nodes, initializers, outputs = [], [], []
    for number, member in enumerate(members, start=1):
        graph = compose.add_prefix(member, f"member_{number}/").graph
        (own_input,), (own_output,) = graph.input, graph.output
        nodes += [helper.make_node("Identity", [signature.input_name], [own_input.name]), *graph.node]
        initializers += graph.initializer
        outputs.append(own_output.name)
    nodes.append(helper.make_node("Mean", outputs, [signature.output_name]))
    graph = helper.make_graph(nodes, "ensemble", members[0].graph.input, members[0].graph.output, initializers)
    return helper.make_model(graph, opset_imports=_common_opsets(members))


def _common_opsets(members: Sequence[onnx.ModelProto]) -> list[onnx.OperatorSetIdProto]:
    """Return the operator sets that nodes of the members use; converters import others too, of any version.

    Raises:
        StageError: two members use different versions of an operator set.
    """
    versions: dict[str, onnx.OperatorSetIdProto] = {}
    for member in members:
        used = _domains(member.graph)
        for entry in (entry for entry in member.opset_import if entry.domain in used):
            known = versions.setdefault(entry.domain, entry)
            if known.version != entry.version:
                name = f"operator set {entry.domain}" if entry.domain else "export.opset"
                raise StageError(
                    f"the members of the ensemble were exported with {name} {known.version} and {entry.version}",
                    "Export all of them with the same opset and the same version of mnistflow.",
                )
    return list(versions.values())


def _domains(graph: onnx.GraphProto) -> set[str]:
    """Return the domains of a graph's operators, including those in the bodies of loops."""
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return {node.domain for node in graph.node}.union(*map(_domains, bodies))
