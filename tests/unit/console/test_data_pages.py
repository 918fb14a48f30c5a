"""The pages of tables, features and quarantine, and who may answer held rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kit.consoles import browser
from kit.small_project import TwoRuns
from trimtab.app.project.workspace import Workspace


def test_tables_features_and_the_graph_are_html_without_a_script(two_runs: TwoRuns) -> None:
    client = browser(two_runs.workspace)
    page = client.get("/data").text
    assert client.get("/api/v1/data").json()["sentence"] in page
    assert '<svg class="graph"' in page
    assert 'href="/data/tables/rows"' in page
    assert "trimtab ingest" not in page
    table = client.get("/data/tables/rows").text
    assert "Table rows has 600 rows in version 0" in table
    assert "/data/tables/rows/0/rows" in table
    assert "Feature amount: of the request; used by risk" in client.get("/data/features/amount").text
    assert client.get("/data/features.csv").text.splitlines()[1].startswith("amount,,of the request")
    assert client.get("/data/tables/rows/versions.csv").text.splitlines()[1].startswith("rows@0,0,")


@pytest.mark.parametrize(
    "path", ["/data/tables/nothing", "/data/tables/rows/9", "/data/features/nothing", "/data/views/nothing"]
)
def test_what_is_not_there_is_told(two_runs: TwoRuns, path: str) -> None:
    assert browser(two_runs.workspace).get(path).status_code == 404


def test_an_empty_project_names_the_next_command(workspace: Workspace) -> None:
    page = browser(workspace).get("/data").text
    assert "No table yet; next: trimtab ingest." in page
    assert "trimtab ingest rows" in page


def test_rows_and_answers_need_the_role_developer(guarded: Workspace, secret_of: Callable[..., str]) -> None:
    client = browser(guarded)
    headers = {"authorization": f"Bearer {secret_of('reader', 'read')}"}
    assert client.get("/data", headers=headers).status_code == 200
    body = {"batch": "b", "reason": "a long reason"}
    for path, answer in (
        ("/api/v1/data/tables/rows/rows", client.get("/api/v1/data/tables/rows/rows", headers=headers)),
        ("release", client.post("/api/v1/quarantine/rows/release", json=body, headers=headers)),
        ("drop", client.post("/api/v1/quarantine/rows/drop", json=body, headers=headers)),
    ):
        assert (answer.status_code, "needs the role developer" in answer.text) == (403, True), path
    assert client.post("/api/v1/quarantine/nothing/drop", json=body, headers=headers).status_code == 404
