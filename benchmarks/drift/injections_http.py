"""`python -m benchmarks.drift.injections_http [--policy matrix] [--only TEXT]`: known changes through a gateway.

The streams of injections.py as a project. 60 days train a model by `trimtab run`. Then `trimtab up` runs gateway and
loop, and `trimtab replay` posts each row of 10 quiet and 14 changed days to `/v2/models/delay/infer`, and its label,
when it became known, to `/feedback`. The policy is that of injections.py with a refresh every 28 days, and with it the
quarantine; with `--policy matrix` without them. Reviews are left unanswered.

Windows count from the change on: 1 is the first changed one. What is read are the records of the project: the first
signal, the windows whose rows are held back, the first decision that is neither routine nor "monitor", and what the
loop did from the change on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.drift.injections import CHANGED, CHANGES, NAMES, REFERENCE, WATCHED, Stream, fires, window_number
from trimtab import settings
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import SystemClock, from_micros
from trimtab.records.control import Decision, Suspicion, SuspicionEnd
from trimtab.records.monitoring import Signal
from trimtab.records.serving import Revision
from trimtab.stores.metadata.contract import Metadata
from trimtab.testing.judged import MODEL
from trimtab.testing.streams import FIRST_DAY
from trimtab.units import MICROS

DEFINITIONS = f"""
import trimtab as tt

flights = tt.FileSource("flights", "data/*.parquet", timestamp="at", known_at="known_at")
delay = tt.Model(
    "{MODEL}", task="binary", examples=flights, label="late", features={list(NAMES)}, categories=["carrier"]
)


@delay.trainer
def train(data, params, seed):
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(data.X, data.y)
"""
POLICY: dict[str, Any] = {
    "project": "injections",
    "training": {"min_examples": 100},
    "gates": {"accuracy": {"metric": "roc_auc", "min": 0.5, "resamples": 100}, "performance": {"p99": "10s"}},
    "impact": {
        "currency": "USD",
        "cost": {"false_negative": 40, "false_positive": 5},
        "medium": "100/day",
        "high": "1000/day",
    },
    "decide": {"labels_mature_after": "1d"},
    "serving": {"port": 0},
}
REFRESH: dict[str, Any] = {"retrain": {"refresh": {"every": "28d", "shadows": 3}}}
"""Seldom, so that no routine retraining falls into the days that are judged; with it comes the quarantine."""
LAST = CHANGED + WATCHED + 2


def make_project(folder: Path, seed: int, policy: dict[str, Any]) -> Path:
    """Make the project and train its first champion on the days of the reference."""
    (folder / "data").mkdir(parents=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    write_days(folder / "data" / "reference.parquet", Stream(seed), range(REFERENCE))
    until = from_micros((FIRST_DAY + REFERENCE + 1) * MICROS["d"])
    trimtab(folder, "run", "--as-of", until.isoformat())
    return folder


def write_days(path: Path, stream: Stream, numbers: Sequence[int]) -> None:
    """Write days of a stream as one Parquet file."""
    days = [stream.day(number) for number in numbers]
    X = np.concatenate([day.X for day in days]).astype(np.float64)
    frame = pl.DataFrame({name: X[:, place] for place, name in enumerate(NAMES)}).fill_nan(None)
    frame.with_columns(
        at=pl.Series([from_micros(time) for day in days for time in day.times]),
        known_at=pl.Series([from_micros(time) for day in days for time in day.known_at]),
        late=pl.Series(np.concatenate([day.y for day in days])),
    ).write_parquet(path)


def trimtab(folder: Path, verb: str, *arguments: str) -> None:
    """Run a verb on the project; raises SystemExit with its output when it fails."""
    command = [sys.executable, "-m", "trimtab.cli", verb, "--project", str(folder), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"trimtab {verb} failed:\n{done.stdout[-3000:]}")


def play(folder: Path, name: str, seed: int) -> Workspace:
    """Send the days of a change through the gateway of a project; return the project."""
    write_days(folder / "data" / "live.parquet", Stream(seed, CHANGES[name]), range(REFERENCE, LAST))
    trimtab(folder, "ingest")
    first, last = (from_micros((FIRST_DAY + day) * MICROS["d"]).isoformat() for day in (REFERENCE, LAST))
    trimtab(folder, "replay", "--from", first, "--to", last)
    return open_workspace(folder)


def row(name: str, metadata: Metadata) -> str:
    """Return the row of the table about a change."""
    signals = [s for s in metadata.find(Signal, oldest_first=True, model=MODEL) if fires(s)]
    signal = min((s for s in signals if window_number(s.start) > 0), key=lambda s: s.start, default=None)
    held = [s for s in metadata.find(Suspicion, oldest_first=True, model=MODEL) if window_number(s.start) > 0]
    ended = {e.suspicion for e in metadata.find(SuspicionEnd, model=MODEL)}
    decisions = [d for d in metadata.find(Decision, oldest_first=True, model=MODEL) if window_number(d.start) > 0]
    acted = [d for d in decisions if d.action != "monitor"]
    decided = next((d for d in acted if d.trigger != "routine"), None)
    by = f"{signal.kind} {signal.subject}" if signal else ""
    known = _at(held[0].known_at, end=True) if held else "-"
    rule = f"{held[0].rule}, {len(held)} held, {sum(s.id in ended for s in held)} back" if held else ""
    return (
        f"{name:38} {_at(signal.start if signal else None):>6}  {by:28} "
        f"{known:>6}  {rule:30} {_at(decided.start if decided else None):>6}  "
        f"{f'{decided.action} ({decided.trigger})' if decided else '':18}  {done(metadata, acted)}"
    )


def done(metadata: Metadata, acted: Sequence[Decision]) -> str:
    """Return what the loop did by some decisions: reviews that wait, retrainings with what serves after them."""
    revisions = metadata.find(Revision, oldest_first=True, model=MODEL)
    found = []
    for decision in acted:
        if decision.action != "review":
            own = [r for r in revisions if f"{r.cause}/".find(f"{decision.id}/") >= 0]
            made = ", ".join(f"{r.action} v{max(a.version for a in r.assignments)}" for r in own)
            found.append(f"w{_at(decision.start)} {decision.action} ({decision.trigger}): {made or 'nothing serves'}")
    reviews = [_at(d.start) for d in acted if d.action == "review"]
    return "; ".join([*([f"reviews w{', '.join(reviews)}"] if reviews else []), *found]) or "nothing"


def _at(time: datetime | None, *, end: bool = False) -> str:
    """Return the number of a window that begins at a time; end: that ends then."""
    return "-" if time is None else str(window_number(time) - end)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.injections_http")
    parser.add_argument("--policy", choices=("matrix", "refresh"), default="refresh")
    parser.add_argument("--only", default="", help="changes whose name holds this text")
    parser.add_argument("--seed", type=int, default=1000)
    given = parser.parse_args()
    settings.offer(OMP_NUM_THREADS="1")
    policy = POLICY | (REFRESH if given.policy == "refresh" else {})
    clock = SystemClock()
    head = f"{'change':38} {'signal':>6}  {'by':28} {'held':>6}  {'by':30} {'decided':>6}  {'what':18}  done"
    with TemporaryDirectory(prefix="trimtab-injections-") as temporary:
        trained = make_project(Path(temporary) / "trained", given.seed, policy)
        print(head, flush=True)
        for number, name in enumerate(each for each in CHANGES if given.only in each):
            begun = clock.now()
            folder = Path(shutil.copytree(trained, Path(temporary) / str(number)))
            workspace = play(folder, name, given.seed)
            print(row(name, workspace.metadata), flush=True)
            print(f"  {name}: {(clock.now() - begun).total_seconds():.0f} s", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
