"""Main program of a worker process: `python -m mnistflow.workers.worker_process SOCKET CORES THREADS`.

Reads pickled `(objective, job)` pairs from the inherited socket and answers each with `(succeeded, result or error)`.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import traceback
from io import BufferedRWPair
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mnistflow.workers import signals

INTERRUPTED = 130


def main() -> None:
    """Run jobs until the parent closes the socket or ends."""
    descriptor, cores, threads = sys.argv[1:]
    os.sched_setaffinity(0, map(int, cores.split(",")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream = socket.socket(fileno=int(descriptor)).makefile("rwb")
    jobs: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
    if threads:
        from mnistflow.runtime import backend

        backend.load_tensorflow(int(threads))
    Thread(target=_receive, args=(stream, jobs), daemon=True).start()
    while True:
        objective, job = jobs.get()
        reply = _run(objective, job)
        stream.write(reply)
        stream.flush()


def _receive(stream: BufferedRWPair, jobs: SimpleQueue[tuple[Any, Any]]) -> None:
    """Queue the parent's jobs; exit when the parent has ended, even in the middle of a job."""
    try:
        while True:
            jobs.put(pickle.load(stream))  # noqa: S301  # from the parent
    except EOFError:
        os._exit(1)
    except Exception:  # a job that cannot be read here: the parent sees that the worker has ended
        traceback.print_exc()
        os._exit(1)


def _run(objective: Any, job: Any) -> bytes:
    """Run a job. A signal lets the job close its files and runs, and then ends this process."""
    try:
        with signals.interrupting():
            return pickle.dumps((True, objective(job)))
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    except Exception as error:
        return _failure(error)
    finally:
        sys.stdout.flush()  # a worker without a job is ended by a signal


def _failure(error: Exception) -> bytes:
    error.add_note("".join(traceback.format_exception(error)))
    try:
        return pickle.dumps((False, error))
    except Exception:  # errors of libraries that cannot be pickled
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


if __name__ == "__main__":
    main()
