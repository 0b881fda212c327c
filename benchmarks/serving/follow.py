"""How soon a promotion on one machine is answered by the server of another: median and worst of many.

One MLflow server, and two checkouts that use it, as on two machines: one promotes, the other runs `mnistflow serve
--follow` with its defaults. Each promotion takes the next of four versions; nothing is kept of the ones before, so that
it has to be downloaded. The time runs from the moment when the alias has moved to the first answer of the new version;
the server is asked every 10 ms.

    python benchmarks/serving/follow.py --promotions 50
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import services
import serving_kit as kit
import tracking_server
from checkouts import make_checkout, write_params
from cluster import free_port
from waiting import wait_until

from mnistflow.paths import Paths

VERSIONS = 4
ASKED_SECONDS = 0.01


def measure(folder: Path, promotions: int) -> list[float]:
    """Return the seconds of each promotion."""
    from mlflow import MlflowClient

    images, _ = kit.digits()
    with ExitStack() as stack:
        mlflow = stack.enter_context(tracking_server.tracking_server(folder / "mlflow"))
        os.environ["MLFLOW_TRACKING_URI"] = mlflow.url
        for seed in range(VERSIONS):
            tracking_server.register(Paths(folder, folder), "digits", kit.untrained(seed), images)
        client = MlflowClient(mlflow.url)
        client.set_registered_model_alias(kit.NAME, "champion", "1")
        other = stack.enter_context(closing(make_checkout(folder / "other", MLFLOW_TRACKING_URI=mlflow.url)))
        write_params(other, **{"fetch.dataset": "digits"})
        port = free_port()
        started = services.ready(other.start("serve", "--follow", "--port", str(port)))
        stack.callback(started.stop)
        asking = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        request = kit.inference_request(images[:1])

        def answers(version: int) -> bool:
            try:
                response = asking.post(f"/v2/models/{kit.NAME}/infer", json=request)
            except httpx.TransportError:
                return False
            return bool(response.is_success and response.json()["model_version"] == str(version))

        wait_until(lambda: answers(1))
        seconds = []
        for number in range(promotions):
            version = 2 + number % (VERSIONS - 1) if number % VERSIONS else 1
            if answers(version):
                version = version % VERSIONS + 1
            client.set_registered_model_alias(kit.NAME, "champion", str(version))
            moved = time.perf_counter()
            while not answers(version):
                time.sleep(ASKED_SECONDS)
            seconds.append(time.perf_counter() - moved)
            print(f"{number + 1} of {promotions}: version {version}, {seconds[-1]:.2f} s", file=sys.stderr)
        return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--promotions", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), arguments.promotions)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, n = {len(seconds)}: from the promotion to the first answer "
        f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )


if __name__ == "__main__":
    main()
