"""Dask cluster of a team's set-up: trials of searches and runs of sweeps on its workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.processes import ports, probes
from flows.processes.addresses import LOOPBACK
from flows.processes.supervisor import Service
from mnistflow.workers import dask_scheduler

WORKER_PORTS = 10  # above the scheduler's
# Without a dashboard, scheduler and workers still answer HTTP: on free ports of this machine.
NO_PAGE = ("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0")


@dataclass(frozen=True)
class DaskCluster:
    """A scheduler, and workers that run one job each at a time.

    Attributes:
        folder: for what the workers put on disk.
    """

    folder: Path
    port: int
    workers: int

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return f"tcp://{LOOPBACK}:{self.port}"

    @property
    def client_environment(self) -> Mapping[str, str]:
        """Variables of its clients."""
        return {dask_scheduler.VARIABLE: self.address}

    def services(self, environment: Mapping[str, str]) -> Iterator[Service]:
        """Yield scheduler and workers as services.

        Args:
            environment: variables of the jobs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        listens = partial(probes.listens, LOOPBACK, self.port)
        yield Service(
            name="Dask",
            command=("distributed.cli.dask_scheduler", "--host", LOOPBACK, "--port", str(self.port), *NO_PAGE),
            is_ready=listens,
            address=self.address,
        )
        for number in range(1, self.workers + 1):
            port = ports.reserve(LOOPBACK, self.port + WORKER_PORTS + number)
            yield Service(
                name=f"Dask worker {number}",
                command=(
                    *("distributed.cli.dask_worker", self.address, "--host", LOOPBACK, "--worker-port", str(port)),
                    *("--nthreads", "1", "--no-nanny", *NO_PAGE, "--local-directory", str(self.folder)),
                ),
                can_start=listens,
                is_ready=partial(probes.listens, LOOPBACK, port),
                # One thread each: several share the cores of this machine.
                environment={**environment, "TF_NUM_INTRAOP_THREADS": "1"},
            )
