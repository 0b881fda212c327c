"""nginx speaks TLS with clients, and reaches the server at its Unix socket, or in `compose.team.yaml` by name."""

import os
import re
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import serving_kit as kit
import waiting
import yaml

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


def version() -> tuple[int, ...]:
    done = subprocess.run([str(NGINX), "-v"], capture_output=True, text=True, check=True)
    found = re.search(r"nginx/([\d.]+)", done.stderr)
    assert found
    return tuple(map(int, found[1].split(".")))


@pytest.mark.skipif(not NGINX or version() < (1, 27, 3), reason="needs nginx 1.27.3 or later, as in compose.team.yaml")
def test_the_gateway_of_compose_follows_the_addresses_of_the_servers(tmp_path: Path) -> None:
    images, labels = kit.digits()
    kit.publish(tmp_path / "models", 1, kit.linear_classifier(images, labels), images)
    kit.set_champion(tmp_path / "models", 1)
    compose = yaml.safe_load((DEPLOY / "compose.team.yaml").read_text())
    text = compose["configs"]["nginx"]["content"].replace("$$", "$")
    port = free_port()
    with kit.Server(tmp_path / "models") as server, name_server() as (dns, addresses):
        replaced = {"127.0.0.11": f"127.0.0.1:{dns}", ":8000": f":{server.url.rpartition(':')[2]}"}
        for found, replacement in replaced.items():
            assert found in text
            text = text.replace(found, replacement)
        text = text.replace("/run/secrets/certificate.pem", f"{tmp_path}/tls.crt")
        write(tmp_path, port, text.replace("/run/secrets/key.pem", f"{tmp_path}/tls.key"))
        gateway = subprocess.Popen([str(NGINX), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")])

        def status() -> int:
            return httpx.get(f"https://localhost:{port}/v2/health/ready", verify=False).status_code

        try:
            waiting.wait_until(lambda: listens(port), gateway)
            assert status() == 502  # as long as no server has an address
            addresses["predictions-2"] = "127.0.0.1"
            waiting.wait_until(lambda: status() == 200, gateway)
            addresses["predictions-2"] = "127.0.0.2"
            waiting.wait_until(lambda: status() == 502, gateway)
            addresses["predictions-2"] = "127.0.0.1"
            waiting.wait_until(lambda: status() == 200, gateway)
        finally:
            gateway.terminate()
            gateway.wait()


@contextmanager
def name_server() -> Iterator[tuple[int, dict[str, str]]]:
    """Answer DNS queries at a port by the IPv4 addresses of a dictionary; names that are not in it do not exist."""
    addresses: dict[str, str] = {}
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            while (received := server.recvfrom(512))[0]:
                query, client = received
                question = query[12:]
                address = addresses.get(question[1 : 1 + question[0]].decode())
                flags, count = (0x8180, 1) if address else (0x8183, 0)
                head = query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
                record = struct.pack(">HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(address) if address else b""
                server.sendto(head + question + record, client)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1], addresses
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()


def configure(folder: Path, port: int) -> None:
    """Write the configuration with files of this folder, and make a certificate."""
    text = (DEPLOY / "nginx.conf").read_text()
    for path in ("/run/mnistflow/server.sock", "/etc/mnistflow/tls.crt", "/etc/mnistflow/tls.key"):
        assert path in text
        text = text.replace(path, str(folder / Path(path).name))
    write(folder, port, text)


def write(folder: Path, port: int, text: str) -> None:
    """Write a configuration for this port, and make a certificate."""
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
