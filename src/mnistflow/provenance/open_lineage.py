"""OpenLineage event of a version: data in, model out, for a catalogue that collects events (https://openlineage.io).

The address comes from the variables of OpenLineage's own clients: `OPENLINEAGE_URL`, `OPENLINEAGE_ENDPOINT`,
`OPENLINEAGE_API_KEY` and `OPENLINEAGE_NAMESPACE`.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import asdict
from typing import Any

import mnistflow
from mnistflow.errors import MnistflowError
from mnistflow.provenance.lineage_graph import Lineage

URL = "OPENLINEAGE_URL"
TIMEOUT_SECONDS = 5
PRODUCER = f"urn:mnistflow:{mnistflow.__version__}"
SPECIFICATION = "https://openlineage.io/spec"


def is_wanted() -> bool:
    """Return whether the environment names an address for events."""
    return bool(os.environ.get(URL))


def event(graph: Lineage) -> dict[str, Any]:
    """Return the event, of OpenLineage 2.0, that the run of a version is complete."""
    namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or "mnistflow"
    return {
        "eventType": "COMPLETE",
        "eventTime": graph.model["registered"],
        "producer": PRODUCER,
        "schemaURL": f"{SPECIFICATION}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "job": {"namespace": namespace, "name": f"retrain.{graph.data['name']}"},
        "run": {
            "runId": str(uuid.UUID(graph.run["id"])),
            "facets": {
                "mnistflow_lineage": {
                    "_producer": PRODUCER,
                    "_schemaURL": f"{SPECIFICATION}/2-0-2/OpenLineage.json#/$defs/RunFacet",
                    **asdict(graph),
                }
            },
        },
        "inputs": [_dataset(namespace, graph.data["name"], graph.data["sha256"])],
        "outputs": [_dataset(namespace, graph.name, str(graph.version))],
    }


def _dataset(namespace: str, name: str, version: str) -> dict[str, Any]:
    facet = "DatasetVersionDatasetFacet"
    stated = {
        "_producer": PRODUCER,
        "_schemaURL": f"{SPECIFICATION}/facets/1-0-1/{facet}.json#/$defs/{facet}",
        "datasetVersion": version,
    }
    return {"namespace": namespace, "name": name, "facets": {"version": stated}}


def send(graph: Lineage) -> None:
    """Send the event to the address that the environment names, once.

    Raises:
        MnistflowError: nothing takes it there.
    """
    import httpx

    address, key = os.environ[URL].rstrip("/"), os.environ.get("OPENLINEAGE_API_KEY")
    endpoint = os.environ.get("OPENLINEAGE_ENDPOINT") or "api/v1/lineage"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(f"{address}/{endpoint}", json=event(graph), headers=headers, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MnistflowError(
            f"no OpenLineage event was sent: {error or type(error).__name__}", f"Check {URL}."
        ) from error
