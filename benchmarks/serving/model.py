"""The models that all servers serve: 30 floats, gradient boosting; as files for the peers, as bundles for the gateway.

The same call gives the same model in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.serving.targets import Ask, Target, v2_ask
from trimtab.clock import SystemClock
from trimtab.records.record import Role
from trimtab.stores.catalog import open_artifacts, open_metadata
from trimtab.testing.bundles import plain_spec, register_bundle, revision

MODEL = "hgb"
ENTITY = "customer"
"""Request column whose value pins a row to a role."""
FEATURES = 30
TREES = 200
STORES = ".trimtab"
DEFINITIONS = f"""\
import trimtab as tt

rows = tt.FileSource("rows", "data/rows.parquet", timestamp="moment", known_at="known_at")
hgb = tt.Model(
    "{MODEL}", task="binary", examples=rows, label="outcome", features=[f"f{{n}}" for n in range({FEATURES})]
)
"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Roles = Mapping[int, tuple[Role, float]]


@dataclass(frozen=True)
class Model:
    """One fitted version."""

    estimator: Any
    graph: bytes

    def probabilities(self, rows: np.ndarray[Any, Any]) -> list[float]:
        """Return what the version says about rows (n, FEATURES)."""
        return [float(value) for value in self.estimator.predict_proba(rows)[:, 1]]


def fit(version: int, *, trees: int = TREES) -> Model:
    """Return a version; each has another number of leaves, so that no two answer alike."""
    rows, labels = _data()
    estimator = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, max_leaf_nodes=30 + version)
    estimator.fit(rows, labels)
    graph = to_onnx(estimator, rows[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    return Model(estimator, graph)


def sample(rows: int) -> np.ndarray[Any, Any]:
    """Return rows (n, FEATURES) that were not learned from, rounded so that JSON carries them exactly enough."""
    values = np.random.default_rng(1).normal(size=(rows, FEATURES)).round(4)
    return values.astype(np.float32)


def as_json(row: np.ndarray[Any, Any]) -> list[float]:
    """Return a row (FEATURES,) as the shortest decimals that stand for its float32 values."""
    return [float(text) for text in row.astype(str)]


def write_files(model: Model, folder: Path) -> None:
    """Write model.joblib and model.onnx."""
    folder.mkdir(parents=True)
    joblib.dump(model.estimator, folder / "model.joblib")
    (folder / "model.onnx").write_bytes(model.graph)


def make_project(project: Path, models: Mapping[int, Model], roles: Roles) -> None:
    """Write a project whose stores hold versions of the model, and a first revision in which some of them serve."""
    root = project / STORES
    root.mkdir(parents=True)
    (project / "definitions.py").write_text(DEFINITIONS)
    metadata, artifacts = open_metadata(None, root), open_artifacts(None, root)
    spec = plain_spec(MODEL, [f"f{n}" for n in range(FEATURES)], entity_keys=(ENTITY,))
    for version, model in models.items():
        register_bundle(metadata, artifacts, model.graph, spec, version=version, created_at=NOW)
    metadata.put(revision(MODEL, 1, roles, created_at=SystemClock().now()))
    metadata.close()


def entity_ask(target: Target, row: Sequence[float], entity: str) -> Ask:
    """Return a target's request with an entity key, by which the gateway pins the row to a role."""
    plain = v2_ask(row, **{ENTITY: entity})
    return Ask(path=plain.path, body=plain.body, headers=target.ask(row).headers)


def requests_of(target: Target, entities: int) -> Callable[[int], bytes]:
    """Return what sends the request of an entity by its number, encoded once."""
    rows = [as_json(row) for row in sample(50)]
    made = [entity_ask(target, rows[n % len(rows)], f"customer-{n}").bytes() for n in range(entities)]
    return made.__getitem__


def _data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5_000, FEATURES)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] + rng.normal(size=len(rows)) > 0).astype(int)
    return rows, labels
