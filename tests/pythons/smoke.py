"""A new project from nothing to a retraining, as a user types it: python smoke.py, with a Python that has Trimtab.

Runs `run`, `up`, `replay`, `doctor` and `status` in a temporary folder, and a retraining that is killed and goes on.
It is a script, not a test of the suite: `make test-pythons` runs it on each Python that the machine has.
"""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from trimtab.app.project.workspace import open_workspace
from trimtab.clock import SystemClock
from trimtab.control.cause import Cause
from trimtab.control.decision import Draft
from trimtab.control.ledger import Ledger
from trimtab.records.control import WorkflowStep
from trimtab.records.monitoring import WindowReport

PATIENCE_SECONDS = 300.0
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, ROWS_A_DAY = 30, 40
TRAINED_UNTIL = FIRST + timedelta(days=20)

DEFINITIONS = """
import trimtab as tt

orders = tt.FileSource("orders", "orders.csv", timestamp="at", known_at="known")
shop = tt.Entity("shop", keys=["shop"])
recent = tt.FeatureView("recent", entity=shop, source=orders, features=[tt.mean("price", "1d")], every="1h")
late = tt.Model("late", task="binary", examples=orders, label="was_late", features=[recent, "price"])


@late.trainer
def train(data, params, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed, max_iter=20).fit(data.X, data.y)
"""
POLICY = """
project: smoke
gates: { accuracy: { metric: roc_auc, min: 0.5 } }
training: { min_examples: 100 }
decide: { window: 1d }
"""


def make_project(folder: Path) -> None:
    """Write definitions, policy and a month of orders: dear ones are late more often."""
    folder.mkdir()
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "trimtab.yaml").write_text(POLICY)
    chance = random.Random(7)
    lines = ["at,known,shop,price,was_late"]
    for number in range(DAYS * ROWS_A_DAY):
        at = FIRST + timedelta(days=1) * number / ROWS_A_DAY
        price = chance.uniform(1, 9)
        late = int(chance.random() < price / 10)
        lines.append(f"{at.isoformat()},{(at + timedelta(hours=2)).isoformat()},s{number % 3},{price:.2f},{late}")
    (folder / "orders.csv").write_text("\n".join(lines) + "\n")


def trimtab(*arguments: object, code: int = 0) -> str:
    """Run a command; return what it printed."""
    command = [sys.executable, "-m", "trimtab.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def start_up(folder: Path) -> subprocess.Popen[bytes]:
    """Start the loop."""
    with (folder / "up.log").open("ab") as output:
        command = [sys.executable, "-m", "trimtab.cli", "up", "-p", str(folder), "--port", "0"]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def wait_until(condition: Callable[[], Any], up: subprocess.Popen[bytes], folder: Path, what: str) -> None:
    """Wait for a condition while the loop runs."""
    clock = SystemClock()
    start = clock.now()
    while not condition():
        if up.poll() is not None or (clock.now() - start).total_seconds() > PATIENCE_SECONDS:
            raise SystemExit(f"waited in vain: {what}\n{(folder / 'up.log').read_text()}")
        clock.sleep(0.1)


def order_retraining(folder: Path) -> None:
    """Write the decision that the controller writes on a severe window of high impact."""
    workspace = open_workspace(folder)
    start = TRAINED_UNTIL + timedelta(days=2)
    window = WindowReport(
        id="late/v1/smoke/matured",
        created_at=workspace.now(),
        model="late",
        version=1,
        role="champion",
        stage="matured",
        start=start,
        end=start + timedelta(days=1),
        rows=400,
        served_rows=400,
        labelled=390,
        coverage=0.975,
        metrics={},
    )
    draft = Draft(
        cause=Cause(window=window, signals=()),
        band="severe",
        impact_per_day=2000.0,
        impact="high",
        cell="retrain",
        action="retrain",
        reasons=("the smoke test orders a retraining",),
    )
    ledger = Ledger(workspace.metadata, "late")
    ledger.append(draft, clock=workspace.clock)


def main() -> None:
    """Raise SystemExit with the reason when something does not work."""
    with tempfile.TemporaryDirectory(prefix="trimtab-smoke-") as name:
        folder = Path(name) / "project"
        make_project(folder)
        trimtab("run", "-p", folder, "--as-of", TRAINED_UNTIL.isoformat())
        order_retraining(folder)
        metadata = open_workspace(folder).metadata

        def steps() -> set[str]:
            return {s.step for s in metadata.find(WorkflowStep, model="late")}

        up = start_up(folder)
        try:
            wait_until(lambda: "snapshot" in steps(), up, folder, "a retraining has begun")
            up.kill()
            up.wait()
            up = start_up(folder)
            wait_until(lambda: {"challenge", "stop"} & steps(), up, folder, "the killed retraining has gone on")
            replayed = TRAINED_UNTIL + timedelta(days=3)
            trimtab("replay", "-p", folder, "--from", TRAINED_UNTIL.isoformat(), "--to", replayed.isoformat())
            trimtab("doctor", "-p", folder)
            status = json.loads(trimtab("status", "-p", folder, "--json"))
            up.send_signal(signal.SIGINT)
            if up.wait(60):
                raise SystemExit(f"up exited {up.returncode}\n{(folder / 'up.log').read_text()}")
        finally:
            if up.poll() is None:
                up.send_signal(signal.SIGINT)
                up.wait(60)
        served = status["records"]["prediction_log"]["count"]
        if served < 3 * ROWS_A_DAY:
            raise SystemExit(f"only {served} predictions are in the log")
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"Python {version}, SQLite {sqlite3.sqlite_version}: {served} predictions, steps {sorted(steps())}")


if __name__ == "__main__":
    main()
