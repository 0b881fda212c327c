"""Prometheus and Grafana of a team's set-up, with the alert rules and dashboards of `deploy/`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from flows.processes import probes
from flows.processes.supervisor import Service
from mnistflow import files
from mnistflow.paths import Paths

JOB = "mnistflow-server"  # that alert rules and dashboards name
SCRAPE_INTERVAL = "5s"
RETENTION = "30d"


def monitoring_files(paths: Paths) -> Path:
    """Return the folder with `rules.yaml` and `dashboards/`."""
    return paths.checkout / "deploy/chart/monitoring"


@dataclass(frozen=True)
class Prometheus:
    """Prometheus, which scrapes the prediction servers.

    Attributes:
        folder: holds its configuration and data.
        sources: folder with its rules.
        servers: ports of the prediction servers.
    """

    folder: Path
    port: int
    sources: Path
    servers: Sequence[int]

    @property
    def address(self) -> str:
        """URL of its page and API."""
        return f"http://127.0.0.1:{self.port}"

    def service(self, prometheus: Path) -> Service:
        """Return it as a service."""
        configuration = self.folder / "prometheus.yml"
        targets = [f"127.0.0.1:{port}" for port in self.servers]
        _write_yaml(
            configuration,
            {
                "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
                "rule_files": [str(self.sources / "rules.yaml")],
                "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": targets}]}],
            },
        )
        return Service(
            name="Prometheus",
            command=(
                str(prometheus),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--storage.tsdb.retention.time={RETENTION}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ),
            is_ready=partial(probes.answers, f"{self.address}/-/ready"),
            address=self.address,
        )


@dataclass(frozen=True)
class Grafana:
    """Grafana, which shows the dashboards.

    Attributes:
        folder: holds its configuration and data.
        sources: folder with the dashboards.
        prometheus: URL of Prometheus.
    """

    folder: Path
    port: int
    sources: Path
    prometheus: str
    password: str

    @property
    def address(self) -> str:
        """URL of its pages."""
        return f"http://127.0.0.1:{self.port}"

    def service(self, grafana: Path) -> Service:
        """Return it as a service."""
        provisioning = self.folder / "provisioning"
        source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": self.prometheus}
        _write_yaml(
            provisioning / "datasources/prometheus.yaml",
            {"apiVersion": 1, "datasources": [{**source, "isDefault": True}]},
        )
        provider = {"name": "mnistflow", "type": "file", "options": {"path": str(self.folder / "dashboards")}}
        _write_yaml(provisioning / "dashboards/mnistflow.yaml", {"apiVersion": 1, "providers": [provider]})
        shutil.copytree(self.sources / "dashboards", self.folder / "dashboards", dirs_exist_ok=True)
        home = next(folder for folder in grafana.parents if (folder / "conf").is_dir() or folder == folder.parent)
        return Service(
            name="Grafana",
            command=(str(grafana), "--homepath", str(home)),
            is_ready=partial(probes.answers, f"{self.address}/api/health"),
            address=self.address,
            environment={
                "GF_SERVER_HTTP_ADDR": "127.0.0.1",
                "GF_SERVER_HTTP_PORT": str(self.port),
                "GF_PATHS_DATA": str(self.folder / "data"),
                "GF_PATHS_LOGS": str(self.folder / "logs"),
                "GF_PATHS_PROVISIONING": str(provisioning),
                "GF_SECURITY_ADMIN_PASSWORD": self.password,
                "GF_ANALYTICS_REPORTING_ENABLED": "false",
                "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            },
        )


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with files.atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content), encoding="utf-8")
