"""Leases of flow runs outlive the server that has given them."""

import asyncio
import math
from datetime import timedelta
from pathlib import Path

from prefect.server.concurrency.lease_storage import ConcurrencyLeaseStorage as Interface

from flows.orchestration.lease_storage import ConcurrencyLeaseStorage

MINUTES = timedelta(minutes=5)


def test_a_lease_that_expired_while_the_server_was_away_can_be_renewed(tmp_path: Path) -> None:
    async def use() -> None:
        before = ConcurrencyLeaseStorage(tmp_path)
        lease = await before.create_lease([], -MINUTES)
        after = ConcurrencyLeaseStorage(tmp_path, grace_seconds=math.inf)
        assert isinstance(after, Interface)
        assert await after.read_expired_lease_ids() == []
        later = ConcurrencyLeaseStorage(tmp_path, grace_seconds=0)
        assert await later.read_expired_lease_ids() == [lease.id]
        assert await after.renew_lease(lease.id, MINUTES)
        assert await later.read_expired_lease_ids() == []
        await after.revoke_lease(lease.id)
        assert not await after.renew_lease(lease.id, MINUTES)

    asyncio.run(use())
