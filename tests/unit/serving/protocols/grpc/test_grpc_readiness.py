"""gRPC's health service, asked as probes ask it, and as channels do that keep away from a server that is not ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tritonclient.grpc import service_pb2, service_pb2_grpc

from trimtab.clock import SystemClock
from trimtab.serving.core.routing import RoutingTable
from trimtab.serving.endpoints import Access, Grants
from trimtab.serving.protocols.grpc.readiness import NOT_SERVING, SERVICE_UNKNOWN, SERVING
from unit.serving.protocols.grpc.caller import ROW, SERVICE, Caller

if TYPE_CHECKING:
    from unit.serving.conftest import Served


def test_the_server_is_ready_when_every_model_serves(call: Caller, delay: Served) -> None:
    table = delay.gateway.table
    for service in ("", SERVICE):
        assert call.run(call.check(service)) == SERVING
    # when one model of several cannot serve
    delay.gateway.swap(RoutingTable(table.models, errors={"price": "damaged"}))
    # then the server is not ready, as GET /v2/health/ready says, while the other model is
    assert delay.browser.get("/v2/health/ready").status == 503
    for service in ("", SERVICE):
        assert call.run(call.check(service)) == NOT_SERVING
    assert (call.run(call.check("delay")), call.run(call.check("price"))) == (SERVING, NOT_SERVING)


def test_a_model_has_its_own_readiness(call: Caller, delay: Served) -> None:
    table = delay.gateway.table
    assert call.run(call.check("delay")) == SERVING
    delay.gateway.swap(RoutingTable(held=("delay",), complete=True))
    assert call.run(call.check("delay")) == NOT_SERVING
    delay.gateway.swap(RoutingTable(table.models, errors={"delay": "the newest is damaged"}))
    assert call.run(call.check("delay")) == SERVING  # an older revision answers
    assert delay.browser.get("/v2/models/delay/ready").status == 200


@pytest.mark.parametrize("service", ["dela", "grpc.health.v1.Health", "é" * 5_000])
def test_what_is_not_there_is_not_found(call: Caller, service: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="no service or model") as refused:
        call.run(call.check(service))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "delay" not in str(refused.value.details())  # who shows no token hears no names


def test_no_token_is_asked_for(open_caller: Callable[..., Caller]) -> None:
    call = open_caller(access=Access(Grants({}), SystemClock()))
    assert call.run(call.check("delay")) == SERVING

    async def first() -> int:
        return int((await call.watch().read()).status)

    assert call.run(first()) == SERVING


def test_a_watcher_hears_of_every_change(call: Caller, delay: Served) -> None:
    table = delay.gateway.table
    without = RoutingTable(complete=True)

    async def follow() -> list[tuple[str, int]]:
        streams = {service: call.watch(service) for service in ("", "delay")}
        told = []

        async def hear(*services: str) -> None:
            async with asyncio.timeout(60):
                told.extend([(service, int((await streams[service].read()).status)) for service in services])

        await hear("", "delay")
        delay.gateway.swap(without)
        await hear("delay")
        delay.gateway.swap(RoutingTable())
        await hear("")
        delay.gateway.swap(table)
        await hear("", "delay")
        return told

    assert call.run(follow()) == [
        ("", SERVING),
        ("delay", SERVING),
        ("delay", SERVICE_UNKNOWN),
        ("", NOT_SERVING),
        ("", SERVING),
        ("delay", SERVING),
    ]


def test_a_watcher_may_wait_for_a_model_that_is_not_there_yet(call: Caller, delay: Served) -> None:
    table = delay.gateway.table
    delay.gateway.swap(RoutingTable())

    async def follow() -> list[int]:
        stream = call.watch("delay")
        told = [(await stream.read()).status]
        delay.gateway.swap(table)
        told.append((await stream.read()).status)
        return told

    assert call.run(follow()) == [SERVICE_UNKNOWN, SERVING]


def test_watchers_are_let_go_when_the_server_stops(call: Caller, delay: Served) -> None:

    async def stop() -> tuple[list[Any], list[Any]]:
        watch = call.watch()
        told = [(await watch.read()).status]
        asking = call.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )()
        await asking.write(ServerReflectionRequest(list_services="*"))
        await asking.read()
        # when the server stops, which then waits for the calls that are under way
        stopping = asyncio.ensure_future(call.server.stop(grace_s=20))
        told += [(await watch.read()).status, await watch.read()]
        codes = [await watch.code(), await asking.code()]
        await stopping
        return told, codes

    # then a watcher hears that it is not ready, and no stream holds it up
    assert call.run(stop()) == ([SERVING, NOT_SERVING, grpc.aio.EOF], [grpc.StatusCode.OK] * 2)
    assert delay.gateway.on_swap == []


def test_a_channel_keeps_away_while_its_model_is_not_ready(call: Caller, delay: Served) -> None:
    # given a client that checks health by itself, as gRPC's service config has it
    config = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "delay"}}
    table = delay.gateway.table
    request = service_pb2.ModelInferRequest(**ROW)

    async def follow() -> list[str]:
        target = f"127.0.0.1:{call.server.port}"
        async with grpc.aio.insecure_channel(target, [("grpc.service_config", json.dumps(config))]) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            told = [(await stub.ModelInfer(request, wait_for_ready=True)).model_version]
            delay.gateway.swap(RoutingTable(errors={"delay": "damaged"}))
            while channel.get_state() is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            waiting = asyncio.ensure_future(stub.ModelInfer(request, wait_for_ready=True))
            delay.gateway.swap(table)
            told.append((await waiting).model_version)
        return told

    assert call.run(follow()) == ["2", "2"]
