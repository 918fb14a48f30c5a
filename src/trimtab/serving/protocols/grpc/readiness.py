"""gRPC's health service (grpc.health.v1): Check for the probes of orchestrators, Watch for the channels of clients.

It is open to all, as liveness and readiness are over HTTP: a probe cannot show a token. So an answer names nothing
that the request does not name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.protocols.grpc.messages import read
from trimtab.serving.requests import Refused

SERVING: int = HealthCheckResponse.SERVING
NOT_SERVING: int = HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: int = HealthCheckResponse.SERVICE_UNKNOWN

Message = Any


class Health:
    """Answers whether the server or a model is ready. services: names that ask for the server's own readiness.

    It lives on the gateway's event loop. A name that is no service is a model's.
    """

    def __init__(self, gateway: Gateway, services: Sequence[str]) -> None:
        self._gateway = gateway
        self._services = ("", *services)
        self._draining = False
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Follow the gateway: watchers learn of each routing table that it swaps in."""
        self._gateway.on_swap.append(self._wake)

    def drain(self) -> None:
        """Report NOT_SERVING from now on, and end the streams of watchers with it."""
        self._draining = True
        self._wake()

    def close(self) -> None:
        """Stop following the gateway."""
        if self._wake in self._gateway.on_swap:
            self._gateway.on_swap.remove(self._wake)

    def state(self, service: str) -> int:
        """Return the state of a service or a model, by the rules of /v2/health/ready and /v2/models/{m}/ready."""
        table = self._gateway.table
        if service in self._services:
            ready = self._gateway.is_ready
        elif service in table.models:
            ready = True
        elif service in table.errors or service in table.held:
            ready = False
        else:
            return SERVICE_UNKNOWN
        return SERVING if ready and not self._draining else NOT_SERVING

    async def check(self, message: Message, received_ns: int) -> Message:
        """Answer a HealthCheckRequest. Raises Refused (404)."""
        state = self.state(message.service)
        if state == SERVICE_UNKNOWN:
            raise Refused(404, f"no service or model '{message.service:.100}'")
        return HealthCheckResponse(status=state)

    async def watch(self, body: bytes, context: Any) -> AsyncIterator[Message]:
        """Yield the state now and after each change, until the server stops. body: a HealthCheckRequest."""
        try:
            service: str = read(HealthCheckRequest, body).service
        except Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        told = None
        while True:
            changed, last = self._changed, self._draining
            state = self.state(service)
            if state != told:
                yield HealthCheckResponse(status=state)
                told = state
            if last:
                return
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
