"""A project for contract tests: two models of different tasks over one source, a view, and ways to break it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

ROWS = 400
DEFINITIONS = """
import numpy as np
import trimtab as tt
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

loans = tt.FileSource("loans", "loans/", timestamp="asked_at", known_at="decided_at")
rates = tt.FileSource("rates", "rates.csv", timestamp="at")
branch = tt.Entity("branch")
past = tt.FeatureView("past", branch, loans, [tt.mean("bad", "10d"), tt.count("10d")])
level = tt.FeatureView("level", branch, rates, [tt.mean("rate", "3d")])


@tt.on_demand(inputs=["amount"])
def size(amount):
    return np.log1p(amount)


risk = tt.Model("risk", task="binary", examples=loans, label="bad", features=[past, size, "age"])
loss = tt.Model("loss", task="regression", examples=loans, label="lost", features=[past, level, "amount"])


@risk.trainer
def train_risk(data, params, seed):
    return make_pipeline(SimpleImputer(), LogisticRegression(random_state=seed)).fit(data.X, data.y)  # risk


@loss.trainer
def train_loss(data, params, seed):
    return make_pipeline(SimpleImputer(), LinearRegression()).fit(data.X, data.y)  # loss
"""
POLICY = """
project: loans
training: { on: subprocess, min_examples: 5000, history: 365d, refit: never }
gates: { accuracy: { resamples: 100 }, performance: { p99: 1ms } }
checks: { loans: { volume: { min: 100000 } } }
serving: { port: 1, authentication: tokens }
"""


def make_loans(folder: Path) -> Path:
    """Write the project into a new folder and return it. Rates end two days before the loans."""
    (folder / "loans").mkdir(parents=True)
    random = np.random.default_rng(5)
    amount, age = random.gamma(2.0, 100.0, ROWS), random.integers(18, 80, ROWS).astype(float)
    bad = (amount / 400 + random.normal(0, 0.4, ROWS) > 0.6).astype(np.int64)
    at = np.datetime64("2026-01-01", "us") + np.arange(ROWS) * np.timedelta64(2, "h")
    frame = pl.DataFrame(
        {
            "asked_at": at,
            "decided_at": at + np.timedelta64(30, "h"),
            "branch": [("north", "south")[n % 2] for n in range(ROWS)],
            "amount": amount,
            "age": age,
            "bad": bad,
            "lost": amount * bad + random.normal(0, 5, ROWS),
        }
    ).with_columns(pl.col("asked_at", "decided_at").dt.replace_time_zone("UTC"))
    for part in range(4):
        frame[part * 100 : part * 100 + 100].write_parquet(folder / "loans" / f"part-{part}.parquet")
    days = [at[0] + np.timedelta64(day, "D") for day in range(ROWS // 12 - 2)]
    rates = [{"at": str(day), "branch": name, "rate": 3.0} for day in days for name in ("north", "south")]
    pl.DataFrame(rates).write_csv(folder / "rates.csv")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY)
    return folder


def break_trainer(folder: Path, model: str, statement: str) -> None:
    """Let the trainer of a model run a statement in place of its last one."""
    path = folder / "definitions.py"
    text = path.read_text()
    line = next(line for line in text.splitlines() if line.endswith(f"  # {model}"))
    path.write_text(text.replace(line, f"    {statement}"))


def change(folder: Path, before: str, after: str) -> None:
    """Replace text in definitions.py, which must have it."""
    path = folder / "definitions.py"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
