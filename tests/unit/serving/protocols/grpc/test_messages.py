"""The definition of the gRPC service: compiled as it is written, and the same on the wire as that of other servers."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2

from trimtab.serving.protocols.grpc.messages import DEFINITION, MESSAGES

ROOT = Path(__file__).resolve().parents[5]


def test_the_compiled_definition_is_that_of_the_proto_file(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "scripts" / "grpc_definition.py"))["compile_definition"](tmp_path / "made")
    made = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "made").read_bytes())
    assert list(made.file) == [DEFINITION], "run: python scripts/grpc_definition.py"


def fields(message: Any) -> dict[str, tuple[int, int]]:
    return {field.name: (field.number, field.type) for field in message.fields}


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_are_those_of_triton_s_definition(name: str) -> None:
    pairs = [(MESSAGES[name].DESCRIPTOR, getattr(service_pb2, name).DESCRIPTOR)]
    while pairs:
        ours, theirs = pairs.pop()
        assert fields(theirs).items() <= fields(ours).items()
        # what KServe answers beyond it
        assert fields(ours).keys() - fields(theirs).keys() <= {"model_name", "isLoaded", "isUnloaded"}
        assert theirs.nested_types_by_name.keys() <= ours.nested_types_by_name.keys()
        pairs += [(ours.nested_types_by_name[name], inner) for name, inner in theirs.nested_types_by_name.items()]
