"""The pages of costs, runs and lineage over a project with two runs, and the same values by the API and as CSV."""

from __future__ import annotations

import csv
import io
from html import escape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kit.consoles import browser
from kit.small_project import TwoRuns
from trimtab.app.overviews.experiment_overview import ExperimentOverview, experiment_overview
from trimtab.app.overviews.reads.child_reader import ReadersBusy
from trimtab.console.routes import experiment_routes, lineage_routes


@pytest.fixture
def client(two_runs: TwoRuns) -> TestClient:
    return browser(two_runs.workspace)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_pages_and_the_api_say_the_same_of_runs(client: TestClient, two_runs: TwoRuns) -> None:
    _, first, second = two_runs
    found = client.get("/api/v1/experiments?metric=log_loss,roc_auc").json()
    shown = client.get("/experiments?metric=log_loss,roc_auc").text
    assert found["sentence"] in shown
    assert [row["id"] for row in found["rows"]] == [second.id, first.id]
    assert list(found["rows"][0]["metrics"]) == ["log_loss", "roc_auc"]
    page = client.get("/api/v1/experiments?limit=1").json()
    after = client.get(f"/experiments?after={page['next']}").text
    assert first.id in after
    assert second.id not in after


def test_the_file_of_runs_has_all_rows_unrounded_with_the_id_first(client: TestClient, two_runs: TwoRuns) -> None:
    _, first, second = two_runs
    answer = client.get("/experiments.csv?metric=log_loss")
    assert answer.headers["content-disposition"] == 'attachment; filename="experiments.csv"'
    found = rows(answer.text)
    assert answer.text.startswith("run,model,created_at")
    assert [row["run"] for row in found] == [second.id, first.id]
    assert float(found[1]["metrics.log_loss"]) == first.metrics["log_loss"]
    assert found[1]["as_of"] == "2026-02-01T00:00:00Z"
    assert [row["params.max_iter"] for row in found] == ["30", "8"]


def test_the_file_of_runs_has_the_metrics_of_every_part(
    client: TestClient, two_runs: TwoRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_at_a_time(*args: Any, **options: Any) -> ExperimentOverview:
        return experiment_overview(*args, **{**options, "limit": 1})

    monkeypatch.setattr(experiment_routes, "experiment_overview", one_at_a_time)
    found = rows(client.get("/experiments.csv?metric=log_loss").text)
    assert [float(row["metrics.log_loss"]) for row in found] == [
        run.metrics["log_loss"] for run in (two_runs.second, two_runs.first)
    ]


def test_a_read_that_must_wait_says_when_to_ask_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*args: Any, **options: Any) -> None:
        raise ReadersBusy("4 reads run or wait already")

    monkeypatch.setattr(lineage_routes, "lineage_overview", busy)
    answer = client.get("/api/v1/lineage/p-1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_one_run_and_the_difference_of_two_have_pages(client: TestClient, two_runs: TwoRuns) -> None:
    _, first, second = two_runs
    run = client.get(f"/experiments/{first.id}").text
    assert "The run passed its gates, with a warning" in run
    assert "accuracy" in run
    compared = client.get(f"/experiments/diff?run={first.id}&run={second.id}").text
    assert "2 runs of model risk differ in parameters" in compared
    assert f"/experiments/diff/rows?a={first.id}&amp;b={second.id}" in compared
    assert client.get(f"/api/v1/experiments/{first.id}").json()["facts"]["run"] == first.id


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/experiments/nothing", 404, "no run"),
        ("/experiments/diff?run=x", 422, "expected 2 to 10"),
        ("/experiments?metric=nothing", 422, "no run of the page has it"),
        ("/experiments?after=nothing", 404, "nothing"),
        ("/experiments?model=nothing", 422, "no model 'nothing'"),
        ("/cost?model=nothing", 422, "no model 'nothing'"),
        ("/cost?after=nothing", 404, "nothing"),
    ],
)
def test_what_is_not_there_is_told(client: TestClient, path: str, status: int, text: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, text in answer.text.replace("&#39;", "'")) == (status, True)


def test_lineage_answers_by_form_path_and_api(client: TestClient, two_runs: TwoRuns) -> None:
    run = two_runs.first.id
    sentence = client.get(f"/api/v1/lineage/{run}").json()["sentence"]
    for path in (f"/lineage?id={run}", f"/lineage/{run}", "/lineage/rows@0"):
        assert "FileSource: rows.parquet" in client.get(path).text, path
    assert sentence in client.get(f"/lineage/{run}").text
    assert "Paste an id" in client.get("/lineage").text


def test_costs_have_a_page_documents_and_files(client: TestClient, two_runs: TwoRuns) -> None:
    _, first, second = two_runs
    found = client.get("/api/v1/cost").json()
    assert escape(found["sentence"]) in client.get("/cost").text
    (month,) = rows(client.get("/cost/months.csv").text)
    assert (month["month"], month["model"], month["lost"]) == ("2026-02", "risk", "")
    assert month["counted"] == "0"
    assert float(month["training"]) == pytest.approx(first.cost + second.cost)
    files = rows(client.get("/cost/runs.csv").text)
    assert [row["run"] for row in files] == [second.id, first.id]
    assert float(files[1]["cost"]) == first.cost
