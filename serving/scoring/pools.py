"""Pools that score blocks: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from serving.errors import CommandError
from serving.scoring import worker

CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Pool:
    """Workers that compute blocks.

    Attributes:
        workers: how many blocks are computed at a time.
    """

    executor: Executor
    workers: int


@contextmanager
def processes(count: int) -> Iterator[Pool]:
    """Yield a pool of processes of this machine, each with one thread.

    Raises:
        CommandError: one of them was killed.
    """
    executor = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=worker.start)
    try:
        yield Pool(executor, count)
    except BrokenProcessPool:
        raise CommandError(
            "a worker process was killed, most likely because memory ran out. "
            "Start again with smaller --block or fewer --workers: finished blocks are not computed again."
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def dask_cluster(address: str) -> Iterator[Pool]:
    """Yield a pool of the current workers of a Dask cluster.

    They need this package, and the model repository, the input and the output at the same paths or URLs.

    Args:
        address: of the scheduler, such as `tcp://127.0.0.1:8786`.

    Raises:
        CommandError: no scheduler answers, it is gone, it has no workers, or a block has ended each worker that tried
            it.
    """
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise CommandError(f"no Dask scheduler answers at {address}: {error}.") from None
    try:
        count = len(client.nthreads())
        if not count:
            raise CommandError(f"the Dask cluster at {address} has no workers. Start one: dask worker {address}.")
        yield Pool(client.get_executor(pure=False), count)
    except KilledWorker as error:
        raise CommandError(
            f"a block has ended every Dask worker that tried it, most likely because memory ran out ({error}). "
            "Start again with smaller --block: finished blocks are not computed again."
        ) from None
    except CancelledError:
        raise CommandError(
            f"the Dask scheduler at {address} is gone. Start it and its workers, then start again: "
            "finished blocks are not computed again."
        ) from None
    finally:
        client.close(timeout=CONNECT_SECONDS)
