"""The fraud example: payments come over a broker, are scored in real time, and count in features of the next one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from e2e.kit import Up, edit_policy, stop_everything
from kit.commands import typed
from kit.waiting import wait_for
from trimtab.app.project import templates
from trimtab.app.project.broker import running_broker
from trimtab.app.replay.client import Client
from trimtab.clock import SystemClock, parse_time

START = "2025-03-05T00:00Z"
START_TIME = parse_time(START)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The example with the payments of January to early March, and a quick training."""
    folder = tmp_path / "fraud"
    templates.init("fraud", folder)
    path = folder / "data" / "transactions.parquet"
    rows = pl.read_parquet(path)
    rows.filter(pl.col("authorised_at") < START_TIME + timedelta(days=2)).write_parquet(path)
    for file in (folder / "data" / "outcomes").glob("*.parquet"):
        if file.stem > "2025-03":
            file.unlink()
    edit_policy(
        folder,
        serving={"port": 0},
        training={"params": {"max_iter": 15}, "refit": "never"},
        gates={"performance": {"p99": "10s"}, "accuracy": {"metric": "roc_auc", "min": 0.6}},
    )
    yield folder
    stop_everything(folder)


def produce(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "produce.py", *options], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_payments_are_scored_while_the_stream_makes_their_features(project: Path) -> None:
    run_folder = project / ".trimtab" / "run"
    history = subprocess.Popen(
        [sys.executable, "-m", "trimtab.cli", "stream", "--no-values", "-p", str(project)], stdout=subprocess.DEVNULL
    )
    wait_for(lambda: running_broker(run_folder) is not None, "the broker runs")
    sent = re.match(r"([\d,]+) payments sent", produce(project, "--to", START))
    assert sent is not None

    def landed() -> bool:
        found = typed("tables", "show", "transactions", "-p", project, "--json", check=False).stdout
        return bool(found) and str(sent[1]).replace(",", "") in found

    wait_for(landed, "the history has landed")
    history.terminate()
    history.wait()
    typed("run", "-p", project, "--as-of", START)
    up = Up(project)
    up.start()
    said = produce(project, "--live", "100", "--limit", "200")
    assert re.search(r"decisions: p50 [\d.]+ ms, p99 [\d.]+ ms, 200 payments, 0 failed", said)
    assert "a payment counts in features after" in said
    gateway = json.loads((run_folder / "gateway.json").read_text())
    last = pl.read_parquet(project / "data" / "transactions.parquet").filter(pl.col("authorised_at") < START_TIME)[-1]
    client = Client(f"http://{gateway['host']}:{gateway['port']}", SystemClock())
    body = {"features": ["spending:count_7d"], "entities": {"card": [last["card"][0], "nobody"]}, "at": START}
    found = json.loads(client.post("/get-online-features", json.dumps(body).encode()).body)
    client.close()
    assert found["results"][1]["values"][0] >= 1.0
    assert found["results"][1]["values"][1] == 0.0
    audit = typed("features", "audit", "-p", project, check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr
