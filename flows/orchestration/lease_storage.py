"""Lease storage of Prefect's server: concurrency slots of flow runs, kept in files over a restart.

A run holds its place by a lease, which it renews every few minutes, and ends as crashed when the lease is gone. Prefect
keeps leases in memory by default, so that a restart of the server ends all runs of deployments, and in files revokes
those that expired while the server was away, before their runs can renew them. This storage gives them the time to.
`PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE` names this module.
"""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

from prefect.server.concurrency.lease_storage import filesystem

# A client that has not reached the server tries again after up to 128 seconds (PREFECT_CLIENT_MAX_RETRIES).
GRACE_SECONDS = 300.0

_imported = time.monotonic()  # at the start of the server


class ConcurrencyLeaseStorage(filesystem.ConcurrencyLeaseStorage):
    """Leases in files, of which none counts as expired while the server has just been started.

    Args:
        storage_path: folder of the files; below PREFECT_HOME unless given.
        grace_seconds: after the start of the server.
    """

    def __init__(self, storage_path: Path | None = None, grace_seconds: float = GRACE_SECONDS) -> None:
        super().__init__(storage_path)
        self._grace_seconds = grace_seconds

    async def read_expired_lease_ids(self, limit: int = 100) -> list[UUID]:
        """Return the leases that have expired."""
        if time.monotonic() - _imported < self._grace_seconds:
            return []
        return await super().read_expired_lease_ids(limit)
