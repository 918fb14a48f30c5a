"""A replay decides by its data alone: a machine that is slow, and stands still now and then, decides the same."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from e2e.kit import stop_everything
from kit.commands import typed
from trimtab.app.gateway.configuration import running_gateway
from trimtab.app.project.process_files import read_progress, send_signal
from trimtab.app.project.workspace import open_workspace
from trimtab.app.reports.summary import summarise
from trimtab.clock import SystemClock, parse_time
from trimtab.records.control import Decision, WorkflowStep
from trimtab.records.monitoring import WindowReport
from trimtab.records.serving import Revision
from trimtab.records.training import Run

DAYS, ROWS_A_DAY, TRAINED_ON, CHANGED_ON = 54, 60, 36, 38
START = "2025-01-01T00:00Z"
DEFINITIONS = """
import time
from pathlib import Path

import trimtab as tt

orders = tt.FileSource("orders", "data/orders.parquet", timestamp="at", known_at="known_at")
late = tt.Model("late", task="binary", examples=orders, label="late", features=["a", "b"])


@late.trainer
def train(data, params, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    if Path(__file__).with_name("slow").exists():
        time.sleep(0.3)
    model = HistGradientBoostingClassifier(random_state=seed, max_iter=15, early_stopping=False)
    return model.fit(data.X[-360:], data.y[-360:])
"""
POLICY = """
project: repeats
training: { min_examples: 100, holdout: 5% }
gates:
  accuracy: { metric: roc_auc, min: 0.5, resamples: 100 }
  performance: { p99: 1us, memory: 10GB }
rollout:
  promote_when: { metric: log_loss, min_labels: 100, min_windows: 3, max_windows: 8, tolerate: 10 }
  rollback_when: { p99: 1us }
impact: { cost: { false_negative: 40, false_positive: 20 }, medium: 50/day, high: 100/day, over: 2d }
decide: { window: 1d, cooldown: 6d, labels_mature_after: 1d, budget: { retrains: 9/month, cost: 0.000001/month } }
serving: { port: 0, workers: 2 }
"""


def day(number: int) -> str:
    """Return the start of a day of the recording."""
    return (parse_time(START) + timedelta(days=number)).isoformat()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose world turns round on day CHANGED_ON, trained on the days before."""
    folder = tmp_path_factory.mktemp("repeats") / "project"
    (folder / "data").mkdir(parents=True)
    rng = np.random.default_rng(5)
    n = DAYS * ROWS_A_DAY
    seconds = np.arange(n) * (86_400 // ROWS_A_DAY) + 60
    a, b = rng.normal(size=n), rng.normal(size=n)
    turned = seconds >= CHANGED_ON * 86_400
    p = 1 / (1 + np.exp(-2 * np.where(turned, -a, a) - b))
    frame = pl.DataFrame({"at": seconds, "a": a, "b": b, "late": (rng.random(n) < p).astype(float)})
    frame = frame.with_columns(at=pl.lit(parse_time(START)).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds="at"))
    frame = frame.with_columns(known_at=pl.col("at") + pl.duration(hours=3))
    frame.write_parquet(folder / "data" / "orders.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY.replace("1us, memory", "10s, memory"))
    typed("run", "-p", folder, "--as-of", day(TRAINED_ON))
    (folder / "trimtab.yaml").write_text(POLICY)
    return folder


@pytest.fixture
def projects(trained: Path, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two copies of the trained project."""
    copies = tmp_path / "quick", tmp_path / "slow"
    for copy in copies:
        shutil.copytree(trained, copy)
    yield copies
    for copy in copies:
        stop_everything(copy)


def replay(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trimtab.cli", "replay", "-p", str(folder), "--approve"]
    command += ["--from", day(TRAINED_ON), "--to", day(DAYS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stall(folder: Path, ended: threading.Event) -> None:
    """Let the loop and the gateway stand still now and then, each at other moments, until the replay has ended."""
    clock, rng = SystemClock(), np.random.default_rng(1)
    while not ended.is_set():
        progress, gateway = read_progress(folder / ".trimtab" / "run"), running_gateway(folder / ".trimtab" / "run")
        found = [each.pid for each in (progress, gateway) if each is not None]
        found += list(gateway.workers) if gateway is not None else []
        if found:
            pid = int(rng.choice(found))
            send_signal(pid, signal.SIGSTOP)
            clock.sleep(float(rng.uniform(0.01, 0.1)))
            send_signal(pid, signal.SIGCONT)
        clock.sleep(0.05)


def what_happened(folder: Path) -> dict[str, Any]:
    """Return all that must not differ: nothing that was timed, no random ids, no wall-clock moments."""
    workspace = open_workspace(folder)
    metadata = workspace.metadata
    summary = summarise(workspace, "late")

    def of(record: Any, *names: str) -> dict[str, Any]:
        return {name: msgspec.to_builtins(getattr(record, name)) for name in names}

    windows = metadata.find(WindowReport, oldest_first=True)
    timed = {"p50_ms", "p99_ms", "p99_low_ms", "cost"}
    return {
        "decisions": [
            of(d, "id", "start", "action", "cell", "band", "impact", "impact_per_day", "p", "p_seq", "reasons")
            for d in metadata.find(Decision, oldest_first=True)
        ],
        "revisions": [of(r, "number", "action", "assignments") for r in metadata.find(Revision, oldest_first=True)],
        "models": [of(r, "dataset", "model_hash", "metrics") for r in metadata.find(Run, oldest_first=True)],
        "steps": [(s.step, s.refers_to and s.step) for s in metadata.find(WorkflowStep, oldest_first=True)],
        "windows": [
            {**of(w, "id", "rows", "labelled"), "metrics": {k: v for k, v in w.metrics.items() if k not in timed}}
            for w in windows
        ],
        "money": summary.comparison and (summary.comparison.loop_money_lost, summary.comparison.frozen_money_lost),
        "versions": [(v.version, v.as_of, v.gates, v.fate) for v in summary.versions],
        "cells": summary.cells,
    }


def test_a_slow_machine_decides_what_a_quick_one_does(projects: tuple[Path, Path]) -> None:
    # given a copy on a machine that trains slowly and stands still again and again
    quick, slow = projects
    (slow / "slow").touch()
    # when both play the same days
    output, _ = (process := replay(quick)).communicate()
    assert process.returncode == 0, output
    process, ended = replay(slow), threading.Event()
    thread = threading.Thread(target=stall, args=(slow, ended))
    thread.start()
    output, _ = process.communicate()
    ended.set()
    thread.join()
    assert process.returncode == 0, output
    # then decisions, models, versions and money are the same, bit for bit
    first, second = what_happened(quick), what_happened(slow)
    for name, value in first.items():
        assert value == second[name], name
    # and something happened: a retraining was promoted, though a limit of one microsecond was broken all the time
    assert any(r["action"] == "promote" for r in first["revisions"])
    assert not any(r["action"] == "rollback" for r in first["revisions"])
    assert "warn" in [gates for _, _, gates, _ in first["versions"]]
