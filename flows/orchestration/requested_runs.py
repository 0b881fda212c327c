"""Requested flow runs: submits a run of a deployment, and reads later, by its id, how it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from mnistflow.errors import MnistflowError


def submit(deployment: str, parameters: Mapping[str, Any], key: str) -> str:
    """Submit a run of a deployment to the Prefect API in use, without waiting for it, and return its id.

    Args:
        deployment: such as `retrain/weekly`.
        parameters: of its flow.
        key: the same key submits no second run.

    Raises:
        MnistflowError: the Prefect server does not know the deployment.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise MnistflowError(
                f"the Prefect server has no deployment {deployment}",
                "`mnistflow schedule` registers the deployments of prefect.yaml.",
            ) from error
        run = client.create_flow_run_from_deployment(found.id, parameters=dict(parameters), idempotency_key=key)
    return str(run.id)


def outcome(flow_run: str) -> Literal["running", "done", "failed"]:
    """Return the outcome of a flow run; one that was deleted has failed."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(UUID(flow_run)).state
        except ObjectNotFound:
            return "failed"
    if state is None or not state.is_final():
        return "running"
    return "done" if state.is_completed() else "failed"
