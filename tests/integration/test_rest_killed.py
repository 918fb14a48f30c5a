"""An ingest of a REST source that is killed again and again ends with each row once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kit.hostile_api import HostileApi, hostile_api
from kit.waiting import wait_for
from trimtab.app.project.workspace import open_workspace

DEFINITIONS = """
import trimtab as tt

orders = tt.RESTSource(
    "orders",
    "{url}",
    "link",
    timestamp="updated_at",
    incremental={{"cursor_path": "updated_at", "start_param": "since"{order}}},
    batch_rows=20,
)
"""
ROWS, KILLS = 200, 2


def row(number: int) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number // 3)  # three rows share a time
    return {"id": number, "updated_at": at.isoformat(), "customer": {"city": f"c{number % 7}"}}


def is_there(api: HostileApi, requests: int, process: subprocess.Popen[bytes]) -> bool:
    """Return True if so many requests came, or the process has ended."""
    return len(api.asked) >= requests or process.poll() is not None


@pytest.mark.parametrize("order", ["", ', "row_order": "asc"'])
def test_a_killed_ingest_goes_on(tmp_path: Path, order: str) -> None:
    chance = random.Random(11)
    with hostile_api([row(number) for number in range(ROWS)]) as api:
        (tmp_path / "definitions.py").write_text(DEFINITIONS.format(url=api.url, order=order))
        (tmp_path / "trimtab.yaml").write_text("project: p\n")
        workspace = open_workspace(tmp_path)
        command = [sys.executable, "-m", "trimtab.cli", "ingest", "orders", "--project", str(tmp_path)]
        for _ in range(KILLS):
            until = len(api.asked) + chance.randint(2, 25)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for(partial(is_there, api, until, process), "pages are read")
            process.send_signal(signal.SIGKILL)
            process.wait()
        api.rows += [row(number) for number in range(ROWS, ROWS + 20)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rows = workspace.tables.scan("orders").collect()
        assert sorted(rows["id"]) == list(range(ROWS + 20))
        assert '"cursor":' in (workspace.tables.state("orders") or "")
