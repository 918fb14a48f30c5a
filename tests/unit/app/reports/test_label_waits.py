"""Label delay and estimates as `trimtab status` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from e2e.small_project import write_project
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports import label_waits as module
from trimtab.app.reports.label_waits import duration_text, estimates, label_waits
from trimtab.cli import look
from trimtab.stores.predictions.embedded.segment_log import SegmentLog
from trimtab.testing.judged import FIRST, window_report
from trimtab.testing.predictions import label_rows, prediction_rows
from trimtab.units import MICROS

HOUR = MICROS["h"]
START = 1_772_323_200_000_000


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(write_project(tmp_path / "project"))


def log(ws: Workspace, delays: Sequence[float | None]) -> None:
    """Write a prediction an hour, and its label so many hours later."""
    ids = [f"p{n}" for n in range(len(delays))]
    times = [START + n * HOUR for n in range(len(ids))]
    opened = SegmentLog(ws.root / "predictions")
    opened.append(prediction_rows(ids, model=["m"] * len(ids), event_time=times, logged_at=times))
    known = [(id_, time + round(delay * HOUR)) for id_, time, delay in zip(ids, times, delays, strict=True) if delay]
    names, at = [id_ for id_, _ in known], [time for _, time in known]
    opened.append_labels(label_rows(names, model=["m"] * len(names), known_at=at))
    opened.close()


def test_without_predictions_nothing_is_said(ws: Workspace) -> None:
    assert label_waits(ws, "m") is None


def test_half_and_most_of_the_labels(ws: Workspace) -> None:
    log(ws, [2.0] * 60 + [30.0] * 40)
    found = label_waits(ws, "m")
    assert found is not None
    assert (found["rows"], found["labelled"], found["hint"]) == (100, 100, None)
    assert found["seconds_until"]["0.5"] == 2 * 3600
    assert found["seconds_until"]["0.9"] == 30 * 3600


def test_windows_that_mature_before_most_labels_are_hinted_at(ws: Workspace) -> None:
    log(ws, [2.0] * 60 + [100.0] * 40 + [None] * 10)
    found = label_waits(ws, "m")
    assert found is not None
    assert found["hint"].startswith("decide.labels_mature_after is 2d: by then ")
    assert "90% after 4.17 d" in found["hint"]


def test_labels_of_young_predictions_are_no_reason_for_a_hint(ws: Workspace) -> None:
    log(ws, [1.0] * 3 + [None] * 5)
    found = label_waits(ws, "m")
    assert found is not None
    assert (found["labelled"], found["hint"]) == (3, None)


def test_a_label_log_that_is_too_long_is_said_to_be(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    log(ws, [1.0] * 3)
    monkeypatch.setattr(module, "MOST_LABELS", 2)
    assert label_waits(ws, "m") == {"rows": 3, "hint": "the label log has 3 rows; its delays are not computed"}


def report(ws: Workspace, day: int, stage: str, **metrics: float) -> None:
    made = window_report(day, stage="closed" if stage == "closed" else "matured", metrics=metrics)
    ws.metadata.put(msgspec.structs.replace(made, model="m", id=f"m/{day}/{stage}"))


def test_the_newest_estimate_comes_with_the_error_of_earlier_ones(ws: Workspace) -> None:
    for day in range(3):
        report(ws, day, "closed", estimated_brier=0.1 + day / 100)
        if day < 2:
            report(ws, day, "matured", estimated_brier_error=0.02 * (day + 1))
    found = estimates(ws, "m")
    assert found is not None
    assert found["start"].startswith(f"{FIRST.year}-03-03")
    assert found["metrics"] == {"brier": pytest.approx(0.12)}
    assert found["past"]["brier"]["windows"] == 2
    assert found["past"]["brier"]["mean_error"] == pytest.approx(0.03)


def test_status_shows_both(ws: Workspace) -> None:
    log(ws, [2.0] * 60 + [100.0] * 40)
    report(ws, 0, "closed", estimated_brier=0.1)
    report(ws, 0, "matured", estimated_brier_error=-0.02)
    shown = CliRunner().invoke(look.app, ["status", "--project", str(ws.project.folder)], catch_exceptions=False)
    assert "labels: 50% after 2 h, 90% after 4.17 d (100 of 100 predictions)" in shown.stdout
    assert "hint   decide.labels_mature_after is 2d: by then 60% of the labels are in" in shown.stdout
    assert (
        "an estimate, no clearance: 2026-03-01 00:00, version 1: brier 0.1 (off by 0.02 in 1 windows)" in shown.stdout
    )


def test_a_share_that_no_label_has_reached_is_said_to_be_open(ws: Workspace) -> None:
    log(ws, [2.0, None] * 60 + [60.0] + [None] * 50)
    shown = CliRunner().invoke(look.app, ["status", "--project", str(ws.project.folder)], catch_exceptions=False)
    assert "labels: 50% not yet, 90% not yet (61 of 171 predictions)" in shown.stdout
    found = label_waits(ws, "m")
    assert found is not None
    assert "of the labels are in; when 90% are is not known yet; so windows are judged" in found["hint"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (90, "1.5 m"), (7200, "2 h"), (86_400, "1 d"), (360_000, "4.17 d")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
