"""One window: columns against the reference, mistakes with their cost, rows, and what was decided."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from kit.small_project import AS_OF, make_project, open_small
from kit.task_windows import DAY_ROWS, MODELS, Served
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.overviews.model_timeline import timeline
from trimtab.app.overviews.reads.child_reader import close_readers, reader
from trimtab.app.overviews.reads.window_rows import exported_rows, sampled_rows
from trimtab.app.overviews.window_detail import WindowDetail, window_detail
from trimtab.app.overviews.window_list import WindowFilter, all_windows, window_page
from trimtab.app.overviews.wording import metric, money, p_value, share
from trimtab.app.project.workspace import Workspace
from trimtab.definitions.on_demand import OnDemand
from trimtab.errors import NotFound, UsageError
from trimtab.metric_catalog import PAIR, TASKS, Task
from trimtab.records.control import Decision
from trimtab.records.monitoring import Profile, Signal, WindowReport
from trimtab.testing.judged import DAY, window_report

QUIET, SHIFTED, NEWEST = AS_OF + 2 * DAY, AS_OF + 8 * DAY, AS_OF + 10 * DAY


@pytest.fixture(autouse=True)
def no_children() -> Iterator[None]:
    yield
    close_readers()


@pytest.mark.parametrize("task", TASKS)
def test_money_of_the_mistakes_adds_up_to_what_the_window_lost(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    report = workspace.metadata.get(WindowReport, f"{name}/v1/{SHIFTED:%Y-%m-%dT%H:%M:%SZ}/matured")
    found = window_detail(workspace, name, SHIFTED)
    assert (found.rows, found.labelled, found.metrics) == (report.rows, report.labelled, report.metrics)
    assert found.money_lost == report.metrics["money_lost"]
    assert sum(m.money or 0.0 for m in found.mistakes) == pytest.approx(found.money_lost)
    assert {f"{m.kind}_mean": m.mean for m in found.mistakes}.items() <= report.metrics.items()
    assert all(m.usual is not None for m in found.mistakes if PAIR not in m.kind)


@pytest.mark.parametrize("task", TASKS)
def test_columns_are_counted_and_moved_as_the_records_say(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    found = window_detail(workspace, name, SHIFTED)
    profile = workspace.metadata.find(Profile, model=name, version=1, start=SHIFTED)[0]
    assert found.trouble == ""
    assert [c.name for c in found.columns] == [
        c.name for c in sorted(found.columns, key=lambda c: (-(c.moved or 0), c.name))
    ]
    signals = {s.subject: s for s in workspace.metadata.find(Signal, model=name, version=1, start=SHIFTED, kind="data")}
    for column in found.columns:
        counts = profile.columns[column.name]["counts"]
        assert column.rows == DAY_ROWS
        assert column.missing == counts[0] / DAY_ROWS
        assert sum(column.now) == pytest.approx(1)
        assert sum(column.reference) == pytest.approx(1)
        assert len(column.edges) == len(column.now) + 1
        assert column.direction.startswith("higher by ")  # the inputs are three times as large
        if column.name in signals:
            effect = signals[column.name].effect
            assert (column.moved, column.psi, column.holm, column.p) == (
                effect["max_share_moved"],
                effect["psi"],
                effect["holm"],
                signals[column.name].p,
            )
    assert signals.keys() & {c.name for c in found.columns}


def test_counts_alone_give_what_the_detector_found(served: Served) -> None:
    # given a window with the effects of its columns, and the same window without them
    workspace = served("binary")
    found = {c.name: c for c in window_detail(workspace, "risk", QUIET).columns}
    signals = workspace.metadata.find(Signal, model="risk", version=1, start=QUIET, kind="data")
    named = [s for s in signals if s.subject in found]
    assert named
    without = [msgspec.structs.replace(s, effect={}) for s in named]
    own: Any = workspace.metadata.find
    columns = {
        c.name: c
        for c in _detail_with(workspace, QUIET, lambda kind, **where: without if kind is Signal else own(kind, **where))
    }
    for signal in named:
        assert columns[signal.subject].moved == pytest.approx(signal.effect["max_share_moved"], abs=0.03)


def _detail_with(workspace: Workspace, start: Any, find: Any) -> tuple[Any, ...]:
    class Store:
        def __getattr__(self, name: str) -> Any:
            return find if name == "find" else getattr(workspace.metadata, name)

    copy = Workspace(workspace.project, workspace.environment, workspace.clock)
    copy.__dict__["metadata"] = Store()
    return window_detail(copy, "risk", start).columns


def test_what_differs_is_said_and_what_does_not_is_said_too(served: Served) -> None:
    workspace = served("binary")
    assert window_detail(workspace, "risk", QUIET).sentence == (
        "3 Feb 2026 UTC: 48 rows, 100 % labelled. Nothing differs from the reference beyond chance."
    )
    shifted = window_detail(workspace, "risk", SHIFTED)
    age = next(c for c in shifted.columns if c.name == "age")
    assert shifted.sentence == (
        "9 Feb 2026 UTC: 48 rows, 100 % labelled. The mean of 'age', 147.75, lies beyond all values before, 18 to 79; "
        f"{share(age.moved)} of age moved (p {p_value(age.p)}, {p_value(age.holm)} corrected for 2 columns), "
        f"{age.direction}."
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_decision_is_that_of_the_window(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    for decision in workspace.metadata.find(Decision, model=name):
        found = window_detail(workspace, name, decision.start).decision
        assert found is not None
        assert (found.number, found.band, found.impact_per_day, found.reasons) == (
            decision.number,
            decision.band,
            decision.impact_per_day,
            decision.reasons,
        )
    challenger = window_detail(workspace, name, SHIFTED, version=2)
    assert (challenger.role, challenger.decision, challenger.waits) == ("challenger", None, "")


def test_neighbours_are_the_windows_of_the_same_role(served: Served) -> None:
    workspace = served("binary")
    first = window_detail(workspace, "risk", AS_OF)
    assert (first.before, first.after) == (None, "2026-02-02T00:00Z")
    challenger = window_detail(workspace, "risk", AS_OF + 3 * DAY, version=2)
    assert (challenger.before, challenger.after) == (None, "2026-02-05T00:00Z")
    assert challenger.versions == ((1, "champion"), (2, "challenger"))
    assert window_detail(workspace, "risk", NEWEST).after is None


def test_a_window_that_is_not_there_names_the_nearest(served: Served) -> None:
    workspace = served("binary")
    with pytest.raises(NotFound, match=r"no window that begins at 2026-02-01T12:00Z; .* 2026-02-01T00:00Z"):
        window_detail(workspace, "risk", AS_OF + timedelta(hours=12))
    with pytest.raises(NotFound, match=r"version 7 has no window .* those of version 1"):
        window_detail(workspace, "risk", AS_OF, version=7)
    with pytest.raises(NotFound, match="no model 'riks'; the models are risk"):
        window_detail(workspace, "riks", AS_OF)


def test_a_window_that_is_not_mature_says_when_it_is_judged_and_a_bundle_that_is_gone(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    report = window_report(stage="closed", labelled=0)
    workspace.metadata.put(msgspec.structs.replace(report, model="risk", id="risk/v1/x/closed"))
    found = window_detail(workspace, "risk", report.start)
    assert found.waits == "not judged before its labels mature: 4 Mar"
    assert found.sentence == "1 Mar 2026 UTC: 1,000 rows, labels not mature. Its rows were not tested."
    assert found.trouble == "version 1 has no bundle, so there is no reference to compare with"


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_log_with_what_was_wrong(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    order: dict[str, Any] = {"model": name, "version": 1, "start": QUIET.isoformat(), "end": (QUIET + DAY).isoformat()}
    found = sampled_rows(workspace, **order)
    assert found["total"] == DAY_ROWS
    assert len(found["rows"]) == DAY_ROWS
    report = workspace.metadata.get(WindowReport, f"{name}/v1/{QUIET:%Y-%m-%dT%H:%M:%SZ}/matured")
    labelled = [row for row in found["rows"] if row["label"] is not None]
    assert len(labelled) == report.labelled
    for kind in ("false_negative", "false_positive", "misclassification"):
        if f"{kind}_mean" in report.metrics:
            wrong = [row for row in labelled if row["wrong"] == kind.replace("_", " ")]
            assert len(wrong) / len(labelled) == pytest.approx(report.metrics[f"{kind}_mean"])
    if task == "regression":
        high = [row["score"] - row["label"] for row in labelled if row["wrong"] == "over prediction"]
        assert sum(high) / len(labelled) == pytest.approx(report.metrics["over_prediction_mean"])
    again = reader(workspace).read("sampled_rows", dict[str, Any], **order)
    assert [row["prediction_id"] for row in again["rows"]] == [row["prediction_id"] for row in found["rows"]]


def signals_of(workspace: Workspace, segment: str) -> WindowDetail:
    """Return a window with a signal of a segment."""
    found = workspace.metadata.find(Signal, model="risk", version=1, start=QUIET, kind="data")[0]
    changed = {"id": "segment", "kind": "concept", "subject": segment, "reason": "", "effect": {}}
    workspace.metadata.put(msgspec.structs.replace(found, **changed))
    return window_detail(workspace, "risk", QUIET)


@pytest.mark.parametrize("computed", [False, True])
def test_rows_as_parquet_keep_columns_with_personal_data_masked(served: Served, computed: bool) -> None:
    workspace = served("binary")
    order: dict[str, Any] = {"model": "risk", "version": 1, "start": QUIET.isoformat(), "end": SHIFTED.isoformat()}
    plain = pl.read_parquet(io.BytesIO(base64.b64decode(exported_rows(workspace, **order))))
    assert plain.height == DAY_ROWS * 6
    assert plain["age"].dtype == pl.Float64
    rows, transforms = workspace.project.definitions.sources["rows"], workspace.project.definitions.transforms
    assert isinstance(transforms, dict)
    object.__setattr__(rows, "pii", ("born",) if computed else ("age",))
    if computed:
        transforms["age"] = OnDemand("age", ("born",), ("age",), abs, "")
    try:
        masked = pl.read_parquet(io.BytesIO(base64.b64decode(exported_rows(workspace, **order))))
        assert set(masked["age"]) == {"***"}
        assert masked["amount"].to_list() == plain["amount"].to_list()
        shown = json.dumps(sampled_rows(workspace, **order), default=str)
        assert "***" in shown
        column = next(c for c in window_detail(workspace, "risk", QUIET).columns if c.name == "age")
        assert set(column.edges) == {"***"}
        assert not any(character.isdigit() for character in column.direction)
        page = signals_of(workspace, "age=3")
        assert {each.name for each in page.segments} == {each.subject for each in page.notes if "=" in each.subject}
        assert {each.name for each in page.segments} == {"age=***"}
    finally:
        object.__setattr__(rows, "pii", ())
        transforms.clear()


def test_windows_come_by_pages_without_gap_or_repetition(served: Served) -> None:
    workspace = served("binary")
    known = workspace.metadata.find(WindowReport, model="risk", stage="matured")
    first = window_page(workspace, "risk", WindowFilter(), limit=7)
    second = window_page(workspace, "risk", WindowFilter(), limit=7, after=first.after)
    assert first.total == len(known)
    assert [w.id for w in (*first.windows, *second.windows)] == [w.id for w in known[:14]]
    everything = list(all_windows(workspace, "risk", WindowFilter(stage=None, role="champion")))
    assert {w.stage for w in everything} == {"closed", "matured"}
    assert len(everything) == 22
    decided = {d.window: d for d in workspace.metadata.find(Decision, model="risk")}
    for window in everything:
        decision = decided.get(window.id)
        assert (window.decision, window.band) == ((decision.number, decision.band) if decision else (None, None))
    with pytest.raises(UsageError, match="limit: 0; expected 1 to 1000"):
        window_page(workspace, "risk", WindowFilter(), limit=0)


def test_a_reader_moves_through_every_window(served: Served) -> None:
    page = model_overview(served("binary"), "risk")
    moments = timeline(page)
    assert [m.start for m in moments] == [f"2026-02-{day:02}T00:00Z" for day in range(1, 12)]
    shifted = page.windows[8]
    number = next(mark.number for mark in page.marks if mark.start == SHIFTED)
    usual, judged = page.usual[0], page.judged[8]
    assert moments[8].text.split(", ") == [
        "9 Feb",
        f"log loss {metric(shifted.loss)}",
        f"usual {metric(usual.low)} to {metric(usual.high)}",
        f"p {p_value(judged.p_seq)}",
        f"{money(judged.impact_per_day, 'USD', signed=True)} a day",
        f"decision {number} review",
    ]
