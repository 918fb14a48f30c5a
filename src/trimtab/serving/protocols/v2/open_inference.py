"""The Open Inference Protocol, version 2 (KServe, MLServer, Triton): its routes."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any, TypeVar

import msgspec

from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.offloading import SMALL
from trimtab.serving.core.routing import ModelTable
from trimtab.serving.endpoints import LENGTH_HEADER, Answer, Call, Content, Description, Route, encode_error
from trimtab.serving.protocols.v2 import examples
from trimtab.serving.protocols.v2.model_metadata import (
    EXTENSIONS,
    ModelMetadata,
    ServerMetadata,
    check_load_parameters,
    describe,
)
from trimtab.serving.protocols.v2.request import Body, decode
from trimtab.serving.protocols.v2.response import ResponseBody, check_outputs, encode, encode_binary
from trimtab.serving.requests import ModelState, Refused

T = TypeVar("T")

VERSION = package_version("trimtab")
BYTES = b"application/octet-stream"

_encode = msgspec.json.Encoder().encode


class Models(msgspec.Struct):
    """The answer of GET /v2/models."""

    models: list[str]


class Ready(msgspec.Struct):
    """The answer of GET /v2/models/{m}/ready."""

    name: str
    ready: bool


class IndexRequest(msgspec.Struct):
    """The body of POST /v2/repository/index; it may be empty. ready: list only models that serve."""

    ready: bool = False


class LoadRequest(msgspec.Struct):
    """The body of a load or unload; it may be empty."""

    parameters: dict[str, Any] = {}


class Loaded(msgspec.Struct):
    """The answer of a load or unload."""

    name: str
    load: bool


class RowExplanation(msgspec.Struct):
    """The contributions to one prediction: base plus their sum is the output, in `unit`."""

    model_name: str
    prediction_id: str
    method: str
    unit: str
    base: float
    features: tuple[str, ...]
    contributions: list[float]


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes of the protocol over a gateway."""
    return [*_inference(gateway), *_metadata(gateway), *_explanations(gateway), *_repository(gateway)]


def server_metadata(version: str) -> bytes:
    """Answer GET /v2."""
    return _encode(ServerMetadata("trimtab", version, EXTENSIONS))


def model_metadata(table: ModelTable, version: str | None) -> bytes:
    """Answer GET /v2/models/{m}[/versions/{v}]. Raises Refused (404)."""
    return _encode(describe(table, version))


def _inference(gateway: Gateway) -> list[Route]:
    async def infer(call: Call) -> Answer:
        gateway.table.model(call.params["model"])
        body, length_header = call.body, call.header(LENGTH_HEADER)
        if len(body) <= SMALL:  # without the call of a coroutine, as most requests are
            request, wanted = decode(body, length_header)
        else:
            request, wanted = await gateway.decoding.run(decode, body, length_header)
        if request.request_id is None:
            request.request_id = call.request_id
        model = call.params["model"]
        if wanted is None:
            response = await gateway.infer(model, call.version, request, call.received_ns)
            if len(response.scores) == 1:
                return Answer(200, encode(response))
            return Answer(200, await gateway.decoding.write(encode, response))
        check_outputs(wanted.names, gateway.table.model(model), request)
        response = await gateway.infer(model, call.version, request, call.received_ns)
        if not wanted.otherwise_binary and not any(wanted.binary.values()):
            return Answer(200, await gateway.decoding.write(encode, response, wanted))
        body, length = await gateway.decoding.write(encode_binary, response, wanted)
        return Answer(200, body, BYTES, ((LENGTH_HEADER, b"%d" % length),))

    described = Description(
        takes=[
            Content(Body, examples.INFER),
            Content({"type": "string", "format": "binary"}, content_type="application/octet-stream"),
        ],
        gives=[
            Content(ResponseBody, examples.ANSWER),
            Content({"type": "string", "format": "binary"}, content_type="application/octet-stream"),
        ],
        detail="One tensor a request column of shape [n] or [n, 1], or one tensor X of shape [n, d] with all features. "
        "Tensors may follow the JSON as bytes (binary tensor extension).",
    )
    return [
        Route("POST", f"{path}/infer", "infer", infer, encode_error, "Score rows.", described)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    ]


def _metadata(gateway: Gateway) -> list[Route]:
    async def server(call: Call) -> Answer:
        return Answer(200, server_metadata(VERSION))

    async def models(call: Call) -> Answer:
        return Answer(200, _encode(Models(sorted(gateway.table.models))))

    async def model(call: Call) -> Answer:
        return Answer(200, model_metadata(gateway.table.model(call.params["model"]), call.version))

    async def ready(call: Call) -> Answer:
        gateway.table.model(call.params["model"]).variant(call.version)
        return Answer(200, _encode(Ready(call.params["model"], True)))

    of_server = Description(gives=[Content(ServerMetadata, ServerMetadata("trimtab", VERSION, EXTENSIONS))])
    of_models = Description(gives=[Content(Models, Models(["delay"]))])
    of_model = Description(gives=[Content(ModelMetadata, examples.MODEL)])
    of_ready = Description(gives=[Content(Ready, Ready("delay", True))])
    found = [
        Route("GET", "/v2", "open", server, encode_error, "Describe the server.", of_server),
        Route("GET", "/v2/models", "read", models, encode_error, "List the models.", of_models),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route("GET", path, "read", model, encode_error, "Describe a model.", of_model),
            Route("GET", f"{path}/ready", "read", ready, encode_error, "Return whether a model is ready.", of_ready),
        ]
    return found


def _explanations(gateway: Gateway) -> list[Route]:
    async def explain(call: Call) -> Answer:
        model, name = call.params["model"], call.params["id"]
        if "row" in call.params:
            name = f"{name}/{call.params['row']}"
        found = await gateway.explain(model, name)
        return Answer(
            200,
            _encode(
                RowExplanation(
                    model, name, found.method, found.unit, found.base, found.features, found.contributions[0]
                )
            ),
        )

    described = Description(
        gives=[Content(RowExplanation, examples.EXPLANATION)],
        errors={410: "The version that made the prediction is not loaded any more."},
        detail="The id of a prediction as the response named it, such as abc or abc/0.",
    )
    return [
        Route("GET", f"{path}/explanation", "read", explain, encode_error, "Explain a prediction.", described)
        for path in ("/v2/models/{model}/predictions/{id}", "/v2/models/{model}/predictions/{id}/{row}")
    ]


def _repository(gateway: Gateway) -> list[Route]:
    async def index(call: Call) -> Answer:
        asked = _read(call.body, IndexRequest)
        states = gateway.repository.index()
        return Answer(200, _encode([state for state in states if state.state == "READY" or not asked.ready]))

    async def load(call: Call) -> Answer:
        asked = _read(call.body, LoadRequest)
        check_load_parameters(asked.parameters)
        await gateway.repository.load(call.params["model"])
        return Answer(200, _encode(Loaded(call.params["model"], True)))

    async def unload(call: Call) -> Answer:
        _read(call.body, LoadRequest)
        await gateway.repository.unload(call.params["model"])
        return Answer(200, _encode(Loaded(call.params["model"], False)))

    path = "/v2/repository/models/{model}"
    of_index = Description(
        takes=[Content(IndexRequest, IndexRequest(True))],
        gives=[Content(list[ModelState], [ModelState("delay", "3", "READY")])],
    )
    of_load = Description(takes=[Content(LoadRequest, LoadRequest())], gives=[Content(Loaded, Loaded("delay", True))])
    of_unload = Description(
        takes=[Content(LoadRequest, LoadRequest())], gives=[Content(Loaded, Loaded("delay", False))]
    )
    return [
        Route("POST", "/v2/repository/index", "read", index, encode_error, "List models and their states.", of_index),
        Route("POST", f"{path}/load", "admin", load, encode_error, "Load a model.", of_load),
        Route("POST", f"{path}/unload", "admin", unload, encode_error, "Unload a model.", of_unload),
    ]


def _read(body: bytes, kind: type[T]) -> T:
    """Read a JSON body that may be empty. Raises Refused."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused(400, f"malformed body: {error}") from None
