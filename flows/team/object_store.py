"""S3-compatible object store of a team's set-up: nanio, which keeps buckets as folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.processes import probes
from flows.processes.supervisor import Service

BUCKET = "mnistflow"
USER = "mnistflow"
REGION = "us-east-1"


@dataclass(frozen=True)
class ObjectStore:
    """An S3-compatible server of this machine.

    Attributes:
        folder: holds the bucket.
    """

    folder: Path
    port: int
    password: str

    @property
    def address(self) -> str:
        """URL of its API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client_environment(self) -> Mapping[str, str]:
        """Variables of its clients: boto3's, and MLflow's own for the address."""
        return {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.address,
            "MLFLOW_S3_ENDPOINT_URL": self.address,
        }

    def url(self, prefix: str) -> str:
        """Return the URL of a folder of the bucket."""
        return f"s3://{BUCKET}/{prefix}"

    def service(self) -> Service:
        """Return the server as a service."""
        # A bucket is a folder of the store.
        (self.folder / BUCKET).mkdir(parents=True, exist_ok=True)
        return Service(
            name="S3",
            command=("nanio", "serve", "--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)),
            is_ready=self.is_ready,
            address=self.address,
            environment={"NANIO_ACCESS_KEY": USER, "NANIO_SECRET_KEY": self.password, "NANIO_REGION": REGION},
        )

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        return probes.listens("127.0.0.1", self.port)
