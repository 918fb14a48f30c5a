"""The soak's project: `python -m benchmarks.serving.soak_project FOLDER VERSIONS` makes it by the stages of the loop.

It ingests rows, freezes a training set, and trains, gates and registers each version. The soak starts it as a process
of its own, before the load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from benchmarks.serving.model import ENTITY, MODEL
from benchmarks.serving.targets import Ask, Target
from trimtab.app.project.workspace import open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.clock import SystemClock
from trimtab.records.training import DatasetVersion

COLUMNS = 8
"""Request columns of numbers, in addition to the customer."""
VIEW_FEATURES = 2
CUSTOMERS, ROWS = 1_000, 20_000
TREES = 60
DAYS = 30
DEFINITIONS = f"""\
import trimtab as tt

rows = tt.FileSource("rows", "data/rows.parquet", timestamp="moment", known_at="known_at")
customer = tt.Entity("{ENTITY}", keys=["{ENTITY}"])
habit = tt.FeatureView(
    "habit", entity=customer, source=rows, features=[tt.count("7d"), tt.mean("f0", "7d")], every="1d"
)
hgb = tt.Model(
    "{MODEL}",
    task="binary",
    examples=rows,
    label="outcome",
    features=[habit, *[f"f{{n}}" for n in range({COLUMNS})]],
)


@hgb.trainer
def train(data, params, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **params).fit(data.X, data.y)
"""
POLICY = f"""\
training:
  params: {{ max_iter: {TREES}, max_leaf_nodes: LEAVES }}
gates:
  accuracy: {{ metric: roc_auc, min: 0.6, resamples: 100 }}
  performance: null
rollout:
  split: {{ champion: 90, challenger: 10 }}
  canary: {{ steps: [5%, 10%, 25%, 50%] }}
"""
"""Sections in addition to serving; LEAVES is a number by which the versions differ."""

_encode = msgspec.json.Encoder().encode


def make(folder: Path, versions: int) -> None:
    """Write the project, and register versions 1 to `versions` of its model."""
    (folder / "data").mkdir(parents=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    _rows().write_parquet(folder / "data" / "rows.parquet")
    for version in range(1, versions + 1):
        policy = POLICY.replace("LEAVES", f"{10 + version}")
        (folder / "trimtab.yaml").write_text(f"project: benchmark\n{policy}")
        workspace = open_workspace(folder)
        if version == 1:
            ingesting.ingest(workspace)
            pipeline.snapshot(workspace, MODEL, as_of=workspace.now())
        run = pipeline.train(workspace, MODEL, pipeline.newest(workspace, DatasetVersion, MODEL))
        bundle = pipeline.register(workspace, run, pipeline.evaluate(workspace, run))
        print(f"registered {bundle.id}", flush=True)


def alone_ask(target: Target) -> Ask:
    """Return a request of features without a customer, which tests whether the server has started."""
    width = COLUMNS + VIEW_FEATURES
    inputs = [{"name": "X", "shape": [1, width], "datatype": "FP32", "data": [0.0] * width}]
    return Ask(path=_PATH, body=_encode({"inputs": inputs}), headers=target.ask(()).headers)


def requests_of(target: Target, entities: int) -> Callable[[int], bytes]:
    """Return what sends the request of a customer by number, encoded once: the gateway looks up the rest."""
    values = np.random.default_rng(1).normal(size=(entities, COLUMNS)).round(4).tolist()
    headers = target.ask(()).headers
    made = []
    for number, row in enumerate(values):
        inputs: list[dict[str, Any]] = [
            {"name": f"f{n}", "shape": [1], "datatype": "FP64", "data": [value]} for n, value in enumerate(row)
        ]
        inputs.append({"name": ENTITY, "shape": [1], "datatype": "BYTES", "data": [f"customer-{number}"]})
        made.append(Ask(path=_PATH, body=_encode({"inputs": inputs}), headers=headers).bytes())
    return made.__getitem__


_PATH = f"/v2/models/{MODEL}/infer"


def _rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    now = SystemClock().now().replace(tzinfo=None)
    ages = np.sort(rng.uniform(0.1, DAYS, size=ROWS))[::-1]
    moments = [now - timedelta(days=float(age)) for age in ages]
    values = rng.normal(size=(ROWS, COLUMNS))
    outcome = (values[:, 0] + values[:, 1] * values[:, 2] + rng.normal(size=ROWS) > 0).astype(np.int64)
    return pl.DataFrame(
        {
            "moment": moments,
            "known_at": [moment + timedelta(minutes=5) for moment in moments],
            ENTITY: [f"customer-{number}" for number in rng.integers(0, CUSTOMERS, size=ROWS)],
            **{f"f{n}": values[:, n] for n in range(COLUMNS)},
            "outcome": outcome,
        }
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
