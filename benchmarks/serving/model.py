"""The model that all servers serve: 30 floats, a gradient boosting of 200 trees, as a bundle in real stores."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from trimtab.records import Role
from trimtab.stores.artifacts.folder import FolderArtifacts
from trimtab.stores.metadata.sql import SqlMetadata
from trimtab.testing.bundles import plain_spec, register_bundle, revision

MODEL = "hgb"
FEATURES = 30
TREES = 200
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_stores(root: Path, roles: Mapping[int, tuple[Role, float]]) -> Path:
    """Write stores with two versions that serve in some roles; return the path of the first one's graph."""
    root.mkdir()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_000, FEATURES)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=len(X)) > 0).astype(int)
    metadata, artifacts = SqlMetadata(root / "metadata.db"), FolderArtifacts(root / "artifacts")
    spec = plain_spec(MODEL, [f"f{n}" for n in range(FEATURES)])
    for version in (1, 2):
        estimator = HistGradientBoostingClassifier(max_iter=TREES, early_stopping=False, max_leaf_nodes=30 + version)
        graph = to_onnx(estimator.fit(X, y), X[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
        record = register_bundle(metadata, artifacts, graph, spec, version=version, created_at=NOW)
        if version == 1:
            path = artifacts.open(record.path) / "model.onnx"
    metadata.put(revision(MODEL, 1, roles, created_at=NOW))
    metadata.close()
    return path
