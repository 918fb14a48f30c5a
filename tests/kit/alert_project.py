"""A project without data whose alerts go to channels, and what happens in it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock
from trimtab.testing.judged import FIRST

NOW = FIRST + timedelta(days=3)
DEFINITIONS = """
import trimtab as tt

rows = tt.FileSource("rows", "rows.parquet", timestamp="at")
delay = tt.Model("delay", task="binary", examples=rows, label="late", features=["wind"])
"""
POLICY = """
project: small
impact: {{ cost: {{ false_negative: 40 }}, medium: 500, high: 1500 }}
console: {{ url: "https://console.example.com/" }}
alerts:
{alerts}
"""


def make_alert_project(folder: Path, channels: str) -> Path:
    """Write a project. channels: lines of YAML below `channels:`, not indented."""
    folder.mkdir(parents=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    lines = "\n".join(f"    {line}" for line in channels.strip().splitlines())
    (folder / "trimtab.yaml").write_text(POLICY.format(alerts=f"  channels:\n{lines}"))
    return folder


def open_alert_project(folder: Path, channels: str, at: datetime = NOW) -> tuple[Workspace, ManualClock]:
    """Make a project, open it on a clock of its own, and return both."""
    clock = ManualClock(at)
    return open_workspace(make_alert_project(folder, channels), clock=clock), clock
