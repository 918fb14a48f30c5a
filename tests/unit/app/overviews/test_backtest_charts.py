"""The charts of a backtest show what its table says."""

from __future__ import annotations

import msgspec

from trimtab.app.backtest.policy_run import Change
from trimtab.app.overviews.backtest_charts import backtest_charts
from trimtab.charts.theme import Frame
from unit.app.backtest.test_policy_table import DAY, result, table


def test_what_served_follows_the_changes_from_the_version_before_the_first_window() -> None:
    found = table(result("never", [5.0] * 60), result("every:7d", [4.0] * 60, trained=2))
    changes = [
        Change(at=-DAY, action="deploy", champion=3, reason=""),
        Change(at=20 * DAY, action="promote", champion=4, reason=""),
        Change(at=99 * DAY, action="promote", champion=5, reason=""),
    ]
    rows = [found.rows[0], msgspec.structs.replace(found.rows[1], changes=changes)]
    charts = backtest_charts(msgspec.structs.replace(found, rows=rows), Frame(width=600))
    bars = charts.timelines["layer"][0]["data"]["values"]
    assert [(bar["row"], bar["text"], (bar["end"] - bar["start"]) / 86_400_000) for bar in bars] == [
        ("never", "1", 60),
        ("every:7d", "3", 20),
        ("every:7d", "4", 40),
    ]
    assert "never: 0" in str(charts.savings)
    assert "every:7d: 60.0" in str(charts.savings)
    points = [layer for layer in charts.frontier["layer"] if layer["mark"]["type"] == "point"]
    assert {row["text"] for layer in points for row in layer["data"]["values"]} == {"never", "every:7d"}
