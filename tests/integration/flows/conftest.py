"""A Prefect API that runs report to, where a server of each one's own is not what is tested."""

from collections.abc import Iterator

import pytest
from checkouts import ROOT
from cluster import free_port
from waiting import wait_until

from flows.orchestration import deployments
from flows.orchestration.api_server import RECORDS_ONLY
from flows.processes import process_guard


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server, and yield what `PREFECT_API_URL` names it by."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    server = process_guard.start(command, ROOT, home / "server.log", {**RECORDS_ONLY, "PREFECT_HOME": str(home)})
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: deployments.answers(url) or server.poll() is not None)
        assert server.poll() is None, (home / "server.log").read_text()
        yield url
    finally:
        process_guard.release(server)
