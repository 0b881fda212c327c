"""Parent process: ends this process when the one that started it ends, however that happens."""

import ctypes
import os
import signal
import sys
import threading

# Environment of a worker: the inherited end of a pipe that closes when the supervisor ends.
PARENT_VARIABLE = "MNISTFLOW_SERVE_PARENT"
# https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
PR_SET_PDEATHSIG = 1


def stop_with_parent() -> None:
    """Make a worker stop, as on SIGTERM, when its supervisor ends. Does nothing if this process is not a worker."""
    descriptor = os.environ.get(PARENT_VARIABLE)
    if descriptor is not None:
        threading.Thread(target=_stop_when_closed, args=(int(descriptor),), daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even while native code holds the interpreter's lock.

    Only Linux can do that; elsewhere this does nothing.

    Args:
        parent: process ID of the parent, whose main thread started this process.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It ended before the call.
        os._exit(0)


def _stop_when_closed(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
