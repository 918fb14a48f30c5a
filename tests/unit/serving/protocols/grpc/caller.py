"""A gRPC server over a gateway and a client of it, on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trimtab.clock import SystemClock
from trimtab.serving.protocols.grpc.server import GrpcServer, serve_grpc
from trimtab.serving.worker_options import Tls

if TYPE_CHECKING:
    from unit.serving.conftest import Served

SERVICE = "inference.GRPCInferenceService"


class Caller:
    """A server and a stub on one event loop."""

    def __init__(self, served: Served, **options: Any) -> None:
        self.served = served
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.server: GrpcServer = self.runner.run(
            serve_grpc(served.gateway, **{"host": "127.0.0.1", "port": 0, "max_body": 100_000, **options})
        )
        self.channel = self.runner.run(self._open())
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    async def _open(self) -> Any:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.server.port}")

    def __call__(self, method: str, *, metadata: Sequence[tuple[str, str]] = (), **fields: Any) -> Any:
        message = getattr(service_pb2, f"{method}Request")(**fields)
        return self.send(method, message, metadata)

    def send(self, method: str, message: Any, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        async def run() -> Any:
            return await getattr(self.stub, method)(message, metadata=metadata)

        return self.runner.run(run())

    def refusal(self, method: str, **fields: Any) -> tuple[Any, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            self(method, **fields)
        return refused.value.code(), str(refused.value.details())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the loop of the server and the channel."""
        return self.runner.run(coroutine)

    async def check(self, service: str = "") -> int:
        """Return the state of a service, as a probe asks for it."""
        ask = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        return int((await ask(HealthCheckRequest(service=service))).status)

    def watch(self, service: str = "") -> Any:
        """Return the stream of a service's states. Called on the loop."""
        return self.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )(HealthCheckRequest(service=service))

    def close(self) -> None:
        self.runner.run(self.channel.close())
        self.runner.run(self.server.stop(grace_s=0))
        self.runner.close()


def column(name: str, datatype: str, shape: Sequence[int], **contents: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(shape)}
    return found | ({"contents": contents} if contents else {})


ROW: dict[str, Any] = {"model_name": "delay", "inputs": [column("row", "FP64", [1], fp64_contents=[1])]}


def certificate(folder: Path) -> Tls:
    """Make a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "gateway.pem").write_bytes(made.public_bytes(pem))
    (folder / "gateway.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return Tls(str(folder / "gateway.pem"), str(folder / "gateway.key"))
