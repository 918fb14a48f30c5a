"""Brings ONNX graphs and skops files into a canonical form: the same estimator gives the same bytes in every process.

ONNX converters number intermediate names with counters of the process, and write operator sets in the order of a
Python set. In canonical form, names are numbered by first use, and operator sets are sorted. skops names objects and
their files by memory addresses, and a zip file dates its entries. In canonical form, objects are numbered by first use,
and dates are fixed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

SCHEMA = "schema.json"
"""The entry of a skops file with its tree of nodes; arrays are entries of their own."""
ID, FILE, LOADER = "__id__", "file", "__loader__"
BY_VALUE = ("JsonNode", "TypeNode")
"""Nodes that are compared by value, because it depends on the process whether two of them are the same object."""
FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can store."""


def canonical_skops(content: bytes) -> bytes:
    """Return a skops file of the same content, with objects and files numbered by first use."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        _sort_sets(schema)
        names: dict[str, str] = {}
        _number(schema, {}, names)
        files = {new: _undated(archive.read(old)) for old, new in names.items()}
    return _zip({**files, SCHEMA: json.dumps(schema, indent=2).encode()})


def _number(node: Any, numbers: dict[Any, int], names: dict[str, str]) -> None:
    """Number nodes and their files by first use, in place. names: file names, old -> new, are added here."""
    if isinstance(node, list):
        for part in node:
            _number(part, numbers, names)
    elif isinstance(node, dict):
        if ID in node:
            own = _bare(node) if node.get(LOADER) in BY_VALUE else node[ID]
            node[ID] = numbers.setdefault(own, len(numbers) + 1)
        if isinstance(node.get(FILE), str) and LOADER in node:
            old = node[FILE]
            node[FILE] = names.setdefault(old, f"{len(names) + 1}{PurePosixPath(old).suffix}")
        for part in node.values():
            _number(part, numbers, names)


def _sort_sets(node: Any) -> None:
    """Sort the members of sets, whose order depends on the process, in place."""
    parts = node if isinstance(node, list) else list(node.values()) if isinstance(node, dict) else []
    for part in parts:
        _sort_sets(part)
    if isinstance(node, dict) and node.get(LOADER) == "SetNode":
        node["content"].sort(key=_bare)


def _bare(node: Any) -> str:
    """Return a node as JSON without the ids of objects."""

    def stripped(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: stripped(value) for key, value in part.items() if key != ID}
        return [stripped(value) for value in part] if isinstance(part, list) else part

    return json.dumps(stripped(node), sort_keys=True)


def _undated(content: bytes) -> bytes:
    """Return the content of a file; a zip file, such as that of a sparse matrix, gets fixed dates."""
    if not content.startswith(b"PK\x03\x04"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _zip({name: archive.read(name) for name in archive.namelist()})


def _zip(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, FIRST_DATE), content)
    return target.getvalue()


def canonical_bytes(model: Any) -> bytes:
    """Rename in place and return the serialized onnx.ModelProto; names of inputs and outputs stay."""
    model.producer_name, model.producer_version = "trimtab", ""
    model.domain, model.doc_string, model.model_version = "", "", 0
    _sort_opsets(model)
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {name: name for name in kept}
    for graph in _graphs(model.graph):
        del graph.value_info[:]  # shapes of intermediate values, which the runtime infers again
    _rename(model.graph, names)
    model.graph.name = "trimtab"
    return bytes(model.SerializeToString(deterministic=True))


def _sort_opsets(model: Any) -> None:
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        versions[opset.domain] = max(opset.version, versions.get(opset.domain, 0))
    del model.opset_import[:]
    for domain, version in sorted(versions.items()):
        opset = model.opset_import.add()
        opset.domain, opset.version = domain, version


def _rename(graph: Any, names: dict[str, str]) -> None:
    graph.name, graph.doc_string = "g", ""
    for value in (*graph.input, *graph.output):
        value.name = _new(value.name, names)
    for node in graph.node:
        node.name, node.doc_string = "", ""
        node.input[:] = [_new(name, names) for name in node.input]
        node.output[:] = [_new(name, names) for name in node.output]
        for inner in _subgraphs(node):
            _rename(inner, names)
    for tensor in graph.initializer:
        tensor.name = _new(tensor.name, names)
    for sparse in graph.sparse_initializer:
        sparse.values.name = _new(sparse.values.name, names)
    initializers = sorted(graph.initializer, key=lambda tensor: str(tensor.name))
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in initializers]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _new(name: str, names: dict[str, str]) -> str:
    """Return the new name of a value; an empty name, an omitted input, stays empty."""
    return names.setdefault(name, f"v{len(names)}") if name else ""


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _graphs(inner)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
