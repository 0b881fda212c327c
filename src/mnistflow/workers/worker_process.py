"""Main program of a worker process: `python -m mnistflow.workers.worker_process SOCKET CORES THREADS`.

Reads jobs from the inherited socket, each a pickled `(function, job)` as bytes, and answers each with a `Reply`.

A signal ends the process at once, in the middle of a job. An exception would have to pass through TensorFlow, which
drops it, replaces it by others or waits for locks that it then leaves locked.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import traceback
from contextlib import suppress
from io import BufferedRWPair
from queue import SimpleQueue
from threading import Thread

from mnistflow.transient import is_transient

# Whether the job succeeded, its pickled result or error, and whether that error is transient. Result and error are
# pickled on their own, so that one that cannot be read leaves the stream intact.
Reply = tuple[bool, bytes, bool]


def main() -> None:
    """Run jobs until the parent closes the socket or ends."""
    descriptor, cores, threads = sys.argv[1:]
    os.sched_setaffinity(0, map(int, cores.split(",")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when its workers end
    stream = socket.socket(fileno=int(descriptor)).makefile("rwb")
    jobs: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_receive, args=(stream, jobs), daemon=True).start()
    if threads:
        from mnistflow.runtime import backend

        backend.load_tensorflow(int(threads))
    while True:
        pickle.dump(run(jobs.get()), stream)
        stream.flush()


def _receive(stream: BufferedRWPair, jobs: SimpleQueue[bytes]) -> None:
    """Queue the parent's jobs; exit when the parent has ended, even in the middle of a job."""
    try:
        while True:
            jobs.put(pickle.load(stream))  # noqa: S301  # from the parent
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(1)


def run(call: bytes) -> Reply:
    """Run a job; return its result or error."""
    try:
        function, job = pickle.loads(call)  # noqa: S301  # from the parent
        return True, pickle.dumps(function(job)), False
    except Exception as error:
        return False, _pickled(error), is_transient(error)
    finally:
        _flush()  # a worker without a job is ended by a signal


def _pickled(error: Exception) -> bytes:
    """Return an error for the parent, with its traceback as a note; one that pickle cannot rebuild loses its class."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # noqa: S301  # our own
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return content


def _flush() -> None:
    with suppress(OSError, ValueError):  # nobody reads the output any more
        sys.stdout.flush()


if __name__ == "__main__":
    main()
