"""The pages of a project of a prompt: each opens, and says what there is of its version, windows and decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from kit.consoles import browser
from kit.prompt_turns import Traffic
from kit.served_prompt import make_version, serve
from trimtab.app.llm import prompt_stages
from trimtab.app.llm.watching.kept_references import kept_reference
from trimtab.app.llm.watching.turn_references import champion_turns
from trimtab.app.overviews.model_words import model_sentence, newest_judged
from trimtab.app.overviews.reads.child_reader import close_readers
from trimtab.app.project.limited_workspace import LimitedWorkspace
from trimtab.app.project.workspace import Workspace, open_workspace
from trimtab.app.reports.doctor import examine
from trimtab.app.reports.status import status
from trimtab.cli.views import show_status
from trimtab.records.control import Decision
from trimtab.records.monitoring import WindowReport
from trimtab.records.training import Bundle

LAST = "2026-01-02T07:00Z"


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Version 1 has served for 34 hours; in the last four a new subject comes, and users are not content."""
    workspace, _ = make_version(tmp_path_factory.mktemp("prompt") / "project")
    usual = Traffic(rows=20, seed=1, reported="classifier")
    serve(
        workspace,
        (usual, range(30)),
        (Traffic(rows=20, seed=2, new=0.9, bad=0.9, reported="classifier"), range(30, 34)),
    )
    yield workspace
    close_readers()


@pytest.fixture(scope="module")
def client(prompt: Workspace) -> TestClient:
    return browser(prompt)


def read(client: TestClient, path: str) -> str:
    """Return what a reader of a page sees without a script."""
    answer = client.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, f"{path}: {answer.text[-1500:]}"
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"<script.*?</script>", "", answer.text, flags=re.S))
    return unescape(re.sub(r"\s+", " ", plain))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "triage"),
        ("/models", "triage"),
        ("/models/triage", "bad rate"),
        ("/models/triage?signal=data", "Signals"),
        (f"/models/triage/windows/{LAST}", "topic_distance"),
        ("/models/triage/versions/1", "Version 1 of triage is champion now"),
        ("/models/triage/revisions/1", "Revision 1 of triage"),
        ("/models/triage/compare", "triage"),
        ("/models/triage/report", "triage"),
        ("/experiments", "triage"),
        ("/decisions", "triage"),
        ("/models/triage/decisions/32", "triage"),
        ("/models/triage/decisions/32/report", "triage"),
        ("/lineage", "Lineage"),
        ("/lineage/triage/1", "triage"),
        ("/data", "data"),
        ("/cost", "triage"),
        ("/system", "gateway"),
    ],
)
def test_a_page_of_a_prompt_opens(client: TestClient, path: str, said: str) -> None:
    assert said in read(client, path)


def test_the_run_of_an_evaluation_has_a_page(client: TestClient, prompt: Workspace) -> None:
    run = prompt.metadata.get(Bundle, "triage/1").run
    page = read(client, f"/experiments/{run}")
    assert "exact" in page
    assert "on the items" in page
    assert "Answer with the name of the queue only" in page
    for said in ("holdout", "model file", "Features", "training set", "data until"):
        assert said not in page


def test_the_page_of_a_version_says_what_the_prompt_is(client: TestClient, prompt: Workspace) -> None:
    run = prompt.metadata.get(Bundle, "triage/1").run
    page = read(client, "/models/triage/versions/1")
    for said in ("Answer with the name of the queue only", "max_completion_tokens 20", "at most 2,000 characters"):
        assert said in page
    assert "it asks classifier at local; the gates" in page
    assert "No other version was champion before it" in page
    for said in ("learned from", "training set", "threshold", "features", "holdout", "Retrain"):
        assert said not in page
    assert f"/experiments/{run}/evaluation" in client.get("/models/triage/versions/1").text
    model = read(client, "/models/triage")
    assert "Retrain" not in model
    assert "Asks the loop to search" in model


def test_the_page_of_a_version_says_what_changed(tmp_path: Path) -> None:
    workspace, first = make_version(tmp_path / "project")
    file = workspace.project.folder / "prompts" / "triage.md"
    text = file.read_text(encoding="utf-8").replace("Sort the ticket", "<b>Sort</b> the ticket")
    file.write_text(text.replace("tune: [instructions]\n", ""), encoding="utf-8")
    after = open_workspace(workspace.project.folder, clock=workspace.clock)
    second = prompt_stages.register(after, prompt_stages.evaluate(prompt_stages.prepared(after, "triage")))
    prompt_stages.deploy(after, second, cause=second.id, reason="a test", by="tests")
    with_page = browser(after)
    page = read(with_page, "/models/triage/versions/2")
    assert "against version 1, the champion before" in page
    assert "-Sort the ticket into one queue" in page
    assert "+<b>Sort</b> the ticket into one queue" in page
    assert "<b>Sort</b>" not in with_page.get("/models/triage/versions/2").text
    assert "against version" not in read(with_page, f"/models/triage/versions/{first.version}")
    close_readers()


@pytest.mark.parametrize(
    "path", ["", "/state", "/windows", "/versions/1", "/decisions/32", "/compare", f"/windows/{LAST}"]
)
def test_the_api_answers_for_a_prompt(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/v1/models/triage{path}")
    assert answer.status_code == 200, answer.text[-800:]


def test_the_stages_of_a_project_of_prompts_begin_with_its_evaluation(client: TestClient) -> None:
    page = read(client, "/")
    assert "trimtab ingest" not in page
    assert "trimtab train" not in page


def test_rows_of_a_window_open_for_a_prompt(client: TestClient) -> None:
    assert "bad turn" in read(client, f"/models/triage/windows/{LAST}/rows")


def test_status_and_doctor_know_prompts(prompt: Workspace) -> None:
    found = status(prompt)["models"]["triage"]
    assert found["serving"][0]["bundle"] == "triage/1"
    money = found["money"]
    assert (money["trainings"], money["evaluations"], money["tunes"]) == (0, 1, 0)
    assert money["spend"]["serving"] == 0.0, "its turns were written to the log, and no call was bought"
    assert "serving triage" in {finding.subject for finding in examine(prompt.project.folder, "local")}


def test_a_reader_of_other_models_sees_no_prompt(prompt: Workspace) -> None:
    limited = LimitedWorkspace(prompt, ["another"])
    assert not limited.project.definitions.served
    assert not limited.metadata.find(WindowReport)


def test_a_drift_with_harm_asks_a_person_once_where_no_search_can_start(prompt: Workspace) -> None:
    decisions = prompt.metadata.find(Decision, model="triage", oldest_first=True)
    assert len(decisions) == 32
    assert {d.action for d in decisions[:30]} == {"monitor"}
    reviews = [d for d in decisions if d.action == "review"]
    assert len(reviews) == 1
    assert "topic" in " ".join(reviews[0].reasons)


def test_a_new_version_is_compared_with_what_the_champion_has_served(prompt: Workspace) -> None:
    turns = champion_turns(prompt, "triage")
    assert len(turns) == 32 * 20  # of the windows whose labels matured
    assert [turn.at for turn in turns] == sorted(turn.at or 0 for turn in turns)
    assert {turn.text.reported for turn in turns} == {"classifier"}
    rated = [turn.label for turn in turns if turn.label is not None]
    assert 0.3 < len(rated) / len(turns) < 0.7
    assert set(rated) == {0.0, 1.0}
    assert kept_reference(prompt, "triage", 1) is not None


def test_costs_of_a_prompt_are_of_evaluations_and_not_of_trainings(client: TestClient) -> None:
    page = read(client, "/cost")
    assert "1 evaluation" in page
    assert "cost of trainings" not in page
    assert "as trimtab spend counts" in page
    assert "of prompts turns of closed windows" in page


def test_a_rate_says_of_how_many_turns_it_is(client: TestClient, prompt: Workspace) -> None:
    page = read(client, "/models/triage")
    fact = page[page.index("bad rate") :][:60]
    assert re.search(r"of \d+ rated turns", fact), fact
    windows = [
        {"start": "2026-01-01T00:00:15Z", "end": "2026-01-01T00:00:30Z", "version": 1, "role": "champion",
         "stage": "matured", "rows": 16, "coverage": 5 / 16, "metrics": {"bad_rate": 1.0}},
        {"start": "2026-01-01T00:00:45Z", "end": "2026-01-01T00:01:00Z", "version": 1, "role": "champion",
         "stage": "closed", "rows": 20, "coverage": 0.0, "metrics": {}},
    ]  # fmt: skip
    shown = status(prompt)
    shown["models"]["triage"]["windows"] = windows
    written = StringIO()
    show_status(Console(file=written, width=160), shown)
    said = written.getvalue()
    assert "bad_rate 1.0000 of 5 rated" in said
    assert said.index("2026-01-01 00:00:45") < said.index("2026-01-01 00:00:15"), "newest first"
    assert "for 1 evaluation, 0 for serving" in said
    judged = newest_judged(prompt.metadata.find(Decision, model="triage"))
    assert judged is not None
    calm = msgspec.structs.replace(judged, band="none", action="monitor", cell="monitor", p_seq=1.0, held_by="")
    known = model_sentence(prompt, "triage", "judged", [calm], (), has_money=True)
    assert "does as well as expected" in known
    unknown = model_sentence(prompt, "triage", "judged", [msgspec.structs.replace(calm, version=9)], (), has_money=True)
    assert "was not compared with what is usual" in unknown
    assert re.search(r"\d+ of 20 turns of the window are rated", unknown)
    assert "does as well" not in unknown
    assert "Nothing needs to be done" not in unknown
