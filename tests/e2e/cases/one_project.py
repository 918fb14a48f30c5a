"""A small project with one model, taken through the stages and served by a gateway in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.bundle.scorer import Scorer
from trimtab.bundle.spec import Spec, read_spec
from trimtab.clock import SystemClock
from trimtab.records.training import Bundle
from trimtab.runtimes.opening import open_scorer
from trimtab.serving.core.gateway import Gateway
from trimtab.serving.core.loaded_bundle import load_bundle
from trimtab.serving.core.routing import ModelTable, RoutingTable, Variant
from trimtab.serving.core.vectorizer import NumericColumns
from trimtab.serving.orders import BundleOrder
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.requests import Refused
from trimtab.serving.worker_options import WorkerOptions
from trimtab.stores.predictions.embedded.segment_log import SegmentLog

START = datetime(2024, 1, 1, tzinfo=UTC)
POLICY = """
project: case
training: { min_examples: 100, seed: 1 }
gates:
  accuracy: { min: 0.5, resamples: 100 }
  performance: { p99: 10s, memory: 2000MB }
  leakage: { max_score: 1 }
"""
DEFINITIONS = """
import trimtab as tt
ex = tt.FileSource("ex", "data/ex.parquet", timestamp="at")
m = tt.Model("m", task="binary", examples=ex, label="y", features=FEATURES)
@m.trainer
def train(data, params, seed):
"""


def write_project(folder: Path, columns: Mapping[str, Any], trainer: str) -> Path:
    """Write a project whose examples have these columns, "y" the label; `trainer` is the body of its trainer."""
    rows = len(columns["y"])
    (folder / "data").mkdir(parents=True)
    at = [START + timedelta(minutes=10 * row) for row in range(rows)]
    pl.DataFrame({"at": at, **columns}).write_parquet(folder / "data" / "ex.parquet")
    body = "".join(f"    {line}\n" for line in trainer.strip().splitlines())
    features = repr([name for name in columns if name != "y"])
    (folder / "definitions.py").write_text(DEFINITIONS.replace("FEATURES", features) + body)
    (folder / "trimtab.yaml").write_text(POLICY)
    return folder


def numbers(rows: int = 600) -> dict[str, np.ndarray[Any, Any]]:
    """Three columns of numbers and a label, as in the first cases that failed."""
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, 3)).round(3)
    X[:, 1] += 5
    y = (X[:, 0] + 0.7 * (X[:, 1] - 5) + 0.3 * random.normal(size=rows)) > 0.8
    return {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "y": y.astype(float)}


def register(folder: Path) -> tuple[Workspace, Bundle]:
    """Take the project's model through all stages up to its registered bundle."""
    workspace = open_workspace(folder)
    ingesting.ingest(workspace)
    run = pipeline.train(workspace, "m", pipeline.snapshot(workspace, "m", as_of=workspace.now()))
    return workspace, pipeline.register(workspace, run, pipeline.evaluate(workspace, run))


def opened(folder: Path) -> tuple[Path, Spec, Scorer]:
    """Register the project's model; return the bundle's folder, what it says, and what scores."""
    workspace, bundle = register(folder)
    path = workspace.artifacts.open(bundle.path)
    spec = read_spec(path)
    return path, spec, open_scorer(path, spec)


class OneGateway:
    """A gateway over one folder, asked as MLflow's clients do."""

    def __init__(self, folder: Path, spec: Spec, log: Path) -> None:
        self.log = SegmentLog(log)
        self._runner = asyncio.Runner()
        self._gateway = Gateway(self.log, SystemClock(), WorkerOptions())
        bundle = load_bundle(BundleOrder(f"{spec.model}/1", spec.model, 1, str(folder), "", spec), NumericColumns)
        table = ModelTable(spec.model, 1, [Variant("champion", bundle, 100)])
        self._gateway.swap(RoutingTable({spec.model: table}, complete=True))

    def ask(self, *records: Mapping[str, Any]) -> list[float] | str:
        """Return the predictions for records, or the error of a 400."""
        return self._runner.run(self._ask(msgspec.json.encode({"dataframe_records": records})))

    def rows(self) -> int:
        """Return how many rows are in the log."""
        self._gateway.settle()
        return int(self.log.read()[0].num_rows)

    def close(self) -> None:
        """Stop its threads."""
        self._gateway.close()
        self._runner.close()

    async def _ask(self, body: bytes) -> list[float] | str:
        try:
            response = await self._gateway.infer(None, None, scoring.decode(body, "application/json"), 0)
        except Refused as refused:
            if refused.status != 400:
                raise
            return str(refused)
        return response.scores
