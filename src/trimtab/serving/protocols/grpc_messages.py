"""The messages of the Open Inference Protocol's gRPC service, made from a table. Called by grpc_service and reflection.

Names and numbers are those of the public definition (open_inference_grpc.proto of kserve/open-inference-protocol)
and of Triton's grpc_service.proto, which adds the repository and two kinds of parameters. KServe's own definition
numbers the names of models in the repository's messages otherwise; the service reads both.

The descriptors have a pool of their own: clients of Triton or KServe in the same process bring theirs.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from trimtab.serving.requests import Refused

_KINDS = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
"""FieldDescriptorProto.Type by its name in a definition."""
_MESSAGE, _ENUM, _ONE, _MANY = 11, 14, 1, 3
_FIELD = re.compile(r"(\d+) ([\w.]+)(\*|\{\}|)( \w+)")
_STATE = re.compile(r"(\w+) = (\d+)")

_TENSOR = "1 string name, 2 string datatype, 3 int64* shape"
_PARAMETERS = "4 InferParameter{} parameters"

INFERENCE: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": "1 string name, 2 string version",
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 string name, 2 string version, 3 string* extensions",
    "ModelMetadataRequest": "1 string name, 2 string version",
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": "1 string name, 2 string* versions, 3 string platform,"
    " 4 ModelMetadataResponse.TensorMetadata* inputs, 5 ModelMetadataResponse.TensorMetadata* outputs",
    "InferParameter": "1 bool bool_param | 2 int64 int64_param | 3 string string_param |"
    " 4 double double_param | 5 uint64 uint64_param",
    "InferTensorContents": "1 bool* bool_contents, 2 int32* int_contents, 3 int64* int64_contents,"
    " 4 uint32* uint_contents, 5 uint64* uint64_contents, 6 float* fp32_contents, 7 double* fp64_contents,"
    " 8 bytes* bytes_contents",
    "ModelInferRequest.InferInputTensor": f"{_TENSOR}, {_PARAMETERS}, 5 InferTensorContents contents",
    "ModelInferRequest.InferRequestedOutputTensor": "1 string name, 2 InferParameter{} parameters",
    "ModelInferRequest": f"1 string model_name, 2 string model_version, 3 string id, {_PARAMETERS},"
    " 5 ModelInferRequest.InferInputTensor* inputs, 6 ModelInferRequest.InferRequestedOutputTensor* outputs,"
    " 7 bytes* raw_input_contents",
    "ModelInferResponse.InferOutputTensor": f"{_TENSOR}, {_PARAMETERS}, 5 InferTensorContents contents",
    "ModelInferResponse": f"1 string model_name, 2 string model_version, 3 string id, {_PARAMETERS},"
    " 5 ModelInferResponse.InferOutputTensor* outputs, 6 bytes* raw_output_contents",
    "ModelRepositoryParameter": "1 bool bool_param | 2 int64 int64_param | 3 string string_param | 4 bytes bytes_param",
    "RepositoryIndexRequest": "1 string repository_name, 2 bool ready",
    "RepositoryIndexResponse.ModelIndex": "1 string name, 2 string version, 3 string state, 4 string reason",
    "RepositoryIndexResponse": "1 RepositoryIndexResponse.ModelIndex* models",
    "RepositoryModelLoadRequest": "1 string repository_name, 2 string model_name,"
    " 3 ModelRepositoryParameter{} parameters",
    "RepositoryModelLoadResponse": "1 string model_name, 2 bool isLoaded",  # Triton's is empty
    "RepositoryModelUnloadRequest": "1 string repository_name, 2 string model_name,"
    " 3 ModelRepositoryParameter{} parameters",
    "RepositoryModelUnloadResponse": "1 string model_name, 2 bool isUnloaded",
}
"""Message -> its fields: number, type, name. `*` is repeated, `{}` a map from text, `|` divides alternatives."""

HEALTH: dict[str, str] = {
    "HealthCheckRequest": "1 string service",
    "HealthCheckResponse.ServingStatus": "UNKNOWN = 0, SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3",
    "HealthCheckResponse": "1 HealthCheckResponse.ServingStatus status",
}
"""grpc.health.v1, as in grpc/health/v1/health.proto. An entry with `=` is an enumeration."""


def definition(package: str, table: dict[str, str]) -> descriptor_pb2.FileDescriptorProto:
    """Return the definition of a table's messages; nested names are written Outer.Inner."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(table, key=lambda name: name.count(".")):
        outer, _, own = name.rpartition(".")
        if _is_enum(table[name]):
            states = (made[outer] if outer else file).enum_type.add(name=own)
            for state, number in _STATE.findall(table[name]):
                states.value.add(name=state, number=int(number))
            continue
        message = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        made[name] = message
        _add_fields(message, table[name], table, f".{package}", name)
    return file


def message_classes(package: str, table: dict[str, str]) -> dict[str, Any]:
    """Return message name -> class for a table."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(definition(package, table).SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name, fields in table.items()
        if not _is_enum(fields)
    }


def read(kind: Any, body: bytes) -> Any:
    """Return the message that a client sent. Raises Refused; gRPC itself would call it a failure of the server."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Refused(400, f"the bytes are no {kind.DESCRIPTOR.full_name}") from None


def _is_enum(fields: str) -> bool:
    return "=" in fields


def _add_fields(message: Any, fields: str, table: dict[str, str], package: str, owner: str) -> None:
    alternatives = "|" in fields
    if alternatives:
        message.oneof_decl.add(name="parameter_choice")
    for number, kind, many, name in _FIELD.findall(fields):
        if many == "{}":
            entry = message.nested_type.add(name="ParametersEntry")
            entry.options.map_entry = True
            _add_fields(entry, f"1 string key, 2 {kind} value", table, package, owner)
            kind = f"{owner}.ParametersEntry"
        field = message.field.add(name=name.strip(), number=int(number), label=_MANY if many else _ONE)
        if kind in _KINDS:
            field.type = _KINDS[kind]
        else:
            field.type = _ENUM if _is_enum(table.get(kind, "")) else _MESSAGE
            field.type_name = f"{package}.{kind}"
        if alternatives:
            field.oneof_index = 0


MESSAGES = message_classes("inference", INFERENCE)
HEALTH_MESSAGES = message_classes("grpc.health.v1", HEALTH)
