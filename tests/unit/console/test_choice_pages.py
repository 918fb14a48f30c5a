"""The pages of decisions and comparisons, and the same as documents and CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from integration.gateway_project import GatewayProject
from kit.consoles import browser
from trimtab.app.pages.decision_report import decision_page
from trimtab.control.controller import Controller
from trimtab.testing.judged import MODEL, RecordingActions, judged_signals, window_report

DAYS = 7


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """The console of a project with seven decisions: two to monitor, a review, four that it holds back."""
    project = GatewayProject(tmp_path / "project", impact={"cost": {"false_negative": 40}, "over": "1d"})
    ws = project.workspace
    project.deploy(1)
    project.deploy(2)
    for day in range(DAYS):
        window = window_report(day)
        ws.metadata.put(window, *judged_signals(window, data_p_seq=1.0 if day < 2 else 0.001, money_per_day=700.0))
    Controller(ws.metadata, ws.project.policy.for_task("binary"), MODEL, RecordingActions(), ws.clock).step()
    yield browser(ws)
    ws.metadata.close()


def test_pages_of_the_api_are_all_decisions_once(client: TestClient) -> None:
    numbers: list[int] = []
    after: str | None = ""
    while after is not None:
        found = client.get("/api/v1/decisions", params={"limit": 3, "after": after}).json()
        numbers += [row["number"] for row in found["rows"]]
        after = found["next"]
    assert numbers == list(range(DAYS, 0, -1))


def test_the_csv_has_every_filtered_row_with_its_hash(client: TestClient) -> None:
    answer = client.get("/api/v1/decisions", params={"format": "csv", "held_by": "review_open"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [f"delay/decision/{n}" for n in (7, 6, 5, 4)]
    assert {(row["held_by"], len(row["hash"])) for row in rows} == {("review open", 64)}
    assert rows[0]["start"] == "2026-03-07T00:00:00Z"


def test_a_filter_that_is_none_names_the_nearest(client: TestClient) -> None:
    refused = client.get("/api/v1/decisions", params={"band": "sever"})
    assert (refused.status_code, "Did you mean 'severe'" in refused.json()["detail"]) == (422, True)
    assert client.get("/api/v1/decisions", params={"model": "dela"}).status_code == 422
    assert client.get("/models/delay/decisions/99").status_code == 404


def test_the_page_shows_the_cells_and_what_waits(client: TestClient) -> None:
    text = client.get("/decisions").text
    assert "1 retraining waits for an answer" in text
    assert 'data-posts="/api/v1/models/delay/decisions/3/resolution"' in text
    assert "review open" in client.get("/decisions?band=severe&effect=held_back").text
    one = client.get("/models/delay/decisions/5").text
    assert "Why not something else" in one
    assert "no open review (delay/decision/3)" in one


def test_reports_are_the_files_of_the_command_and_have_a_link(client: TestClient, tmp_path: Path) -> None:
    assert 'href="/models/delay/decisions/3/report"' in client.get("/models/delay/decisions/3").text
    assert 'href="/models/delay/report"' in client.get("/models/delay").text
    assert "data-prints" in client.get("/models/delay/compare").text
    sent = client.get("/models/delay/decisions/3/report")
    assert "script" not in sent.headers["content-security-policy"]
    assert sent.headers["content-type"] == "text/html; charset=utf-8"
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    assert sent.text == decision_page(workspace, MODEL, 3)
    assert "Model delay" in client.get("/models/delay/report").text
    assert client.get("/models/delay/decisions/99/report").status_code == 404


def test_the_page_of_comparisons_goes_to_the_model_that_has_one(client: TestClient) -> None:
    found = client.get("/compare")
    assert found.url.path == "/models/delay/compare"
    assert "Version 2 has no recorded comparison with version 1" in found.text
    assert 'data-posts="/api/v1/models/delay/promote"' in found.text
    assert client.get("/api/v1/models/delay/compare", params={"with": "2"}).status_code == 422
    assert client.get("/api/v1/models/delay/compare", params={"with": "2,9"}).status_code == 404
