"""Tables, quarantine and features, and the graph of what is made from what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from kit.small_project import TwoRuns
from trimtab.app.overviews.data.data_graph import MOST_NODES, data_graph
from trimtab.app.overviews.data.data_overview import data_overview, held_batches, table_detail
from trimtab.app.overviews.data.feature_overview import feature_detail
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.clock import ManualClock
from trimtab.errors import NotFound
from trimtab.records.data import CheckFailure, CheckReport, CheckResult, QuarantineEnd, TableVersion
from trimtab.records.monitoring import Profile
from trimtab.testing.judged import FIRST, bundle_record, dataset_record, signal, window_report

DEFINITIONS = """
import trimtab as tt

flights = tt.FileSource("flights", "flights.csv", timestamp="at", known_at="landed", key=["id"], pii=["name"])
carrier = tt.Entity("carrier")
history = tt.FeatureView("history", entity=carrier, source=flights, features=[tt.mean("delay", "7d")])


@tt.on_demand(inputs=["planned"], outputs=["hours"])
def duration(planned):
    return {"hours": planned / 60}


delay = tt.Model("delay", task="regression", examples=flights, label="delay", features=[history, duration, "planned"])
"""
POLICY = "project: p\nchecks: { flights: { freshness: 2d } }\n"
SCHEMA = {
    "at": "timestamp[us, tz=UTC]",
    "landed": "timestamp[us, tz=UTC]",
    "id": "int64",
    "carrier": "string",
    "name": "string",
    "delay": "double",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "trimtab.yaml").write_text(POLICY)
    opened = open_workspace(tmp_path, clock=ManualClock(FIRST))
    yield opened
    opened.metadata.close()


def table_version(number: int, schema: dict[str, str] | None = None) -> TableVersion:
    return TableVersion(
        id=f"flights@{number}", created_at=FIRST, table="flights", version=number, rows=100 * (number + 1),
        added_rows=100, content_hash="", schema=schema or SCHEMA, source=f"{number}.csv", source_hash=f"s{number}",
    )  # fmt: skip


def check_report(number: int, *failures: CheckFailure, failing: int = 0, age: float | None = None) -> CheckReport:
    results = (
        () if age is None else (CheckResult(check="freshness", verdict="pass", reason="", value=age, limit=172800),)
    )
    return CheckReport(
        id=f"report{number}", created_at=FIRST, table="flights", batch_hash=f"batch{number}", source=f"{number}.csv",
        content_hash="", verdict="warn" if failing else "pass", rows=100, failing_rows=failing, max_failing_share=0.5,
        failures=failures, quarantine="flights_quarantine" if failing else None, reason="checked", results=results,
    )  # fmt: skip


def test_without_data_the_next_command_is_named(workspace: Workspace) -> None:
    found = data_overview(workspace)
    assert found.sentence == "No table yet; next: trimtab ingest."
    assert (found.tables[0].version, found.tables[0].verdict) == (None, None)
    with pytest.raises(NotFound, match="not ingested yet: trimtab ingest flights"):
        table_detail(workspace, "flights")


def test_held_rows_are_those_without_an_answer_and_personal_data_is_hidden(workspace: Workspace) -> None:
    failures = (
        CheckFailure(column="name", check="not_null", rows=2, example="Ann"),
        CheckFailure(column="delay", check="in_range(0, 9)", rows=1, example="77"),
    )
    workspace.metadata.put(table_version(0), check_report(0, *failures, failing=4))
    (held,) = held_batches(workspace)
    assert (held.held, [failure.example for failure in held.failures]) == (4, ["***", "77"])
    assert data_overview(workspace).sentence == "1 table; 4 rows of flights are held in quarantine."
    end = QuarantineEnd(
        id="e1", created_at=FIRST, table="flights", batch="batch0", report="report0", source="0.csv", rows=(1, 2),
        outcome="dropped", reason="test", by="ann",
    )  # fmt: skip
    workspace.metadata.put(end)
    assert [batch.held for batch in held_batches(workspace)] == [2]
    workspace.metadata.put(msgspec.structs.replace(end, id="e2", rows=(2, 3), outcome="released"))
    assert [batch.held for batch in held_batches(workspace)] == [1], "a row that was answered twice counts once"
    workspace.metadata.put(msgspec.structs.replace(end, id="e3", rows=(4,)))
    assert list(held_batches(workspace)) == []
    assert data_overview(workspace).sentence.endswith("no row is held in quarantine.")


@pytest.mark.parametrize(("age", "later", "state"), [(90_000, 0, "fresh"), (90_000, 1, "late"), (90_000, 4, "stale")])
def test_freshness_goes_on_from_the_last_check(workspace: Workspace, age: float, later: int, state: str) -> None:
    workspace.metadata.put(table_version(0), check_report(0, age=age))
    workspace.clock.sleep(later * 86_400)
    (table,) = data_overview(workspace).tables
    assert table.freshness == state
    assert ("flights is" in data_overview(workspace).sentence) == (state != "fresh")


def test_a_version_says_what_changed_in_its_columns(workspace: Workspace) -> None:
    changed = {
        **{name: type_ for name, type_ in SCHEMA.items() if name != "carrier"},
        "delay": "int64",
        "wind": "double",
    }
    workspace.metadata.put(table_version(0), table_version(1, changed), check_report(1))
    found = table_detail(workspace, "flights")
    changes = {column.name: column.change for column in found.columns if column.change}
    assert changes == {"delay": "was double", "wind": "new", "carrier": "gone"}
    roles = {column.name: column.role for column in found.columns if column.role}
    assert roles == {"at": "timestamp", "landed": "known at", "id": "key"}
    assert [column.name for column in found.columns if column.personal] == ["name"]
    assert (found.views, found.models) == (("history",), ("delay",))
    first = table_detail(workspace, "flights", 0, limit=1)
    assert (first.version.version, first.next) == (0, "flights@1")
    assert "version 1 is newer" in first.sentence
    assert [each.id for each in table_detail(workspace, "flights", before="flights@1").versions] == ["flights@0"]
    with pytest.raises(NotFound, match="no ingest made version 7"):
        table_detail(workspace, "flights", 7)


def test_features_say_where_they_come_from_and_what_the_newest_window_shows(workspace: Workspace) -> None:
    window = window_report(0, stage="closed")
    name = "history__delay_mean_7d"
    counts = [25, *([0] * 33), 75]
    profile = Profile(
        id=f"{window.id.rpartition('/')[0]}/profile", created_at=FIRST, model="delay", version=1, start=window.start,
        end=window.end, rows=100, columns={name: {"kind": "ordered", "counts": counts, "n": 100, "total": 150.0}},
    )  # fmt: skip
    moved = msgspec.structs.replace(signal(window, "data", subject=name), effect={"max_share_moved": 0.5})
    assert {each.moved_words for each in data_overview(workspace).features} == {"not compared yet"}
    workspace.metadata.put(dataset_record(), window, profile, moved)
    found = {each.name: each for each in data_overview(workspace).features}
    assert {each.origin for each in found.values()} == {"mean(delay) over 7d", "transform duration", "of the request"}
    assert (found[name].missing, found[name].moved, found[name].models) == (0.25, 0.5, ("delay",))
    assert (found["planned"].missing, found["planned"].moved) == (None, None)
    assert (found[name].moved_words, found["planned"].moved_words) == ("50 %", "no signal of its own")
    detail = feature_detail(workspace, name)
    assert [(point.missing, point.mean) for point in detail.points] == [(0.25, 2.0)]
    assert [each.id for each in detail.signals] == [moved.id]
    with pytest.raises(NotFound, match=rf"no feature 'history__delay'\. Did you mean '{name}'"):
        feature_detail(workspace, "history__delay")


def test_features_are_found_by_words_and_come_in_pages(workspace: Workspace) -> None:
    assert [each.name for each in data_overview(workspace, "mean delay").features] == ["history__delay_mean_7d"]
    workspace.metadata.put(table_version(0))
    assert [(each.kind, each.name) for each in data_overview(workspace, "CARR").others] == [
        ("view", "history"),
        ("table", "flights"),
    ]
    first = data_overview(workspace, limit=2)
    assert (len(first.features), first.found, first.next) == (2, 3, first.features[1].name)
    assert len(data_overview(workspace, after=first.next, limit=2).features) == 1


def test_the_graph_leads_from_sources_to_versions(two_runs: TwoRuns) -> None:
    workspace = two_runs.workspace
    found = data_graph(workspace)
    assert [node.id for node in found.nodes] == ["source:rows", "table:rows"]
    assert [(edge.start, edge.end) for edge in found.edges] == [("source:rows", "table:rows")]
    with pytest.raises(NotFound, match="no node 'table:row'"):
        data_graph(workspace, "table:row")


def test_a_large_graph_shows_the_neighbours_of_a_node(workspace: Workspace) -> None:
    many = "\n".join(
        f'views.append(tt.FeatureView("v{n}", entity=carrier, source=flights, features=[tt.count("{n + 1}d")]))'
        for n in range(MOST_NODES + 10)
    )
    folder = workspace.project.folder
    (folder / "definitions.py").write_text(
        DEFINITIONS.replace("delay = tt", f"views = []\n{many}\ndelay = tt").replace("[history,", "[history, *views,")
    )
    large = open_workspace(folder, clock=ManualClock(FIRST + timedelta(days=1)))
    large.metadata.put(dataset_record(), bundle_record(1))
    found = data_graph(large)
    assert found.all_nodes > MOST_NODES
    assert (found.around, [node.id for node in found.nodes]) == (
        "version:delay/1",
        ["dataset:dataset", "version:delay/1"],
    )
    near = data_graph(large, "table:flights")
    assert len(near.nodes) <= MOST_NODES
    assert {"source:flights", "table:flights"} <= {node.id for node in near.nodes}
