"""Gateway of a team's set-up: nginx with TLS in front of the prediction servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.processes import probes
from flows.processes.supervisor import Service
from flows.team import programs
from flows.team.folder import write_private
from mnistflow.errors import MnistflowError

CERTIFICATE_DAYS = 365
RENEWED_SECONDS = 30 * 24 * 3600  # before its end

CONFIGURATION = """\
{user}error_log stderr warn;
pid {folder}/nginx.pid;
worker_processes 1;
events {{}}
http {{
  access_log off;
  server_tokens off;
  client_max_body_size 8m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream predictions {{
    least_conn;
    keepalive 64;
{servers}
  }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://predictions;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      # An inference changes nothing, so another server may be asked when one has ended.
      proxy_next_upstream error timeout http_503 non_idempotent;
      proxy_next_upstream_tries 2;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Gateway:
    """nginx in front of prediction servers.

    Attributes:
        folder: holds its configuration, certificate and key.
        servers: ports of the prediction servers.
    """

    folder: Path
    port: int
    servers: Sequence[int]

    @property
    def address(self) -> str:
        """URL of the gateway."""
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> Path:
        """Certificate for localhost, signed by its own key: clients have to be given it."""
        return self.folder / "certificate.pem"

    def service(self, nginx: Path) -> Service:
        """Return nginx as a service.

        Raises:
            MnistflowError: the certificate cannot be made.
        """
        self._make_certificate()
        configuration = self.folder / "nginx.conf"
        servers = "\n".join(f"    server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in self.servers)
        # As root, nginx would change to a user who cannot enter the folder.
        user = "user root;\n" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(user=user, folder=self.folder, servers=servers, port=self.port)
        write_private(configuration, text)
        return Service(
            name="nginx",
            command=(str(nginx), "-p", str(self.folder), "-c", str(configuration), "-g", "daemon off;"),
            is_ready=partial(probes.listens, "127.0.0.1", self.port),
            address=self.address,
        )

    def _make_certificate(self) -> None:
        check = ("x509", "-checkend", str(RENEWED_SECONDS), "-noout", "-in", str(self.certificate))
        if self.certificate.is_file() and _openssl(*check).returncode == 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "key.pem"
        write_private(key, "")  # so that nobody else can ever read it
        made = _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", str(CERTIFICATE_DAYS), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(self.certificate)),
        )
        if made.returncode:
            raise MnistflowError(f"openssl cannot create a certificate: {made.stderr.strip()}", programs.NGINX.fix)


def _openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MnistflowError("openssl is not installed", programs.NGINX.fix) from error
