"""Messages of the gRPC service, from inference.binpb, which scripts/grpc_definition.py compiles from inference.proto.

The descriptors have a pool of their own: clients of Triton or KServe in the same process register the same names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from trimtab.serving.requests import Refused

DEFINITION = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("inference.binpb").read_bytes()).file[
    0
]
"""The FileDescriptorProto of inference.proto."""
POOL = descriptor_pool.DescriptorPool()
POOL.AddSerializedFile(DEFINITION.SerializeToString())
MESSAGES: dict[str, Any] = {
    name: message_factory.GetMessageClass(descriptor)
    for name, descriptor in POOL.FindFileByName(DEFINITION.name).message_types_by_name.items()
}
"""Name of a message -> its class, which has nested ones as attributes."""


def read(kind: Any, body: bytes) -> Any:
    """Return the message that a client sent. Raises Refused; gRPC itself would call it a failure of the server."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Refused(400, f"the bytes are no {kind.DESCRIPTOR.full_name}") from None
