"""Makes small real bundles, for tests and benchmarks of serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trimtab.bundle.manifest import write_manifest
from trimtab.bundle.spec import BACKGROUND, Limits, Spec, Task, write_spec
from trimtab.records.record import Role
from trimtab.records.serving import Assignment, Revision
from trimtab.records.training import Bundle
from trimtab.stores.artifacts.contract import Artifacts
from trimtab.stores.metadata.contract import Metadata


def lookup_graph(
    scores: Sequence[float] | Sequence[Sequence[float]], features: int = 1, *, task: Task = "binary"
) -> bytes:
    """Return the graph of a model that gives scores[n] for a row whose first feature is n.

    scores: of a multiclass model one probability a class. It fails when the first feature is beyond the scores.
    """
    rows = [
        list(score) if isinstance(score, Sequence) else [1 - score, score] if task == "binary" else [score]
        for score in scores
    ]
    table = np.array(rows, dtype=np.float32)
    nodes = [
        helper.make_node("Slice", ["X", "zero", "one", "one"], ["first"]),  # of columns 0 to 1, axis 1
        helper.make_node("Squeeze", ["first", "one"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["probabilities"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, table.shape[1]])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([0], dtype=np.int64), "zero"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def pack_bundle(folder: Path, graph: bytes, spec: Spec, *, background: Sequence[Sequence[float]] = ()) -> str:
    """Write a bundle that can be served; return its digest. background: rows for explanations to compare with."""
    folder.mkdir(parents=True, exist_ok=True)
    if background:
        (folder / BACKGROUND).parent.mkdir(exist_ok=True)
        np.save(folder / BACKGROUND, np.array(background, dtype=np.float32), allow_pickle=False)
    (folder / "model.onnx").write_bytes(graph)
    write_spec(folder, spec)
    return write_manifest(folder)


def plain_spec(model: str, features: Sequence[str], /, **changed: Any) -> Spec:
    """Return the spec of a binary model whose features are request columns."""
    values: dict[str, Any] = {
        "model": model,
        "task": "binary",
        "label": "outcome",
        "features": tuple(features),
        "request_columns": tuple(features),
        "entity_keys": (),
        "timestamp": "moment",
        "threshold": 0.5,
        "run": "run",
        "dataset": "dataset",
        "views": (),
        "code_hash": "none",
        "limits": Limits(),
    }
    return Spec(**(values | changed))


def register_bundle(
    metadata: Metadata, artifacts: Artifacts, graph: bytes, spec: Spec, *, version: int, created_at: datetime
) -> Bundle:
    """Pack, publish and record a bundle."""
    folder = artifacts.staging()
    digest = pack_bundle(folder, graph, spec)
    record = Bundle(
        id=f"{spec.model}/{version}",
        created_at=created_at,
        model=spec.model,
        version=version,
        run=spec.run,
        dataset=spec.dataset,
        gate_report="none",
        digest=digest,
        path=artifacts.publish(folder, f"bundles/{spec.model}/{version}"),
        features=spec.features,
        views=spec.views,
        threshold=spec.threshold,
    )
    metadata.put(record)
    return record


def revision(model: str, number: int, roles: Mapping[int, tuple[Role, float]], *, created_at: datetime) -> Revision:
    """Return a revision in which versions serve in roles with weights."""
    return Revision(
        id=f"{model}#{number}",
        created_at=created_at,
        model=model,
        number=number,
        assignments=tuple(
            Assignment(role=role, bundle=f"{model}/{version}", version=version, weight=weight)
            for version, (role, weight) in roles.items()
        ),
        action="deploy",
        cause=f"{model}-{number}",
        reason="a test",
        by="tests",
    )
