"""What no protocol may accept in silence, or tell wrongly, whichever protocol it comes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from trimtab.serving.core.routing import ModelTable, RoutingTable
from trimtab.serving.protocols.platforms import vertex
from trimtab.serving.protocols.standard import standard_routes
from trimtab.serving.requests import Refused, without_folders
from trimtab.serving.web.asgi import Application
from unit.serving.protocols.grpc.caller import Caller

if TYPE_CHECKING:
    from trimtab.serving.core.loaded_bundle import LoadedBundle
    from unit.serving.conftest import Served


@pytest.fixture
def delay(served: Served, pack: Callable[..., LoadedBundle], table_of: Callable[..., ModelTable]) -> Served:
    """A gateway that serves the model "delay"."""
    return served.serve(table_of(("champion", pack(1), 100)))


@pytest.fixture
def call(delay: Served) -> Iterator[Caller]:
    """The same gateway over gRPC."""
    caller = Caller(delay)
    yield caller
    caller.close()


READY = ["/v2/health/ready", "/ping", "/health", "/predict-health"]


def statuses(delay: Served) -> list[int]:
    delay.browser._application = Application(
        delay.gateway,
        [*standard_routes(delay.gateway), *vertex.routes(delay.gateway, health="/predict-health", predict="/predict")],
    )
    return [delay.browser.get(path).status for path in READY]


def test_a_gateway_whose_only_model_is_unloaded_is_not_ready(delay: Served, call: Caller) -> None:
    assert statuses(delay) == [200] * 4
    assert call("ServerReady").ready
    assert call.run(call.check()) == 1
    delay.gateway.swap(RoutingTable({}, held=("delay",), complete=True))
    assert statuses(delay) == [503] * 4
    assert delay.browser.get("/v2/health/ready").json()["errors"] == {"delay": "unloaded"}
    assert not call("ServerReady").ready
    assert call.run(call.check()) == 2


def test_a_gateway_with_another_model_is_ready_and_one_without_any_too(delay: Served) -> None:
    delay.gateway.swap(RoutingTable(delay.gateway.table.models, held=("other",), complete=True))
    assert delay.browser.get("/v2/health/ready").status == 200
    delay.gateway.swap(RoutingTable(complete=True))
    assert delay.browser.get("/v2/health/ready").status == 200


def test_a_gateway_that_ends_soon_is_live_and_not_ready(delay: Served, call: Caller) -> None:
    delay.gateway.draining = True
    assert statuses(delay) == [503] * 4
    assert not call("ServerReady").ready
    assert delay.browser.get("/v2/health/live").status == 200
    assert delay.browser.get("/v2/models/delay/ready").status == 200


def test_the_root_is_alive_as_the_first_protocol_of_kserve_has_it(delay: Served) -> None:
    assert delay.browser.get("/").json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/models/other/infer", {"inputs": []}),
        ("/v2/models/other/infer", b"{"),
        ("/v1/models/other:predict", {"instances": []}),
        ("/v1/models/other:explain", {}),
        ("/v2/models/other/feedback", {"labels": []}),
    ],
)
def test_an_unknown_model_is_not_found_whatever_the_body(delay: Served, path: str, body: Any) -> None:
    assert delay.browser.post(path, body).status == 404


def test_an_unknown_model_is_not_found_by_header_and_by_grpc(delay: Served, call: Caller) -> None:
    headers = {"x_trimtab_model": "other", "content_type": "application/json"}
    assert delay.browser.post("/invocations", {"instances": []}, **headers).status == 404
    assert call.refusal("ModelInfer", model_name="other")[0] is grpc.StatusCode.NOT_FOUND


def test_a_model_is_loaded_with_no_configuration_of_the_client(delay: Served, call: Caller) -> None:
    path = "/v2/repository/models/delay/load"
    assert delay.browser.post(path, {"parameters": {"config": "{}"}}).status == 400
    for name in ("config", "file:1/model.onnx"):
        request = service_pb2.RepositoryModelLoadRequest(model_name="delay")
        request.parameters[name].string_param = "{}"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            call.send("RepositoryModelLoad", request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert name in str(refused.value.details())


@pytest.mark.parametrize(("name", "value"), [("sequence_id", 7), ("sequence_id", "a"), ("sequence_start", True)])
def test_sequences_are_refused(
    delay: Served, call: Caller, infer_body: Callable[..., Any], name: str, value: Any
) -> None:
    reply = delay.browser.post("/v2/models/delay/infer", infer_body(1, parameters={name: value}))
    assert (reply.status, name in reply.json()["error"]) == (400, True)
    request = service_pb2.ModelInferRequest(model_name="delay")
    field = {int: "int64_param", str: "string_param", bool: "bool_param"}[type(value)]
    setattr(request.parameters[name], field, value)
    tensor = request.inputs.add(name="row", shape=[1], datatype="FP64")
    tensor.contents.fp64_contents.append(1.0)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        call.send("ModelInfer", request)
    assert (refused.value.code(), name in str(refused.value.details())) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_parameters_that_ask_for_no_sequence_are_taken(delay: Served, infer_body: Callable[..., Any]) -> None:
    body = infer_body(1, parameters={"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 1})
    assert delay.browser.post("/v2/models/delay/infer", body).status == 200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bundle a/1: /srv/p/.trimtab/bundles/a/1/model.onnx is damaged", "bundle a/1: model.onnx is damaged"),
        ("[Errno 28] No space left on device: '/var/log/x'", "[Errno 28] No space left on device: 'x'"),
        ("see https://host/a/b and 3/4", "see https://host/a/b and 3/4"),
    ],
)
def test_failures_of_the_server_tell_no_folders_of_it(delay: Served, text: str, told: str) -> None:
    assert without_folders(text) == told
    assert str(Refused(503, text)) == told
    delay.gateway.swap(RoutingTable({}, errors={"delay": text}))
    for reply in (
        delay.browser.get("/v2/health/ready"),
        delay.browser.post("/v2/repository/index", b""),
        delay.browser.get("/v2/models/delay/ready"),
    ):
        assert told in reply.body.decode()
        assert "/srv" not in reply.body.decode()
        assert "/var" not in reply.body.decode()
