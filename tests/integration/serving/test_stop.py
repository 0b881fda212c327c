"""Stopping: one signal ends a server at every moment of its start, and everything that it has started."""

import concurrent.futures
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import serving_kit as kit
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.slow

MOMENTS = 50
COMMAND = (sys.executable, "-m", "serving", "--port", "0", "--repository")


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_one_signal_ends_a_server_at_every_moment_of_its_start(repository: Path, workers: int) -> None:
    command = [*COMMAND, str(repository), "--workers", str(workers)]
    begin = time.monotonic()
    with kit.Server(repository, "--workers", str(workers)):
        start_seconds = time.monotonic() - begin

    def stop_after(seconds: float) -> int:
        server = psutil.Popen(command, stdout=-3, stderr=-3)
        time.sleep(seconds)
        server.terminate()
        return int(server.wait(timeout=WAIT_SECONDS))

    # Several at a time make each of them slower, and later moments of the start are reached all the same.
    moments = [1.5 * start_seconds * number / MOMENTS for number in range(MOMENTS // workers)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        statuses = set(pool.map(stop_after, moments))

    # The first instants belong to the interpreter, which a signal ends as it ends any process.
    assert statuses <= {0, -signal.SIGTERM}
    assert 0 in statuses
    kit.wait_until(lambda: not kit.processes_of(repository))
