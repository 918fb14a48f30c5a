"""The loop starts fast: libraries that only a training or a search needs are imported when one begins."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import trimtab.cli.replay
import trimtab.app.loop.up

heavy = ("sklearn", "skops", "pandas", "mlflow", "matplotlib", "lightgbm", "xgboost", "optuna", "statsmodels", "onnx")
print([name for name in heavy if name in sys.modules])
"""


def test_the_loop_and_a_replay_import_no_library_that_trains() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ALERTS = """
import sys
import trimtab.cli.alerts.alerting

heavy = ("apprise", "dbos", "numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn", "sqlalchemy")
print([name for name in heavy if name in sys.modules])
"""


def test_the_process_that_sends_alerts_stays_small() -> None:
    done = subprocess.run([sys.executable, "-c", ALERTS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
