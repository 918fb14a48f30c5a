"""The page of a model says what the records, the status and the list of decisions say."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from kit.decisions import decide
from kit.small_project import AS_OF, make_project, open_small
from kit.task_windows import MODELS, Served
from trimtab.app.overviews import model_overview as model_overview_module
from trimtab.app.overviews import model_windows
from trimtab.app.overviews.model_overview import ModelOverview, decision_groups, model_overview
from trimtab.app.overviews.model_windows import TimeRange, version_spans
from trimtab.app.overviews.wording import answers_counted, count, metric, money
from trimtab.app.reports.decision_list import DecisionFilter, list_decisions
from trimtab.app.reports.status import status
from trimtab.control.cause import COUNTED
from trimtab.control.decision import REVIEW_P
from trimtab.errors import DefinitionError
from trimtab.metric_catalog import TASKS, Task
from trimtab.records.monitoring import Signal, WindowReport
from trimtab.testing.judged import DAY, window_report


def fact(page: ModelOverview, name: str) -> tuple[str, str]:
    found = next(f for f in page.now.facts if f.name == name)
    return found.figure, found.usual


@pytest.mark.parametrize("task", TASKS)
def test_figures_money_and_bands_are_those_of_the_records(served: Served, task: Task) -> None:
    # given what other parts of the product say
    workspace, name = served(task), MODELS[task]
    page = model_overview(workspace, name)
    known = status(workspace)["models"][name]
    windows = workspace.metadata.find(WindowReport, model=name, role="champion", stage="matured", oldest_first=True)
    decisions = [each.decision for each in list_decisions(workspace, DecisionFilter(model=name), limit=None)]
    # then the windows, their metric and their money are those of the reports
    matured = [w for w in page.windows if w.matured]
    assert [(w.start, w.loss, w.money_lost) for w in matured] == [
        (w.start, w.metrics.get(page.now.metric), w.metrics["money_lost"]) for w in windows
    ]
    assert page.now.month is not None
    assert page.now.month.lost == pytest.approx(math.fsum(w.metrics["money_lost"] for w in windows))
    assert fact(page, "lost")[0] == money(page.now.month.lost, known["money"]["currency"])
    avoided = decisions[0].impact_per_day
    said = f"{money(avoided, known['money']['currency'])} a day" if avoided > 0 else "nothing"
    counted = answers_counted(page.now.month.counted, page.now.month.answered)
    assert fact(page, "lost")[1] == f"{counted}; newest judged window: {said} avoidable ({decisions[0].impact} impact)"
    newest = windows[-1]
    assert fact(page, "labels")[1] == f"{count(newest.labelled)} of {count(newest.rows)}"
    assert fact(page, "p99") == (f"{metric(newest.metrics['p99_ms'])} ms", "limit 250 ms")
    # and band, impact and action those of the decisions
    assert (page.now.band, page.now.impact, page.now.decided) == (
        decisions[0].band,
        decisions[0].impact,
        decisions[0].number,
    )
    assert page.now.impact_per_day == decisions[0].impact_per_day
    assert [(j.start, j.impact_per_day, j.p_seq) for j in page.judged] == [
        (d.start, d.impact_per_day, d.p_seq) for d in reversed(decisions)
    ]
    assert sum(group.windows for group in page.groups) == len(decisions)
    # and what serves and waits as in the status
    assert [(s.role, s.version, s.weight) for s in page.now.serving] == [
        (a["role"], a["version"], a["weight"]) for a in known["serving"]
    ]
    assert list(page.now.waits) == sorted(d["number"] for d in (*known["open_reviews"], *known["to_look_at"]))


@pytest.mark.parametrize("task", TASKS)
def test_the_corrected_p_value_is_the_one_that_chose_the_band(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    page = model_overview(workspace, name)
    smallest: dict[datetime, float] = {}
    for point in page.signals:
        if point.corrected is not None:
            smallest[point.start] = min(point.corrected, smallest.get(point.start, 1.0))
    found = [each.decision for each in list_decisions(workspace, DecisionFilter(model=name), limit=None)]
    bands = {d.start: d.band for d in found}
    judged = [p for p in page.signals if p.start in bands and p.corrected == smallest[p.start]]
    assert {d.start: d.p_seq for d in found} == pytest.approx({start: smallest[start] for start in bands})
    assert {p.start: p.band for p in judged} == bands


@pytest.mark.parametrize("task", TASKS)
def test_spans_touch_and_gains_are_of_the_challenger(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    page = model_overview(workspace, name)
    champion, challenger = page.spans
    assert (champion.version, champion.role, champion.start, champion.end) == (1, "champion", AS_OF, AS_OF + 11 * DAY)
    assert (challenger.version, challenger.role, challenger.start) == (2, "challenger", AS_OF + 3 * DAY)
    gain = f"paired_{page.gain_metric}_gain"
    reports = workspace.metadata.find(WindowReport, model=name, version=2, stage="matured", oldest_first=True)
    assert [(g.start, g.gain) for g in page.gains] == [(w.start, w.metrics[gain]) for w in reports if gain in w.metrics]
    assert page.gains


def test_the_range_holds_the_series_and_not_the_present(served: Served) -> None:
    workspace = served("binary")
    whole = model_overview(workspace, "risk")
    part = model_overview(workspace, "risk", TimeRange(since=AS_OF + DAY, until=AS_OF + 3 * DAY))
    assert [w.start for w in part.windows] == [AS_OF + DAY, AS_OF + 2 * DAY]
    assert {s.start for s in part.signals} == {AS_OF + DAY, AS_OF + 2 * DAY}
    assert [judged.start for judged in part.judged] == [AS_OF + DAY, AS_OF + 2 * DAY]
    assert part.now == whole.now


def test_nothing_serves_yet(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    page = model_overview(workspace, "risk")
    assert page.now.sentence == "Nothing serves yet; `trimtab run` brings the first version of risk into service."
    assert (page.now.state, page.now.next, page.now.facts, page.windows) == ("not_deployed", "trimtab run", (), ())
    with pytest.raises(DefinitionError, match="Did you mean 'risk'"):
        model_overview(workspace, "riks")


def test_a_window_without_labels_says_when_they_mature(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    report = msgspec.structs.replace(window_report(stage="closed"), model="risk", id="risk/v1/closed")
    workspace.metadata.put(report)
    page = model_overview(workspace, "risk")
    assert page.now.state == "no_labels"
    assert page.now.sentence == "Labels mature after 2d; no window is judged yet."
    assert [(w.matured, w.loss) for w in page.windows] == [(False, None)]


def test_a_severe_band_is_said_with_its_begin_its_money_and_what_was_done(tmp_path: Path) -> None:
    # given a minor decision and two severe ones, the last of which a person is asked about
    workspace = open_small(make_project(tmp_path / "project"))
    first = window_report(1)
    for n in range(2):
        decide(workspace, "review", model="risk", start=first.start + n * DAY)
    reports = [
        msgspec.structs.replace(window_report(n + 1), model="risk", id=f"risk/{n}", metrics={"money_lost": 2100.0})
        for n in range(2)
    ]
    workspace.metadata.put(*reports)
    signals = [("concept", 0.5, ()), ("data", 0.001, ("amount", "age"))]
    workspace.metadata.put(
        *(
            Signal(
                id=f"risk/{kind}",
                created_at=AS_OF,
                model="risk",
                version=1,
                kind=kind,  # type: ignore[arg-type]
                subject="all",
                start=reports[1].start,
                end=reports[1].end,
                statistic="test",
                value=1.0,
                p=p,
                p_seq=p,
                effect={},
                rows=1000,
                reference_windows=60,
                carriers=carriers,
                reason="made for a test",
            )
            for kind, p, carriers in signals
        )
    )
    said = model_overview(workspace, "risk").now.sentence
    assert said == (
        "The inputs differ from the reference since 2 Mar 2026 (severe, most in amount and age); mistakes cost 2,000 "
        "USD a day more than they had to (high impact). The matrix says retrain; decision 2 waits for a person; "
        "1 decision waits for a person."
    )


def test_equal_neighbours_are_one_group_and_actions_are_not(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    made = [decide(workspace, "review", model="risk", start=AS_OF + n * DAY) for n in range(6)]
    quiet = [msgspec.structs.replace(d, action="monitor", cell="monitor", band="minor", impact="low") for d in made]
    policy = workspace.project.policy
    groups = decision_groups(policy, [made[5], *quiet[4:1:-1], made[1], made[0]])
    assert [(g.first, g.last, g.windows, g.done) for g in groups] == [
        (6, 6, 1, "a person is asked"),
        (3, 5, 3, "nothing"),
        (2, 2, 1, "a person is asked"),
        (1, 1, 1, "a person is asked"),
    ]
    assert groups[1].name == "3 to 5 Feb 2026 UTC"


def test_a_span_ends_where_another_version_serves_and_goes_on_over_windows_without_traffic() -> None:
    days = [(0, 1), (1, 1), (5, 1), (6, 2), (7, 1)]
    spans = version_spans([window_report(day, version=version) for day, version in days])
    first = window_report(0).start
    assert [(s.version, s.start - first, s.end - first, s.windows) for s in spans] == [
        (1, timedelta(0), 6 * DAY, 3),
        (2, 6 * DAY, 7 * DAY, 1),
        (1, 7 * DAY, 8 * DAY, 1),
    ]


def test_a_long_stretch_keeps_every_value_that_says_something(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    # given the same windows as a short and as a long stretch
    workspace = served("binary")
    whole = model_overview(workspace, "risk")
    monkeypatch.setattr(model_overview_module, "FULL_WINDOWS", 3)
    monkeypatch.setattr(model_windows, "WINDOWS_A_QUERY", 4)
    long = model_overview(workspace, "risk")
    # then only signals of windows in which nothing differs are left out
    assert (long.windows, long.spans, long.gains, long.judged, long.groups) == (
        whole.windows,
        whole.spans,
        whole.gains,
        whole.judged,
        whole.groups,
    )
    assert 0 < len(long.signals) < len(whole.signals)
    left_out = [s for s in whole.signals if s.kind in COUNTED and s not in long.signals]
    assert left_out
    assert {s.tone for s in left_out} == {"minor"}
    assert all(s.p is None or s.p >= REVIEW_P for s in left_out)
    assert [s for s in long.signals if s.kind == "kpi"] == [s for s in whole.signals if s.kind == "kpi"]
    # and those of a kind that is asked for are all there
    asked = model_overview(workspace, "risk", signal="data")
    assert [s for s in asked.signals if s.kind == "data"] == [s for s in whole.signals if s.kind == "data"]


def test_the_first_stretch_is_a_year_and_no_more_windows_than_a_page_can_draw(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = served("binary")
    monkeypatch.setattr(model_overview_module, "MOST_WINDOWS", 4)
    page = model_overview(workspace, "risk")
    assert (page.since, page.until, len(page.windows)) == (AS_OF + 7 * DAY, AS_OF + 11 * DAY, 4)
    assert page.first == AS_OF
    assert len(model_overview(workspace, "risk", TimeRange()).windows) == 11


def test_a_window_that_never_matured_is_shown_as_closed(tmp_path: Path) -> None:
    workspace = open_small(make_project(tmp_path / "project"))
    for day, stage in ((0, "closed"), (1, "closed"), (1, "matured"), (2, "closed")):
        report = window_report(day, stage=stage, metrics={"p99_ms": 1.0})  # type: ignore[arg-type]
        workspace.metadata.put(msgspec.structs.replace(report, model="risk", id=f"risk/{day}/{stage}"))
    page = model_overview(workspace, "risk")
    assert [w.matured for w in page.windows] == [False, True, False]
    assert [span.windows for span in page.spans] == [3]
