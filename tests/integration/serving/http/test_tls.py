"""TLS for HTTP and gRPC: real certificates, which are replaced while the server runs."""

import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import serving_kit as kit
from cluster import free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from waiting import WAIT_SECONDS

from serving.protocol import inference_pb2 as pb

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for this machine, in PEM form."""

    chain: bytes
    key: bytes

    @classmethod
    def make(cls) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(made.public_bytes(serialization.Encoding.PEM), private)

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts only this certificate."""
        return ssl.create_default_context(cadata=self.chain.decode())


@dataclass(frozen=True)
class Files:
    """The files that the server was started with."""

    chain: Path
    key: Path

    def options(self) -> list[str]:
        return ["--tls-cert", str(self.chain), "--tls-key", str(self.key)]


def replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


@pytest.fixture
def first_certificate() -> Certificate:
    return Certificate.make()


@pytest.fixture
def files(tmp_path: Path, first_certificate: Certificate) -> Files:
    files = Files(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.chain.write_bytes(first_certificate.chain)
    files.key.write_bytes(first_certificate.key)
    return files


@pytest.fixture
def grpc_port() -> int:
    return free_port()


@pytest.fixture
def server(repository: Path, files: Files, grpc_port: int) -> Iterator[kit.Server]:
    with kit.Server(repository, "--grpc-port", str(grpc_port), *files.options()) as running:
        yield running


def address(server: kit.Server) -> tuple[str, int]:
    return HOST, int(server.url.rpartition(":")[2])


def presented(server: kit.Server) -> str:
    """Return the certificate that a new HTTPS connection gets."""
    return ssl.get_server_certificate(address(server))


def is_live_by_grpc(port: int, credentials: grpc.ChannelCredentials | None) -> bool:
    target = f"{HOST}:{port}"
    with grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerLive",
            request_serializer=pb.ServerLiveRequest.SerializeToString,
            response_deserializer=pb.ServerLiveResponse.FromString,
        )
        try:
            return bool(call(pb.ServerLiveRequest(), timeout=WAIT_SECONDS).live)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            return False


def test_http_and_grpc_are_encrypted_and_plain_text_is_refused(
    server: kit.Server, first_certificate: Certificate, grpc_port: int
) -> None:
    assert server.url.startswith("https://")
    with httpx.Client(base_url=server.url, verify=first_certificate.context()) as client:
        for _ in range(3):
            assert client.get("/v2/health/ready").json() == {"ready": True}
        # Closing in stages, as without TLS.
        assert client.get("/v2/health/live", headers={"connection": "close"}).is_success
    assert is_live_by_grpc(grpc_port, grpc.ssl_channel_credentials(first_certificate.chain))

    with socket.create_connection(address(server), timeout=WAIT_SECONDS) as plain:
        plain.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            received = b"".join(iter(lambda: plain.recv(4096), b""))
        except ConnectionResetError:
            received = b""
        assert b"HTTP/1.1" not in received
    assert not is_live_by_grpc(grpc_port, None)


def test_invalid_http_is_answered_before_the_connection_closes(
    server: kit.Server, first_certificate: Certificate
) -> None:
    with (
        socket.create_connection(address(server), timeout=WAIT_SECONDS) as plain,
        first_certificate.context().wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n" + bytes(100_000))
        received = b"".join(iter(lambda: connection.recv(4096), b""))

    assert received.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400" in received


def test_a_new_certificate_is_used_without_a_pause(
    server: kit.Server, files: Files, first_certificate: Certificate, grpc_port: int
) -> None:
    second = Certificate.make()
    before = presented(server)
    assert before.encode() == first_certificate.chain
    with httpx.Client(base_url=server.url, verify=first_certificate.context()) as client:
        assert client.get("/v2/health/live").is_success

        # Between the two renames the files do not fit together.
        replace(files.chain, second.chain)
        assert presented(server) == before
        replace(files.key, second.key)

        assert presented(server).encode() == second.chain
        assert is_live_by_grpc(grpc_port, grpc.ssl_channel_credentials(second.chain))
        assert not is_live_by_grpc(grpc_port, grpc.ssl_channel_credentials(first_certificate.chain))
        # The connection from before goes on.
        assert client.get("/v2/health/live").is_success
    assert sum("the previous one stays in use" in line for line in server.log) == 1
    assert not any("Traceback" in line for line in server.log)


def test_what_cannot_be_used_is_one_line(repository: Path, files: Files) -> None:
    other = Certificate.make()
    wrong = files.key.with_name("wrong.key")
    wrong.write_bytes(other.key)
    command = [sys.executable, "-m", "serving", "--port", "0", "--repository", str(repository)]
    for options in (files.options()[:2], [*files.options()[:3], str(wrong)], [*files.options()[:3], "missing"]):
        failed = subprocess.run([*command, *options], capture_output=True, text=True, check=False)

        assert failed.returncode == 1
        assert failed.stderr.count("\n") == 1
        assert "--tls-key" in failed.stderr
