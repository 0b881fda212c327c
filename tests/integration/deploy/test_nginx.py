"""`deploy/nginx.conf`: nginx speaks TLS with clients, and reaches the server at its Unix socket."""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import serving_kit as kit
import waiting

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[3] / "deploy"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")  # Debian keeps it out of the PATH of users
MAIN = """
{user}daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/mnistflow.conf;
}}
"""
MOST_BYTES = 8 * 1024 * 1024  # `--max-body-bytes`


@pytest.mark.skipif(not NGINX, reason="needs nginx: apt-get install --no-install-recommends nginx-light openssl")
def test_nginx_passes_requests_to_the_socket(tmp_path: Path) -> None:
    images, labels = kit.digits()
    kit.publish(tmp_path / "models", 1, kit.linear_classifier(images, labels), images)
    kit.set_champion(tmp_path / "models", 1)
    port, command = free_port(), [str(NGINX), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    configure(tmp_path, port)
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with kit.Server(tmp_path / "models", "--uds", str(tmp_path / "server.sock")) as server:
        assert server.announcement.endswith("server.sock")
        gateway = subprocess.Popen(command)
        try:
            waiting.wait_until(lambda: listens(port), gateway)
            url = f"https://localhost:{port}/v2/models/{kit.NAME}/infer"
            answer = waiting.post(url, json=kit.inference_request(images[:2])).json()
            assert answer["outputs"][0]["shape"] == [2, 10]
            # nginx refuses neither more nor less than the server; its own refusal is a page.
            refused = waiting.post(url, content=bytes(MOST_BYTES), headers={"Content-Type": "application/json"})
            assert (refused.status_code, "error" in refused.json()) == (400, True)
            assert waiting.post(url, content=bytes(MOST_BYTES + 1)).status_code == 413
        finally:
            gateway.terminate()
            gateway.wait()


def configure(folder: Path, port: int) -> None:
    """Write the configuration with files of this folder, and make a certificate."""
    text = (DEPLOY / "nginx.conf").read_text()
    for path in ("/run/mnistflow/server.sock", "/etc/mnistflow/tls.crt", "/etc/mnistflow/tls.key"):
        assert path in text
        text = text.replace(path, str(folder / Path(path).name))
    text, count = re.subn(r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;", text)
    assert count == 1
    (folder / "mnistflow.conf").write_text(text)
    # As root, nginx would change to a user who cannot enter the folder.
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user="user root;\n" if os.geteuid() == 0 else ""))
    request = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=localhost",
    )
    files = ("-keyout", folder / "tls.key", "-out", folder / "tls.crt")
    subprocess.run(["openssl", *request, *files], check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
