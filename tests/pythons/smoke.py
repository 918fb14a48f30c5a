"""A new project from nothing to a retraining, as a user types it: PYTHONPATH=tests python -m pythons.smoke.

Runs `run`, `up`, `replay`, `doctor` and `status` in a temporary folder, and a retraining that is killed and goes on.
It is a script, not a test of the suite: `make test-pythons` runs it on each Python that the machine has.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from e2e.kit import Up, stop_everything
from kit.commands import trimtab
from kit.decisions import decide
from kit.waiting import wait_for
from trimtab.app.project.workspace import open_workspace
from trimtab.records.control import WorkflowStep

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


def main() -> None:
    """Raise AssertionError with the reason when something does not work."""
    with tempfile.TemporaryDirectory(prefix="trimtab-smoke-") as name:
        folder = Path(name) / "project"
        make_project(folder)
        trimtab("run", "-p", folder, "--as-of", TRAINED_UNTIL.isoformat())
        workspace = open_workspace(folder)
        decide(workspace, "retrain", model="late", start=TRAINED_UNTIL + timedelta(days=2))

        def steps() -> set[str]:
            return {s.step for s in workspace.metadata.find(WorkflowStep, model="late")}

        up = Up(folder)
        try:
            up.start()
            wait_for(lambda: "snapshot" in steps(), "a retraining has begun")
            up.kill()
            up.start()
            wait_for(lambda: {"challenge", "stop"} & steps(), "the killed retraining has gone on")
            replayed = TRAINED_UNTIL + timedelta(days=3)
            trimtab("replay", "-p", folder, "--from", TRAINED_UNTIL.isoformat(), "--to", replayed.isoformat())
            trimtab("doctor", "-p", folder)
            status = json.loads(trimtab("status", "-p", folder, "--json").stdout)
            code = up.interrupt()
            assert code == 0, f"up exited {code}\n{up.log()}"
        finally:
            stop_everything(folder)
        served = status["records"]["prediction_log"]["count"]
        assert served >= 3 * ROWS_A_DAY, f"only {served} predictions are in the log"
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"Python {version}, SQLite {sqlite3.sqlite_version}: {served} predictions, steps {sorted(steps())}")


if __name__ == "__main__":
    main()
