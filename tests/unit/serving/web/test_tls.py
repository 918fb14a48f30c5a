"""Encrypted connections: real certificates, a real request, and files that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kit.waiting import PATIENCE_S
from trimtab.clock import ManualClock, SystemClock
from trimtab.errors import PolicyError
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.endpoints import encode_error
from trimtab.serving.http1.connection import Connection
from trimtab.serving.http1.exchange import DateHeader
from trimtab.serving.http1.targets import Targets
from trimtab.serving.protocols.grpc.server import serve_grpc
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.web import server
from trimtab.serving.web.server import ServerSetup, Shutdown, serve
from trimtab.serving.web.tls import grpc_credentials, server_context
from trimtab.serving.worker_options import Tls, WorkerOptions

if TYPE_CHECKING:
    from unit.serving.conftest import Served

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CLOCK = ManualClock(NOW)


@dataclass
class Files:
    """Paths of a certificate and its key."""

    certificate: str
    key: str
    client_ca: str | None = None


Issue = Callable[..., Files]


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    """Return a function that makes a certificate for 127.0.0.1 that signs itself, and its key."""

    def make(
        name: str = "gateway",
        *,
        start: datetime = NOW - timedelta(days=1),
        end: datetime = NOW + timedelta(days=365),
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        password: bytes | None = None,
    ) -> Files:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(key, hashes.SHA256())
        )
        files = Files(str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key"))
        Path(files.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        Path(files.key).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        )
        return files

    return make


def refusal(files: Files, clock: ManualClock = CLOCK) -> str:
    with pytest.raises(PolicyError) as caught:
        server_context(files, clock)
    return str(caught.value)


def test_what_is_missing_or_no_pem_file_is_named(issue: Issue, tmp_path: Path) -> None:
    files = issue()
    assert refusal(Files(str(tmp_path / "none.pem"), files.key)) == (
        f"{tmp_path}/none.pem: cannot be read: No such file or directory (serving.tls.certificate in trimtab.yaml)"
    )
    assert "not a PEM file with a private key" in refusal(Files(files.certificate, files.certificate))
    assert "not a PEM file with a certificate" in refusal(Files(files.key, files.key))
    (tmp_path / "der").write_bytes(b"\x30\x82\x01\xff")
    assert "not a PEM file" in refusal(Files(str(tmp_path / "der"), files.key))


def test_a_damaged_certificate_is_refused(issue: Issue) -> None:
    files = issue()
    lines = Path(files.certificate).read_text().splitlines()
    Path(files.certificate).write_text("\n".join([lines[0], "AAAA", lines[-1]]) + "\n")
    assert "cannot be used" in refusal(files)


def test_another_certificate_s_key_is_refused(issue: Issue) -> None:
    one, other = issue("one"), issue("other")
    assert f"it is not the key of the certificate {one.certificate}" in refusal(Files(one.certificate, other.key))


def test_a_key_with_a_password_is_refused_without_asking(issue: Issue) -> None:
    assert "the key is encrypted" in refusal(issue(password=b"secret"))


def test_a_certificate_is_refused_before_and_after_its_time(issue: Issue) -> None:
    files = issue(start=NOW, end=NOW + timedelta(days=90))
    assert "not valid before 2026-03-01 00:00 UTC" in refusal(files, ManualClock(NOW - timedelta(seconds=1)))
    server_context(files, CLOCK)
    assert "expired on 2026-05-30 00:00 UTC" in refusal(files, ManualClock(NOW + timedelta(days=90)))


def test_a_certificate_that_ends_soon_is_a_warning(issue: Issue, caplog: pytest.LogCaptureFixture) -> None:
    server_context(issue(end=NOW + timedelta(days=15)), CLOCK)
    assert caplog.text == ""
    server_context(issue(end=NOW + timedelta(days=13)), CLOCK)
    assert "expires on 2026-03-14" in caplog.text


def test_a_certificate_for_clients_is_refused(issue: Issue) -> None:
    assert "clients would refuse it" in refusal(issue(usage=ExtendedKeyUsageOID.CLIENT_AUTH))


def test_grpc_takes_the_same_files(issue: Issue) -> None:
    pytest.importorskip("grpc")
    assert grpc_credentials(issue(), CLOCK) is not None
    with pytest.raises(PolicyError):
        grpc_credentials(issue(end=NOW - timedelta(hours=1)), CLOCK)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    body = f"hello {scope['path']}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_request_over_tls_is_answered(issue: Issue) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    files = issue(start=start, end=start + timedelta(days=1))
    context = server_context(files)

    async def run() -> httpx.Response:
        loop, targets, connections = asyncio.get_running_loop(), Targets(), set[Connection]()
        date = DateHeader(SystemClock())
        with listening() as listener:
            server = await loop.create_server(
                lambda: Connection(hello, loop, connections, targets, date, encode_error), sock=listener, ssl=context
            )
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/v2"
            trust = ssl.create_default_context(cafile=files.certificate)
            async with httpx.AsyncClient(verify=trust, timeout=PATIENCE_S) as client:
                answer = await client.get(url)
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                async with httpx.AsyncClient(timeout=PATIENCE_S) as stranger:
                    await stranger.get(url)
            server.close()
        return answer

    answer = asyncio.run(run())
    assert (answer.status_code, answer.text) == (200, "hello /v2")


def test_old_versions_of_tls_are_refused(issue: Issue) -> None:
    context = server_context(issue(), CLOCK)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@contextlib.asynccontextmanager
async def gateway_over_tls(served: Served, files: Files) -> AsyncIterator[int]:
    """Serve with the files, as a worker does; yield the port."""
    shutdown, ready = Shutdown(), asyncio.Event()
    gateway = Gateway(served.log, served.clock, WorkerOptions(tls=Tls(files.certificate, files.key, files.client_ca)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        setup = ServerSetup(http=listener, access=None, routes=standard_routes(gateway))
        port = int(listener.getsockname()[1])
        task = asyncio.create_task(serve(gateway, setup, shutdown, listening=ready.set))
        await ready.wait()
        yield port
        shutdown.started.set()
        await task


def issuing(issue: Issue, name: str, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH) -> Files:
    start = datetime.now(UTC) - timedelta(hours=1)
    return issue(name, start=start, end=start + timedelta(days=30), usage=usage)


async def live(port: int, trusted: str, shown: Files | None = None) -> bool:
    """Return whether a client that trusts a certificate, and shows one, is answered."""
    context = ssl.create_default_context(cafile=trusted)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    try:
        async with httpx.AsyncClient(verify=context, timeout=PATIENCE_S) as client:
            return (await client.get(f"https://127.0.0.1:{port}/v2/health/live")).status_code == 200
    except httpx.TransportError:
        return False


def run_on_uvloop(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test)


def test_new_files_are_taken_up_and_damaged_ones_are_not(
    issue: Issue, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "CHECK_S", 0.01)
    files, fresh = issuing(issue, "old"), issuing(issue, "new")
    old = Path(shutil.copy(files.certificate, f"{files.certificate}.kept"))

    async def test() -> None:
        async with gateway_over_tls(served, files) as port:
            assert await live(port, str(old))
            Path(files.certificate).write_text("-----BEGIN CERTIFICATE-----")
            while "the new certificate cannot be used" not in caplog.text:
                await asyncio.sleep(0.01)
            assert await live(port, str(old))
            shutil.copy(fresh.certificate, files.certificate)
            shutil.copy(fresh.key, files.key)
            while not await live(port, fresh.certificate):
                await asyncio.sleep(0.01)
            assert not await live(port, str(old))

    run_on_uvloop(asyncio.wait_for(test(), 20))


def test_with_client_certificates_only_those_who_show_one_are_answered(issue: Issue, served: Served) -> None:
    own = issuing(issue, "own")
    friend = issuing(issue, "friend", ExtendedKeyUsageOID.CLIENT_AUTH)
    stranger = issuing(issue, "stranger", ExtendedKeyUsageOID.CLIENT_AUTH)

    async def test() -> None:
        async with gateway_over_tls(served, Files(own.certificate, own.key, friend.certificate)) as port:
            assert await live(port, own.certificate, friend)
            assert not await live(port, own.certificate)
            assert not await live(port, own.certificate, stranger)

    run_on_uvloop(asyncio.wait_for(test(), 20))


def test_a_client_authority_that_cannot_be_used_is_named(issue: Issue, tmp_path: Path) -> None:
    files = issue()
    assert "serving.tls.client_ca" in refusal(Files(files.certificate, files.key, str(tmp_path / "none.pem")))
    assert "not a PEM file with a certificate" in refusal(Files(files.certificate, files.key, files.key))


@pytest.mark.parametrize("shows", [True, False])
def test_grpc_takes_up_new_files_and_asks_for_client_certificates(issue: Issue, served: Served, shows: bool) -> None:
    grpc = pytest.importorskip("grpc")
    own, fresh = issuing(issue, "own"), issuing(issue, "fresh")
    friend = issuing(issue, "friend", ExtendedKeyUsageOID.CLIENT_AUTH)
    own.client_ca = friend.certificate

    async def ready(port: int, trusted: bytes) -> bool:
        pair = (Path(friend.key).read_bytes(), Path(friend.certificate).read_bytes()) if shows else (None, None)
        credentials = grpc.ssl_channel_credentials(trusted, *pair)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            try:
                return bool(await call(b"", timeout=PATIENCE_S))
            except grpc.aio.AioRpcError:
                return False

    async def test() -> None:
        found = await serve_grpc(served.gateway, host="127.0.0.1", port=0, max_body=1000, tls=own)
        assert await ready(found.port, Path(own.certificate).read_bytes()) == shows
        shutil.copy(fresh.certificate, own.certificate)
        shutil.copy(fresh.key, own.key)
        assert await ready(found.port, Path(fresh.certificate).read_bytes()) == shows
        await found.stop(grace_s=0)

    run_on_uvloop(asyncio.wait_for(test(), 30))
