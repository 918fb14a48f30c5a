"""The one form of an ONNX graph: the same estimator gives the same bytes in every process. Called by convert.py.

Converters number intermediate names with counters of the process and write operator sets in the order of
a Python set. Here names are numbered by first use, and operator sets are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def canonical_bytes(model: Any) -> bytes:
    """Rename in place and return the serialized onnx.ModelProto; names of inputs and outputs stay."""
    model.producer_name, model.producer_version = "trimtab", ""
    model.domain, model.doc_string, model.model_version = "", "", 0
    _sort_opsets(model)
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {name: name for name in kept}
    for graph in _graphs(model.graph):
        del graph.value_info[:]  # inferred shapes of intermediate values, which the runtime infers itself
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
    """Return the new name of a value; an empty one stands for an input left out."""
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
