"""A small project with data of its own, under version control: six hundred rows, trained in a second."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.stages import ingesting, pipeline
from trimtab.clock import ManualClock
from trimtab.records.training import Run

ROWS = 600
AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
DEFINITIONS = """
import trimtab as tt
from shapes import fit

rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
risk = tt.Model("risk", task="binary", examples=rows, label="bad", features=["amount", "age"])


@risk.trainer
def train(data, params, seed):
    return fit(data, params, seed)
"""
FIT = """
from sklearn.ensemble import HistGradientBoostingClassifier


def fit(data, params, seed):
    return HistGradientBoostingClassifier(random_state=seed, **params).fit(data.X, data.y)
"""
POLICY = """
project: small
training: { seed: 3, params: { max_iter: 8, max_depth: 3 }, min_examples: 50 }
gates: { accuracy: { min: 0.5, resamples: 100 }, performance: null }
decide: { window: 1d }
"""


class TwoRuns(NamedTuple):
    """The project, opened anew, and two runs of it."""

    workspace: Workspace
    first: Run
    second: Run


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with an author of its own; return what it prints."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().strip()


def make_project(folder: Path) -> Path:
    """Write the project and commit it; return its folder."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    amount, age = random.gamma(2.0, 100.0, ROWS), random.integers(18, 80, ROWS).astype(float)
    bad = (amount / 400 + random.normal(0, 0.3, ROWS) > 0.6).astype(np.int64)
    at = pl.Series("at", np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(1, "h"))
    frame = pl.DataFrame({"amount": amount, "age": age, "bad": bad}).with_columns(at.dt.replace_time_zone("UTC"))
    frame.write_parquet(folder / "rows.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "shapes.py").write_text(FIT)
    (folder / "trimtab.yaml").write_text(POLICY)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def open_small(folder: Path, at: datetime = AS_OF) -> Workspace:
    """Open the project on a clock of its own."""
    return open_workspace(folder, clock=ManualClock(at))


def trained(workspace: Workspace) -> Run:
    """Take in the data, freeze a training set and train."""
    ingesting.ingest(workspace)
    return pipeline.train(workspace, "risk", pipeline.snapshot(workspace, "risk", as_of=AS_OF))


def make_two_runs(folder: Path) -> TwoRuns:
    """Train twice, the second time with more rounds and another penalty, and judge the first run."""
    make_project(folder)
    workspace = open_small(folder)
    first = trained(workspace)
    pipeline.evaluate(workspace, first)
    (folder / "trimtab.yaml").write_text(POLICY.replace("max_iter: 8", "max_iter: 30"))
    (folder / "shapes.py").write_text(FIT.replace("(random_state", "(l2_regularization=1.0, random_state"))
    git(folder, "commit", "-q", "-a", "-m", "more rounds")
    return TwoRuns(open_small(folder), first, trained(open_small(folder, AS_OF + timedelta(days=1))))
