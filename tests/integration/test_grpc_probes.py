"""Probes of a gateway process over gRPC, and what those who watch it hear when it is told to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
import tritonclient.grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from tritonclient.utils import InferenceServerException

from clients.gateway import Running, make_stores, running_gateway
from kit.waiting import PATIENCE_S
from trimtab.serving.processes.listening import ANNOUNCEMENT, Announcement
from trimtab.serving.protocols.grpc.readiness import NOT_SERVING, SERVING


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    make_stores(tmp_path)
    with running_gateway(tmp_path) as running:
        yield running


def asked(method: Any, service: str) -> Any:
    name = "Check" if method.__name__ == "unary_unary" else "Watch"
    ask = method(f"/grpc.health.v1.Health/{name}", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
    return ask(HealthCheckRequest(service=service), timeout=PATIENCE_S)


def test_a_gateway_that_is_told_to_end_says_so_and_ends(gateway: Running) -> None:
    target = f"127.0.0.1:{gateway.grpc}"
    with grpc.insecure_channel(target) as channel:
        for service in ("", "inference.GRPCInferenceService", "delay"):
            assert asked(channel.unary_unary, service).status == SERVING
        # given one who watches, and would do so for ever
        watch = asked(channel.unary_stream, "")
        assert next(watch).status == SERVING
        # when the gateway is told to end
        announced = msgspec.json.decode((gateway.root / "run" / ANNOUNCEMENT).read_bytes(), type=Announcement)
        os.kill(announced.pid, signal.SIGTERM)
        # then he hears that it is not ready any more, and is let go
        assert [answer.status for answer in watch] == [NOT_SERVING]
        assert watch.code() is grpc.StatusCode.OK
    # and nobody is let in again
    with (
        tritonclient.grpc.InferenceServerClient(target) as client,
        pytest.raises(InferenceServerException, match="UNAVAILABLE"),
    ):
        client.is_server_ready(client_timeout=PATIENCE_S)
