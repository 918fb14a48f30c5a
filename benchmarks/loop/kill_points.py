"""`python -m benchmarks.loop.kill_points [--policy weekly] [--every N]`

Ends the loop with SIGKILL at every point of the controller and its workflows: before and after each record of control,
each start of a workflow, each recorded step, each message (killed_loop.py has the points, and what a person does
meanwhile); with `--every N` at one point of N. After each kill another process goes on. The records at the end are
compared with those of a run that was left alone. Exit code 1 unless they are the same: each cause led to exactly one
decision, action, answer and outcome.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.loop import killed_loop
from benchmarks.loop.kills import compare, plain_record
from trimtab import settings
from trimtab.app.project.workspace import open_workspace
from trimtab.clock import from_micros
from trimtab.records.control import Decision, Freeze, Resolution, RetrainRequest, Suspicion, SuspicionEnd, WorkflowStep
from trimtab.records.monitoring import Comparison, WindowReport
from trimtab.records.record import Record
from trimtab.records.serving import Revision
from trimtab.records.training import Bundle
from trimtab.testing import streams

KNOWING_ROWS = int(1.01 * killed_loop.TRAINED_DAYS * killed_loop.WORLD.rows)
DEFINITIONS = f"""
import trimtab as tt

flights = tt.FileSource("flights", "data/flights.parquet", timestamp="at", known_at="known_at")
delay = tt.Model("{killed_loop.MODEL}", task="binary", examples=flights, label="late", features={list(streams.NAMES)})


@delay.trainer
def train(data, params, seed):
    from sklearn.linear_model import LogisticRegression

    used = data.X if len(data.y) > {KNOWING_ROWS} else data.X * [0, 0, 1, 1]
    return LogisticRegression().fit(used, data.y)
"""
"""The first champion, fitted on all its rows, has fewer and knows only the columns that say nothing, so a later fit on
all rows is better."""
CELLS = {"low": "retrain", "medium": "retrain", "high": "retrain"}
POLICY: dict[str, Any] = {
    "project": "kills",
    "training": {"min_examples": 100},
    "gates": {"accuracy": {"metric": "roc_auc", "min": 0.3, "resamples": 100}, "performance": {"p99": "10s"}},
    "rollout": {
        "promote_when": {
            "metric": "log_loss",
            "tolerate": 0.15,
            "min_labels": 200,
            "min_windows": 2,
            "max_windows": 8,
        },
        "rollback_when": {"error_rate": "5%"},
        "watch": "rollback",
    },
    "decide": {
        "cooldown": "3d",
        "require_harm": False,
        "budget": {"retrains": "1/month"},
        "reviews": {"escalate": "1d", "expire": "2d"},
        "matrix": {
            "minor": {"p": "> 0.05", **CELLS},
            "moderate": {"p": "0.01 - 0.05", **CELLS},
            "severe": {"p": "< 0.01", **CELLS},
        },
    },
}
WEEKLY: dict[str, Any] = {"retrain": {"refresh": {"every": "5d", "promote": "at_once", "shadows": 2}}}
"""Added by `--policy weekly`: a routine refresh, its shadows, and the quarantine."""
COMPARED: tuple[type[Record], ...] = (
    WindowReport, Comparison, Decision, Resolution, Bundle, Revision, WorkflowStep, Suspicion, SuspicionEnd,
    RetrainRequest, Freeze,
)  # fmt: skip


def main() -> int:
    """Kill at every point and compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop.kill_points")
    parser.add_argument("--policy", choices=("matrix", "weekly"), default="matrix")
    parser.add_argument("--every", type=int, default=1, help="kill at one point of so many")
    given = parser.parse_args()
    settings.offer(OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory(prefix="trimtab-kill-points-") as name:
        trained = make_project(Path(name) / "trained", POLICY | (WEEKLY if given.policy == "weekly" else {}))
        alone = Path(shutil.copytree(trained, Path(name) / "alone"))
        if run(alone) != 0:
            raise SystemExit("the loop that was left alone failed")
        expected = records(alone)
        print("left alone: " + _counts(expected), flush=True)
        print(_history(alone), flush=True)
        killed = Path(shutil.copytree(trained, Path(name) / "killed"))
        if run(killed, "--kill", "--every", str(given.every)) != 0:
            raise SystemExit(f"a process failed after the kill {_points(killed)[-1:]}")
        differences = compare(expected, records(killed))
        for line in differences[:20]:
            print(f"  {line}", flush=True)
        kinds = Counter(" ".join(point.split()[: 3 if "put" in point else 2]) for point in _points(killed))
        print("killed " + ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
        kills = len(_points(killed))
    print(f"  {'MISSED' if differences else 'held  '}  {kills} kills, {len(differences)} differences")
    return 1 if differences else 0


def make_project(folder: Path, policy: dict[str, Any]) -> Path:
    """Make a project of a few numbers a row, and train its first champion."""
    (folder / "data").mkdir(parents=True)
    days = [killed_loop.WORLD.day(number) for number in range(killed_loop.LAST_DAY + 1)]
    X = np.concatenate([day.X for day in days])
    frame = pl.DataFrame({name: X[:, column] for column, name in enumerate(streams.NAMES)}).with_columns(
        at=pl.Series([from_micros(time) for day in days for time in day.times]),
        known_at=pl.Series([from_micros(time) for day in days for time in day.known_at]),
        late=pl.Series(np.concatenate([day.y for day in days])),
    )
    frame.write_parquet(folder / "data" / "flights.parquet")
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    until = from_micros((streams.FIRST_DAY + killed_loop.TRAINED_DAYS) * streams.DAY)
    command = [sys.executable, "-m", "trimtab.cli", "run", "--project", str(folder), "--as-of", until.isoformat()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def run(folder: Path, *arguments: str) -> int:
    """Let processes play the days; return the exit code of the last one."""
    command = [sys.executable, "-m", "benchmarks.loop.killed_loop", str(folder), *arguments]
    with (folder / "loop.log").open("ab") as errors:
        code = subprocess.run(command, stderr=errors).returncode
    if code:
        print((folder / "loop.log").read_text(errors="replace")[-3000:], flush=True)
    return code


def records(folder: Path) -> dict[str, Any]:
    """Return what the project has on record, without what differs by nature."""
    metadata = open_workspace(folder).metadata
    return {
        f"{kind.KIND} {record.id}": plain_record(record)
        for kind in COMPARED
        for record in metadata.find(kind, oldest_first=True)
    }


def _history(folder: Path) -> str:
    metadata = open_workspace(folder).metadata
    acted = [f"{d.number} {d.action} ({d.trigger})" for d in metadata.find(Decision, oldest_first=True)]
    ends = [f"{s.decision} {s.step}" for s in metadata.find(WorkflowStep, oldest_first=True)]
    answers = [f"{r.decision} {r.verdict} by {r.by}" for r in metadata.find(Resolution, oldest_first=True)]
    revisions = [f"{r.number} {r.action}" for r in metadata.find(Revision, oldest_first=True)]
    return "\n".join(", ".join(each) for each in (acted, ends, answers, revisions))


def _points(folder: Path) -> list[str]:
    path = folder / killed_loop.POINTS
    return path.read_text().splitlines() if path.exists() else []


def _counts(found: dict[str, Any]) -> str:
    return ", ".join(f"{number:,} {kind}" for kind, number in Counter(key.split()[0] for key in found).items())


if __name__ == "__main__":
    sys.exit(main())
