"""Waiting for other processes. The limits only end what hangs: a busy machine is slow, not wrong."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx

WAIT_SECONDS = 900.0
POLL_SECONDS = 0.02

# Limits of the server and of Prefect for work that has to end soon in production.
GENEROUS = {
    "MNISTFLOW_SERVE_CANDIDATE_SECONDS": "600",
    "MNISTFLOW_SERVE_SLOWEST_SECONDS": "60",
    "MNISTFLOW_SERVE_QUEUE_SECONDS": "600",
    "MNISTFLOW_SERVE_ROLLOUT_SECONDS": "600",
    "MNISTFLOW_SERVE_RECEIVE_SECONDS": "600",
    "MNISTFLOW_SERVE_DRAIN_SECONDS": "60",
    "PREFECT_API_REQUEST_TIMEOUT": "600",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "600",
}

# What the threads of libraries spend on waiting for each other: on a busy machine, several times as much as on working.
FRUGAL = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}

# How often a flow run asks Prefect's server again whether it is its turn.
QUICK_TURNS = {"PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1"}


def wait_until(condition: Callable[[], object], *processes: subprocess.Popen[Any]) -> None:
    """Wait until the condition holds, while the processes run."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def get(url: str, **options: Any) -> httpx.Response:
    """GET from a service of this machine; without certificates, whose loading takes 40 ms."""
    return httpx.get(url, timeout=WAIT_SECONDS, verify=False, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """POST to a service of this machine."""
    return httpx.post(url, timeout=WAIT_SECONDS, verify=False, **options)
