"""KPIs of a project: pushed points reach the records once, the verb, status, and the reasons of a decision."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from integration.gateway_project import GatewayProject
from kit.decisions import decide
from trimtab.app.gateway.configuration import gateway_config
from trimtab.app.loop.intake import kpi_intake
from trimtab.app.loop.kpi_points import add_point, open_kpi_monitor, open_query
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.cli import kpi, look
from trimtab.clock import parse_time, to_micros
from trimtab.data.connectors.kpi_query import Sums
from trimtab.errors import Conflict, DefinitionError, PolicyError, UsageError
from trimtab.records.monitoring import KpiPoint, Signal
from trimtab.serving.inbox import KPIS, Inbox, Pushed, inbox
from trimtab.testing.judged import DAY, FIRST, window_report
from trimtab.units import MICROS

DECLARED = """
revenue = tt.Kpi("revenue", unit="USD")
winds = tt.Kpi("winds", source=flights, value="wind", aggregation="mean")
"""
Trimtab = Callable[..., Result]


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    """A project with a pushed stream and one that is read from a table."""
    folder = GatewayProject(tmp_path / "project").workspace.project.folder
    definitions = folder / "definitions.py"
    definitions.write_text(definitions.read_text() + DECLARED)
    opened = open_workspace(folder)
    yield opened
    opened.metadata.close()


@pytest.fixture
def trimtab(ws: Workspace) -> Trimtab:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(
            kpi.app, ["kpi", *arguments, "--project", str(ws.project.folder)], catch_exceptions=False
        )

    return call


def pushed(value: float, *, time: str = "2026-03-01", received: str = "2026-03-02", stream: str = "revenue") -> Pushed:
    return Pushed(
        stream=stream, value=value, time=to_micros(parse_time(time)), received_at=to_micros(parse_time(received))
    )


def points(ws: Workspace) -> list[float]:
    return [point.value for point in ws.metadata.find(KpiPoint, oldest_first=True)]


def test_waiting_points_become_records_in_the_order_they_came(ws: Workspace) -> None:
    files = Inbox(inbox(ws.run_folder, KPIS), "worker-0", ("revenue",))
    files.keep([pushed(1), pushed(2, time="2026-03-02")])
    files.keep([pushed(3, time="2026-03-03", received="2026-03-03")])
    assert kpi_intake(ws).step() == 3
    assert points(ws) == [1, 2, 3]
    assert (list(inbox(ws.run_folder, KPIS).iterdir()), kpi_intake(ws).step()) == ([], 0)


def test_a_death_between_records_and_file_writes_nothing_twice(ws: Workspace) -> None:
    files = Inbox(inbox(ws.run_folder, KPIS), "worker-0", ("revenue",))
    files.keep([pushed(1), pushed(2, time="2026-03-02")])
    (file,) = inbox(ws.run_folder, KPIS).iterdir()
    content = file.read_bytes()
    kpi_intake(ws).step()
    file.write_bytes(content)  # as if the process had died before it removed the file
    kpi_intake(ws).step()
    assert points(ws) == [1, 2]


def test_another_value_for_the_same_point_does_not_replace_the_first(
    ws: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    files = Inbox(inbox(ws.run_folder, KPIS), "worker-0", ("revenue",))
    files.keep([pushed(1), pushed(7), pushed(2, time="2026-03-02")])
    assert kpi_intake(ws).step() == 2
    assert points(ws) == [1, 2]
    assert "kpi/revenue/2026-03-01" in caplog.text


def test_a_damaged_file_is_set_aside(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    inbox(ws.run_folder, KPIS).mkdir()
    (inbox(ws.run_folder, KPIS) / "1.json").write_bytes(b'[{"stream": "rev')
    assert kpi_intake(ws).step() == 0
    assert [path.name for path in inbox(ws.run_folder, KPIS).iterdir()] == ["1.unreadable"]
    assert "is set aside" in caplog.text


def test_a_point_is_added_once(ws: Workspace) -> None:
    time = parse_time("2026-03-01")
    for _ in range(2):
        add_point(ws, "revenue", 5.0, time=time, entity=None, model=None, by="ann")
    with pytest.raises(Conflict):
        add_point(ws, "revenue", 6.0, time=time, entity=None, model=None, by="ann")
    assert points(ws) == [5.0]


@pytest.mark.parametrize(
    ("name", "model", "error", "said"),
    [
        ("revenu", None, DefinitionError, "Did you mean 'revenue'?"),
        ("winds", None, DefinitionError, "read from the table flights"),
        ("revenue", "dely", DefinitionError, "Did you mean 'delay'?"),
    ],
)
def test_what_cannot_be_added_is_refused(
    ws: Workspace, name: str, model: str | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said.replace("?", r"\?")):
        add_point(ws, name, 5.0, time=ws.now(), entity=None, model=model, by="ann")


def test_the_gateway_takes_points_of_pushed_streams_alone(ws: Workspace) -> None:
    assert gateway_config(ws).options.kpis == ("revenue",)


def test_the_verb_adds_lists_and_shows(ws: Workspace, trimtab: Trimtab) -> None:
    assert "added    revenue 12.5 at 2026-03-01" in trimtab("add", "revenue", "12.5", "--at", "2026-03-01").stdout
    listed = json.loads(trimtab("list", "--json").stdout)
    assert [(each["stream"], each["from"], each["windows"]) for each in listed] == [
        ("revenue", "pushed", 0),
        ("winds", "table flights", 0),
    ]
    assert "none yet" in trimtab("list").stdout
    assert "no window is closed yet" in trimtab("show", "revenue").stdout
    shown = CliRunner().invoke(look.app, ["status", "--project", str(ws.project.folder)], catch_exceptions=False)
    assert "KPI revenue of delay: no window is closed yet" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "revenue", "much"), "VALUE is 'much'; expected a number"),
        (("add", "revenue", "nan"), "expected a number"),
        (("add", "revenue"), "VALUE is None"),
        (("add",), "which stream"),
        (("ad",), "Did you mean 'add'"),
        (("add", "revenue", "1", "--at", "soon"), "--at: 'soon' is no date or time"),
    ],
)
def test_the_verb_says_what_is_wrong(trimtab: Trimtab, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        trimtab(*arguments)


def test_a_monitor_without_traffic_writes_nothing(ws: Workspace) -> None:
    add_point(ws, "revenue", 5.0, time=parse_time("2026-03-01"), entity=None, model=None, by="ann")
    add_point(ws, "revenue", 5.0, time=parse_time("2026-03-03"), entity=None, model=None, by="ann")
    assert open_kpi_monitor(ws).step() == []


OF_POLICY = """
kpis:
  gusts: { table: flights, value: wind, model: delay }
  decisions: { query: "SELECT created_at AS time, 1 AS value, model AS who FROM trimtab_decision", entity: who }
  visits: {}
"""


def with_policy(ws: Workspace, text: str) -> Workspace:
    policy = ws.project.folder / "trimtab.yaml"
    policy.write_text(policy.read_text() + text)
    return open_workspace(ws.project.folder)


def test_kpis_of_the_policy_stand_beside_those_of_the_definitions(ws: Workspace) -> None:
    kpis = with_policy(ws, OF_POLICY).project.definitions.kpis
    assert {name: each.origin for name, each in kpis.items()} == {
        "revenue": "pushed",
        "winds": "table flights",
        "gusts": "table flights",
        "decisions": "query of the metadata",
        "visits": "pushed",
    }


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("gusts: { table: flight, value: wind }", "kpis.gusts.table: 'flight' is no source. Did you mean 'flights'?"),
        ("gusts: { table: flights }", "kpis.gusts: has a source but no value"),
        ("gusts: { query: SELECT 1, database: flights }", "kpis.gusts.database: 'flights' is no tt.SQLSource."),
        ("gusts: { database: shop }", "kpis.gusts.database: 'shop' is no tt.SQLSource."),
        ("gusts: { value: wind }", "kpis.gusts: value names a column, but there is no source"),
        ("gusts: { query: SELECT 1, table: flights }", "kpis.gusts: has a source and a query"),
        ("gusts: { model: dely }", "kpis.gusts.model: 'dely' is no model. Did you mean 'delay'?"),
        ("gusts: { impact: true, aggregation: mean }", "kpis.gusts: impact counts money lost"),
        ("gusts: { impact: true, unit: EUR }", "kpis.gusts: KPI 'gusts' counts as money lost in EUR"),
        ("winds: {}", "declares a KPI 'winds', too"),
        ("all: {}", "the name 'all' stands for money lost"),
        ("gusts: { tabel: flights }", "unknown key 'tabel'. Did you mean 'table'?"),
    ],
)
def test_a_mistake_in_a_kpi_of_the_policy_names_its_line_and_key(ws: Workspace, section: str, said: str) -> None:
    with pytest.raises(PolicyError) as raised:
        with_policy(ws, f"\nkpis:\n  {section}\n")
    assert said in str(raised.value)
    line = (ws.project.folder / "trimtab.yaml").read_text().splitlines().index(f"  {section}") + 1
    assert f"trimtab.yaml:{line}: " in str(raised.value)


def test_a_query_of_the_metadata_is_summed_by_window(ws: Workspace) -> None:
    opened = with_policy(ws, OF_POLICY)
    for day in range(3):
        window = window_report(day, stage="closed")
        opened.metadata.put(window)
    decide(opened, start=FIRST)
    decide(opened, start=FIRST + DAY)
    query = open_query(opened, opened.project.definitions.kpis["decisions"])
    now = to_micros(opened.now())
    assert query.sums([(now - MICROS["d"], now + MICROS["d"]), (0, MICROS["d"])]) == [Sums(2, 2.0, 1), Sums(0, 0.0, 0)]
    open_kpi_monitor(opened).step()
    assert opened.metadata.find(Signal, kind="kpi") == []
    opened.metadata.close()
