"""The pages of the loop, of a model and of a window: readable without a script, and the same as the API."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kit.consoles import browser
from kit.small_project import AS_OF
from kit.task_windows import DAY_ROWS, MODELS, Served
from trimtab.app.overviews.loop_overview import loop_overview
from trimtab.app.overviews.model_overview import model_overview
from trimtab.app.overviews.reads.child_reader import close_readers
from trimtab.app.overviews.window_detail import window_detail
from trimtab.app.overviews.wording import metric
from trimtab.app.project.workspace import Workspace
from trimtab.charts import svg
from trimtab.metric_catalog import TASKS, Task
from trimtab.records.gate_reports import GateReport
from trimtab.records.monitoring import WindowReport
from trimtab.records.training import Bundle, Run

START = "2026-02-09T00:00Z"


def text_of(page: str) -> str:
    """Return what a reader sees without a script."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<script.*?</script>", "", page, flags=re.S))))


def get(client: TestClient, path: str, status: int = 200) -> Any:
    answer = client.get(path, headers={"accept": "text/html"} if not path.startswith("/api") else {})
    assert answer.status_code == status, answer.text[:500]
    return answer


@pytest.mark.parametrize("task", TASKS)
def test_every_page_reads_without_script_and_says_what_the_overview_says(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    client = browser(workspace)
    loop = text_of(get(client, "/").text)
    assert loop_overview(workspace).sentence.replace("`", " ").replace("  ", " ").strip()[:40] in loop
    assert "waits since" in loop
    page = get(client, f"/models/{name}").text
    found = model_overview(workspace, name)
    read = text_of(page)
    assert found.now.sentence in read
    for fact in found.now.facts:
        assert f"{fact.label} {fact.figure}" in read
    for group in found.groups:
        assert group.name in read
    for panel in ("What serves", "Decisions", "Signals", "Lost a day", "Latency"):
        assert panel in read
    assert page.count('class="spec"') == 9
    assert text_of(get(client, "/models").text).count(name) >= 1
    window = window_detail(workspace, name, AS_OF + timedelta(days=8))
    read = text_of(get(client, f"/models/{name}/windows/{START}").text)
    assert window.sentence in read
    for column in window.columns:
        assert column.name in read
        assert column.direction in read


@pytest.mark.parametrize("task", TASKS)
def test_a_version_says_what_it_is_made_of_and_when_it_served(served: Served, task: Task) -> None:
    workspace, name = served(task), MODELS[task]
    client = browser(workspace)
    bundle = workspace.metadata.get(Bundle, f"{name}/1")
    run = workspace.metadata.get(Run, bundle.run)
    read = text_of(get(client, f"/models/{name}/versions/1").text)
    assert f"Version 1 of {name} is champion now; it was champion 1 to 11 Feb 2026; it learned from" in read
    assert bundle.digest[:16] in read
    for metric_name, value in run.metrics.items():
        assert f"{metric_name.replace('_', ' ')} {metric(value)}" in read
    found = get(client, f"/api/v1/models/{name}/versions/1").json()
    assert [g["gate"] for g in found["gates"]] == [
        r.gate for r in workspace.metadata.get(GateReport, bundle.gate_report).results
    ]
    assert [r["number"] for r in found["revisions"]] == [2, 1]
    read = text_of(get(client, f"/models/{name}/revisions/2").text)
    assert f"Revision 2 of {name}, which serves now: champion 1 (90 %) and challenger 2 (10 %)." in read
    assert "a test" in read


def test_the_api_answers_what_the_pages_show(served: Served) -> None:
    workspace = served("binary")
    client = browser(workspace)
    found = model_overview(workspace, "risk")
    model = get(client, "/api/v1/models/risk").json()
    assert model["now"]["sentence"] == found.now.sentence
    assert [w["loss"] for w in model["windows"]] == [w.loss for w in found.windows]
    assert get(client, "/api/v1/models/risk/state").json() == model["now"]
    assert get(client, "/api/v1/models").json()["models"] == [model["now"]]
    assert get(client, "/api/v1/loop").json()["models"] == [model["now"]]
    window = get(client, f"/api/v1/models/risk/windows/{START}").json()
    assert window["sentence"] == window_detail(workspace, "risk", AS_OF + timedelta(days=8)).sentence


def test_csv_has_all_filtered_windows_unrounded_and_ids_first(served: Served) -> None:
    workspace = served("binary")
    query = "role=champion&format=csv&from=2026-02-02&to=2026-02-05"
    answer = get(browser(workspace), f"/api/v1/models/risk/windows?{query}")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    known = [
        w
        for w in workspace.metadata.find(WindowReport, model="risk", role="champion", stage="matured")
        if 1 <= (w.start - AS_OF).days < 4
    ]
    assert [row["id"] for row in rows] == [w.id for w in known]
    assert next(iter(rows[0])) == "id"
    assert [float(row["log_loss"]) for row in rows] == [w.metrics["log_loss"] for w in known]
    assert rows[0]["start"] == "2026-02-04T00:00:00Z"


def test_pages_of_windows_follow_one_another(served: Served) -> None:
    client = browser(served("binary"))
    first = get(client, "/api/v1/models/risk/windows?limit=10").json()
    second = get(client, f"/api/v1/models/risk/windows?limit=10&after={first['after']}").json()
    assert first["total"] == len(first["windows"]) + len(second["windows"]) == 19
    assert second["after"] is None


def test_a_range_is_kept_in_the_address_and_its_neighbours_are_linked(served: Served) -> None:
    client = browser(served("binary"))
    page = get(client, "/models/risk?from=2026-02-04&to=2026-02-07").text
    section = re.search(r'id="timeline"[^>]*data-since="(\d+)" data-until="(\d+)"', page)
    assert section is not None
    assert int(section[2]) - int(section[1]) == 3 * 86_400_000
    assert 'rel="prev" class="step" href="/models/risk?from=2026-02-01T00%3A00Z&amp;to=2026-02-04T00%3A00Z"' in page
    assert 'rel="next-range" class="step" href="/models/risk?from=2026-02-07T00%3A00Z' in page
    moments = json.loads(re.search(r'class="moments">(.*?)</script>', page, re.S)[1])  # type: ignore[index]
    assert [start for _, _, start, _ in moments] == [f"2026-02-0{day}T00:00Z" for day in (4, 5, 6)]
    whole = get(client, "/models/risk").text
    assert 'rel="prev" class="step"' not in whole


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/models/riks", 404, "there is no model 'riks'; the models are risk"),
        ("/models/risk?from=soon", 422, "from: 'soon' is no date or time"),
        ("/models/risk?from=2026-02-04&to=9999-12-31", 422, "to: 9999-12-31 is not between the years 1900 and 2200"),
        ("/models/risk?from=0001-01-01", 422, "from: 0001-01-01 is not between the years 1900 and 2200"),
        ("/models/risk?from=2026-02-04&to=2026-02-03", 422, "to: 2026-02-03 is not after from: 2026-02-04"),
        ("/models/risk?signal=latency", 422, "'latency' does not choose the band"),
        ("/models/risk/windows/2026-02-09T07:00Z", 404, "the nearest one before begins at"),
        ("/models/risk/windows/yesterday", 422, "'yesterday' is no date or time"),
        ("/models/risk/charts/losses.svg", 404, "there is no panel 'losses'; the panels are serves"),
        ("/api/v1/models/risk/windows?format=xlsx", 422, "format: 'xlsx'; expected json or csv"),
        ("/api/v1/models/risk/windows?limit=0", 422, "limit: 0; expected 1 to 1000"),
        ("/?page=0", 422, "page"),
        ("/models/risk/versions/9", 404, "risk has no version 9; its versions are 1, 2"),
        ("/models/risk/revisions/9", 404, "risk has no revision 9; the newest one is 2"),
    ],
)
def test_a_wrong_address_says_what_is_wrong(served: Served, path: str, status: int, said: str) -> None:
    assert said in unescape(get(browser(served("binary")), path, status).text)


def test_a_panel_is_drawn_as_svg_without_a_browser(served: Served) -> None:
    svg.need_charts()
    answer = get(browser(served("binary")), "/models/risk/charts/loss.svg?from=2026-02-02")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.text.startswith("<svg")


def test_rows_need_a_developer_and_come_from_the_log(served: Served) -> None:
    client = browser(served("binary"))
    try:
        read = text_of(get(client, f"/models/risk/windows/{START}/rows?version=1").text)
        assert f"{DAY_ROWS} of {DAY_ROWS} rows" in read
        assert "risk-8-0" in read
        rows = get(client, f"/api/v1/models/risk/windows/{START}/rows").json()
        assert rows["total"] == DAY_ROWS
        file = get(client, f"/models/risk/windows/{START}/rows.parquet?version=1")
        assert file.content[:4] == b"PAR1"
    finally:
        close_readers()


def test_a_viewer_sees_no_rows_and_disabled_buttons(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    client = browser(guarded)
    client.headers["authorization"] = f"Bearer {secret_of('vera')}"
    page = get(client, "/models/risk").text
    assert "needs the role developer on risk" in page
    for path in (f"/models/risk/windows/{START}/rows", f"/models/risk/windows/{START}/rows.parquet"):
        assert "needs the role developer on risk" in get(client, path, 403).text


def test_a_project_without_records_says_the_next_command(workspace: Workspace) -> None:
    client = browser(workspace)
    assert "No table yet: trimtab ingest ." in text_of(get(client, "/").text)
    page = text_of(get(client, "/models/risk").text)
    assert "Nothing serves yet; trimtab run brings the first version of risk into service." in page
