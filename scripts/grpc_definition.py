"""Compiles the definition of the gRPC service: inference.proto -> inference.binpb, a descriptor set.

Run it after a change of inference.proto. It needs grpcio-tools, a package for development.
"""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc

FOLDER = Path(__file__).parents[1] / "src/trimtab/serving/protocols/grpc"


def compile_definition(output: Path) -> None:
    """Write the descriptor set of inference.proto to a file. Raises SystemExit when the definition is wrong."""
    if protoc.main(["protoc", f"--proto_path={FOLDER}", f"--descriptor_set_out={output}", "inference.proto"]):
        raise SystemExit(1)


if __name__ == "__main__":
    compile_definition(FOLDER / "inference.binpb")
