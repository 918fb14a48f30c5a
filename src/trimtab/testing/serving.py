"""Small real bundles, for tests and benchmarks of whatever serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skl2onnx import to_onnx

from trimtab.bundle import Spec, write_manifest, write_spec
from trimtab.records import Bundle
from trimtab.stores.artifacts import Artifacts
from trimtab.stores.metadata import Metadata


def pack_bundle(folder: Path, estimator: Any, spec: Spec) -> str:
    """Write a fitted scikit-learn estimator as a bundle that can be served; return its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"zipmap": False} if spec.task == "binary" else None
    rows = np.zeros((1, len(spec.features)), dtype=np.float32)
    graph = to_onnx(estimator, rows, options=options, target_opset=18)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    write_spec(folder, spec)
    return write_manifest(folder)


def plain_spec(model: str, features: Sequence[str], **changed: Any) -> Spec:
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
    }
    return Spec(**(values | changed))


def register_bundle(
    metadata: Metadata, artifacts: Artifacts, estimator: Any, spec: Spec, *, version: int, created_at: Any
) -> Bundle:
    """Pack, publish and record a bundle."""
    folder = artifacts.staging()
    digest = pack_bundle(folder, estimator, spec)
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
