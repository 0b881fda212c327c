"""Garbage of Prefect's own database in `var/`: old flow runs, with their logs and artifacts.

Prefect's server has a service that removes them, which is off by default; its tasks are called here, on the database,
whether a server runs or not. A database elsewhere belongs to a server that others may use, and is left alone.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, younger_than

KIND = "flow runs in Prefect"
DATABASE = "prefect.db"
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
UNDER_WAY = "not ended"


def collect(paths: Paths, retention: RetentionConfig, now: datetime, *, delete: bool) -> Garbage:
    """Find the flow runs that ended long ago, and remove them if asked to.

    Raises:
        MnistflowError: the database cannot be read or written.
    """
    before = cutoff(now, retention.flow_runs)
    database = paths.var / "prefect" / DATABASE
    if not database.is_file() or any(name in os.environ for name in ELSEWHERE):
        return Garbage(KIND, (), 0, 0)
    from prefect.settings import (
        PREFECT_SERVER_DATABASE_CONNECTION_URL,
        PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD,
        temporary_settings,
    )

    settings = {
        PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}",
        PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD: datetime.now(UTC) - before,
    }
    with temporary_settings(settings):
        try:
            return asyncio.run(_collect(retention.flow_runs, before, delete=delete))
        except Exception as error:  # of SQLAlchemy and of the driver of SQLite
            raise MnistflowError(f"{database}: {str(error).splitlines()[0]}", "Start a Prefect server once.") from error


async def _collect(days: int, before: datetime, *, delete: bool) -> Garbage:
    import sqlalchemy as sa
    from prefect.server.database import provide_database_interface
    from prefect.server.schemas.states import TERMINAL_STATES
    from prefect.server.services import db_vacuum

    db = provide_database_interface()
    has_ended = sa.and_(db.FlowRun.state_type.in_(TERMINAL_STATES), db.FlowRun.end_time.is_not(None))
    is_top = db.FlowRun.parent_task_run_id.is_(None)

    async def count(*conditions: sa.ColumnElement[bool]) -> int:
        async with db.session_context() as session:
            statement = sa.select(sa.func.count()).select_from(db.FlowRun).where(is_top, *conditions)
            return int((await session.execute(statement)).scalar_one())

    old = await count(has_ended, db.FlowRun.end_time < before)
    kept = {
        younger_than(days): await count(has_ended, db.FlowRun.end_time >= before),
        UNDER_WAY: await count(sa.not_(has_ended)),
    }
    if delete:
        await db_vacuum.vacuum_old_flow_runs(db=db)
        await db_vacuum.vacuum_orphaned_logs(db=db)
        await db_vacuum.vacuum_orphaned_artifacts(db=db)
        await db_vacuum.vacuum_stale_artifact_collections(db=db)
    return Garbage(KIND, (), old, None, {reason: number for reason, number in kept.items() if number})
